//! The log: to stderr, so that stdout has nothing but what was asked for.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

/// Levels as in `TMS_LOG=debug` or `TMS_LOG=info,model=debug`; `model` is what models log.
pub const VARIABLE: &str = "TMS_LOG";

/// Starts logging, at `default` levels where the variable names none. A level that cannot be read is
/// an error in words.
pub fn start(default: &str) -> Result<(), String> {
    let filter = match std::env::var(VARIABLE) {
        Ok(levels) if !levels.is_empty() => EnvFilter::try_new(&levels)
            .map_err(|e| format!("{VARIABLE}={levels} is not a list of levels: {e}"))?,
        _ => EnvFilter::new(default),
    };
    fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init()
        .map_err(|e| e.to_string())
}
