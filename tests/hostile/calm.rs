//! After an attack: no call in flight or waiting, no tensor held, memory back where it was.

use std::{
    fs,
    time::{Duration, Instant},
};

pub use crate::harness::metrics::metric;
use crate::harness::{LONG, Server, metrics::metrics};

/// How much more memory the process may keep than before the attack.
const MEMORY: u64 = 16 << 20;
/// What must be zero, for every model.
const ZERO: [&str; 3] = ["tms_calls_in_flight", "tms_calls_waiting", "tms_tensor_bytes"];

/// Waits until the server is calm, and fails where it takes too long.
pub async fn assert_calm(server: &Server, before: u64) {
    let started = Instant::now();
    while let Err(restless) = calm(server, before) {
        assert!(started.elapsed() < LONG, "after {LONG:?} there still is: {restless}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn calm(server: &Server, before: u64) -> Result<(), String> {
    let metrics = metrics(server);
    for name in ZERO {
        let samples: Vec<_> = metrics.iter().filter(|(key, _)| key.starts_with(name)).collect();
        assert!(!samples.is_empty(), "no {name} among {metrics:?}");
        if let Some((key, value)) = samples.iter().find(|(_, value)| *value != 0.0) {
            return Err(format!("{key} {value}"));
        }
    }
    match resident(server).saturating_sub(before) {
        more if more > MEMORY => Err(format!("{more} bytes more than {before} before")),
        _ => Ok(()),
    }
}

/// Resident memory of the server's process, in bytes, without the pages of files: those of the binary
/// come and go as the kernel likes.
pub fn resident(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
