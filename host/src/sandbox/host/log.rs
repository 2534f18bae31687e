//! `tms:model/log`: lines in the host's log.

use wasmtime::Result;

use crate::sandbox::store::StoreData;

use super::bindings::log::{self, Level};

impl log::Host for StoreData {
    fn log(&mut self, level: Level, message: String) -> Result<()> {
        let level = match level {
            Level::Trace => tracing::Level::TRACE,
            Level::Debug => tracing::Level::DEBUG,
            Level::Info => tracing::Level::INFO,
            Level::Warn => tracing::Level::WARN,
            Level::Error => tracing::Level::ERROR,
        };
        self.log.line(level, &message);
        Ok(())
    }
}
