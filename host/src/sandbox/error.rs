//! How loading a component and calling one can fail, and whose fault it is.

use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Trap, component::ResourceTableError};

/// Why a component was not loaded. The message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{}", one_line(.0))]
    Refused(String),
    #[error("{context}: {}", one_line(&format!("{source:#}")))]
    Wasmtime { context: &'static str, source: wasmtime::Error },
}

/// A message that may quote a guest's bytes, fit for a log: on one line, without control characters.
pub fn one_line(message: &str) -> String {
    let plain = message.replace(char::is_control, " ");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
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
}

/// The guest has had its CPU time.
#[derive(Debug, thiserror::Error)]
#[error("over the limit of CPU time")]
pub struct OverCpu;

/// What became of a call that wasmtime ended. `limit` is the time that it had, `cpu` its CPU time.
pub fn failure(model: &str, error: wasmtime::Error, limit: Duration, cpu: Duration) -> CallError {
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::PoolFull;
    }
    if let Some(Trap::Interrupt) = error.downcast_ref::<Trap>() {
        return CallError::Timeout(limit);
    }
    if error.is::<OverCpu>() {
        return CallError::Cpu(cpu);
    }
    // The log has the guest's backtrace (not the host's, which `:?` would add), the caller only the
    // reason. On one line, and without control characters: the functions' names are the guest's.
    let trace = one_line(&format!("{error:#}"));
    tracing::warn!(target: "model", %model, "trapped: {trace}");
    let full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
    // The host's table, and wasmtime's own, whose error has no type.
    if full || error.root_cause().to_string().contains("handle limit exceeded") {
        let held = "it holds too many handles (limit `handles`): tensors must be dropped";
        return CallError::Trap(held.into());
    }
    CallError::Trap(match error.downcast_ref::<Trap>() {
        // Who reads it knows that it was a trap.
        Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").into(),
        None => one_line(&error.root_cause().to_string()),
    })
}
