//! How loading a component and calling one can fail, and whose fault it is.

use std::{fmt::Display, io, time::Duration};

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace, component::ResourceTableError};

use crate::ledger::NoRoom;
use crate::nn::NnError;
use crate::text::{bounded, bounded_display};

/// Why a component was not loaded. The message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{}", one_line(.0))]
    Refused(String),
    #[error("{context}: {}", one_line(format_args!("{source:#}")))]
    Wasmtime { context: &'static str, source: wasmtime::Error },
    /// What components and code pass through on their way to a compiler and back.
    #[error("compiling it fails: {0}")]
    Io(#[from] io::Error),
    /// Nothing could interrupt guests.
    #[error("the thread that interrupts models did not start: {0}")]
    Ticker(io::Error),
}

/// Bytes of a message: more than anybody reads.
const MESSAGE: usize = 2048;
/// Functions of a trap's backtrace that are logged, and bytes of each one's name.
const FRAMES: usize = 20;
const NAME: usize = 120;

/// A message that may quote a guest's bytes, fit for a log and for a caller: on one line, without
/// control characters, and bounded. What is cut is not even written: a huge value costs no more than
/// a small one.
pub fn one_line(message: impl Display) -> String {
    // Spaces that fall together make room for more.
    let start = bounded_display(message, 2 * MESSAGE);
    let plain = start.replace(char::is_control, " ");
    let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    bounded(&words, MESSAGE).into_owned()
}

/// Why a call into a guest failed. Each one says whose fault it is; messages are for callers and
/// hold no path or address of the host.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The model says that the request is wrong.
    #[error("{0}")]
    Caller(String),
    /// The model says that it failed, or broke a rule of its interface.
    #[error("{0}")]
    Model(String),
    /// The model says that the server lacks something.
    #[error("{0}")]
    Server(String),
    /// The guest trapped; its instance is gone.
    #[error("the model trapped: {0}")]
    Trap(String),
    /// The call took longer than it may; its instance is gone.
    #[error("the model did not answer within {0:?}")]
    Timeout(Duration),
    /// The call used more CPU time than it may; its instance is gone.
    #[error("the model used its {0:?} of CPU time without an answer (limit `cpu`)")]
    Cpu(Duration),
    /// A fresh instance was not ready in time.
    #[error("a fresh instance of the model was not ready within {0:?} (limit `init`)")]
    Start(Duration),
    /// No room for another instance.
    #[error("no room for another instance of the model")]
    PoolFull,
    /// The server's memory is taken.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl CallError {
    /// What a guest said, or what that comes from where it was refused memory that the server did not have: it
    /// did not fail by itself. See [`cause`] for a guest that says nothing more.
    pub fn or_no_room(self, no_room: Option<NoRoom>) -> Self {
        match (self, no_room) {
            (Self::Model(_) | Self::Server(_), Some(no_room)) => Self::NoRoom(no_room),
            (error, _) => error,
        }
    }
}

/// The guest has had its CPU time.
#[derive(Debug, thiserror::Error)]
#[error("over the limit of CPU time")]
pub struct OverCpu;

/// What wasmtime ended a call for, or what that comes from where the guest was refused memory that the server
/// did not have. Time that is up is up in any case, as the pool is full.
pub fn cause(error: wasmtime::Error, no_room: Option<NoRoom>) -> wasmtime::Error {
    let by_itself = error.is::<PoolConcurrencyLimitError>()
        || error.is::<OverCpu>()
        || error.downcast_ref() == Some(&Trap::Interrupt);
    match no_room {
        Some(no_room) if !by_itself => no_room.into(),
        _ => error,
    }
}

/// What became of a call that wasmtime ended. `limit` is the time that it had, `cpu` its CPU time.
pub fn failure(model: &str, error: wasmtime::Error, limit: Duration, cpu: Duration) -> CallError {
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::PoolFull;
    }
    if let Some(Trap::Interrupt) = error.downcast_ref::<Trap>() {
        return CallError::Timeout(limit);
    }
    if let Some(no_room) = error.downcast_ref::<NoRoom>() {
        return CallError::NoRoom(*no_room);
    }
    if error.is::<OverCpu>() {
        return CallError::Cpu(cpu);
    }
    // A tensor was in a process that has ended: the guest has done nothing wrong.
    match error.downcast_ref::<NnError>() {
        Some(NnError::NoRoom(no_room)) => return CallError::NoRoom(*no_room),
        Some(lost) => return CallError::Server(one_line(lost)),
        None => {}
    }
    // The log has the guest's backtrace (not the host's, which `:?` would add), the caller only the
    // reason.
    let (reason, trace) = (one_line(error.root_cause()), backtrace(&error));
    tracing::warn!(target: "model", %model, "trapped: {reason}{trace}");
    let full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
    // The host's table, and wasmtime's own, whose error has no type.
    if full || reason.contains("handle limit exceeded") {
        let held = "it holds too many handles (limit `handles`): tensors must be dropped";
        return CallError::Trap(held.into());
    }
    CallError::Trap(match error.downcast_ref::<Trap>() {
        // Who reads it knows that it was a trap.
        Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").into(),
        None => reason,
    })
}

/// Whether a trap's reason is that one call of the host was to copy too much out of the guest
/// (wasmtime's hostcall fuel), whose error has no type.
pub fn copies_too_much(reason: &str) -> bool {
    reason.contains("too much data is being copied")
}

/// The functions that a guest was in, innermost first. Their names are the guest's: not even demangled
/// but for Rust's, since a short C++ name can stand for gigabytes.
fn backtrace(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let mut trace = String::new();
    for frame in backtrace.frames().iter().take(FRAMES) {
        let name = frame.func_name().unwrap_or("?");
        let name = match rustc_demangle::try_demangle(name) {
            Ok(name) => bounded_display(name, NAME),
            Err(_) => bounded(name, NAME).into_owned(),
        };
        let from = if trace.is_empty() { "; in " } else { " < " };
        trace.push_str(from);
        trace.push_str(&name.replace(|c: char| c.is_control() || c.is_whitespace(), " "));
    }
    trace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_bounded_line() {
        let forged = "a\n\u{1b}[31mb  \u{9b}c\u{2028}d";
        assert_eq!(one_line(forged), "a [31mb c d");
        for huge in ["x".repeat(30_000_000), "語 ".repeat(1_000_000), "\n".repeat(30_000_000)] {
            let line = one_line(&huge);
            assert!(line.len() <= MESSAGE, "{} bytes", line.len());
        }
        let error = LoadError::Refused("y\n".repeat(1_000_000));
        assert!(error.to_string().len() <= MESSAGE);
    }
}
