//! How loading a component and calling one can fail.

use std::time::Duration;

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
