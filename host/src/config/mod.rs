//! What the operator and a model's author can set.
//!
//! - [`server`]: flags, `TMS_…` variables and the operator's `tms.toml`
//! - [`manifest`]: a model's `model.toml`
//!
//! - [`limits`]: the limits of a model, and their defaults

pub mod limits;
pub mod manifest;
pub mod server;

#[cfg(test)]
mod tests;

pub use manifest::{Manifest, Reuse};
pub use server::{ModelSettings, ServeArgs, Settings, StopServer};

use std::path::Path;

/// A configuration file that cannot be used; the message names file, key and line.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct ConfigError {
    pub file: String,
    pub problem: String,
}

/// Reads a TOML file in which every key must be known.
pub fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    // It shows the line that is wrong, which may be a model's author's, on a terminal.
    let unfit = |c: char| c.is_control() && c != '\n';
    let fail = |problem: String| ConfigError {
        file: path.display().to_string(),
        problem: problem.trim_end().replace(unfit, " "),
    };
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    toml::from_str(&text).map_err(|e| fail(e.to_string()))
}
