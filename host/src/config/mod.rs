//! What the operator and a model's author can set.
//!
//! - [`settings`]: the server's settings: flags, `TMS_…` variables and the operator's tms.toml
//! - [`model`]: `[model.NAME]` in tms.toml: what the operator says of one model
//! - [`manifest`]: model.toml: what a model's author says of it
//! - [`limits`]: the limits of a model, in both files
//!
//! And how it is read:
//!
//! - [`values`]: how sizes, times, counts and addresses are written
//! - [`read`](mod@read): files, whatever somebody wrote there
//! - [`stop_server`]: who may stop the server
//! - [`process`]: where graphs run

pub mod limits;
pub mod manifest;
pub mod model;
pub mod process;
mod read;
pub mod settings;
pub mod stop_server;
pub mod values;

#[cfg(test)]
mod tests;

pub use manifest::{GraphSettings, Manifest, Reuse};
pub use model::{Grants, ModelSettings};
pub use process::Process;
pub use read::{ConfigError, read, read_text};
pub use settings::{MOST_MEMORY, ServeArgs, Settings, Threads};
pub use stop_server::StopServer;
