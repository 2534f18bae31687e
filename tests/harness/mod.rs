//! What the tests share.
//!
//! - [`setup`]: a temporary folder of models and settings
//! - [`server`]: the real server on it: start, log, signals, exit
//! - [`client`]: gRPC clients and the messages they send
//! - [`oip`]: the messages of the Open Inference Protocol
//! - [`metrics`]: a server's metrics
//! - [`processes`]: a server's processes, as the system shows them
//! - [`raw`]: gRPC without a client library, for what a client would not send
//! - [`frames`]: HTTP/2 frame by frame
//! - [`http`]: HTTP/1.1 by hand
//! - [`guests`]: builds the guests once
//! - [`skip`]: says aloud what is not tested

pub mod client;
pub mod frames;
pub mod guests;
pub mod http;
pub mod metrics;
pub mod oip;
pub mod processes;
pub mod raw;
pub mod server;
pub mod setup;
pub mod skip;

pub use client::{Caller, assert_refused, image, json, pixels};
pub use server::Server;
pub use setup::Setup;
pub use skip::{skip, skip_here};

use std::{path::PathBuf, time::Duration};

/// Starts the server of a [`Setup`], or ends the test where something that it needs is missing.
macro_rules! start {
    ($setup:expr) => {
        match $setup.start().await {
            Some(server) => server,
            None => return,
        }
    };
}

/// Longer than anything here takes, also on a machine that is busy with a build.
pub const LONG: Duration = Duration::from_secs(60);

/// The root of the repository.
pub fn repository() -> PathBuf {
    let host = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    host.parent().unwrap().to_owned()
}

/// Waits for a condition.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, wait).await;
    assert!(waited.is_ok(), "never came: {what}");
}

/// Puts `find` in place of `path` in a message, so that it can be compared.
pub fn without(message: &str, path: impl AsRef<std::path::Path>, find: &str) -> String {
    message.replace(path.as_ref().to_str().unwrap(), find)
}
