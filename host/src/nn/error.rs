//! What can go wrong in this ring: at start, while a graph loads, and in a call. Messages are bounded,
//! whatever graphs, callers and native libraries put into them.

use serde::{Deserialize, Serialize};

use crate::{ledger::NoRoom, text::bounded};

/// Bytes of what a native library says.
const SAID: usize = 500;

/// A failed call. The message is one sentence for the caller, without paths of the host.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum NnError {
    /// A name, type or shape that the graph does not take.
    #[error("{0}")]
    InvalidInput(String),
    /// The native run failed.
    #[error("{0}")]
    Runtime(String),
    /// The native code broke down, in this run or one before: the graph is closed.
    #[error("{0}")]
    Broken(String),
    /// The process ended in which the run was, and again when it was run alone; or the run went on
    /// after its time, and the process was ended for that.
    #[error("{0}")]
    Ended(String),
    /// The run needed more memory than native code may take.
    #[error("{0}")]
    Memory(String),
    /// The server's memory is taken.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The graph ended its process too often just before.
    #[error("{0}")]
    Refused(String),
    /// The graph's queue is full.
    #[error("{0}")]
    Busy(String),
    /// The caller left before the run was over.
    #[error("the call was cancelled")]
    Cancelled,
}

/// Why the server cannot start: native libraries that were asked for and cannot be used.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{0}")]
pub struct LibraryError(pub(super) String);

/// Why a graph cannot be served. For the log; it may name the graph's file.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum LoadError {
    /// The graph's own fault, or its settings'.
    #[error("{0}")]
    Graph(String),
    /// The device that was asked for cannot be used.
    #[error("{0}")]
    Device(String),
}

impl From<LibraryError> for LoadError {
    fn from(error: LibraryError) -> Self {
        Self::Graph(error.0)
    }
}

/// What a native library says, for a caller: in one line, without source positions and paths.
pub(super) fn said(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace().filter(|word| !word.contains('/')) {
        if line.len() > SAID {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    bounded(&line, SAID).into_owned()
}

/// What a native library says, for the log: its first line.
pub(super) fn first_line(text: &str) -> String {
    bounded(text.lines().next().unwrap_or_default(), 2 * SAID).into_owned()
}
