//! Native inference: tensors, graphs and the sessions that run them.
//!
//! This ring knows nothing of gRPC or WebAssembly.
//!
//! - [`dtype`], [`tensor`]: the data; [`away`]: data that is in another process.
//! - [`options`]: what the operator can choose.
//! - [`runtime`]: loads graphs, where the operator wants their sessions.
//! - [`library`]: finds the inference libraries, and reads graphs with them.
//! - [`graph`]: a loaded graph and a call to it.
//! - [`files`]: a graph's files; [`external`]: those that it keeps weights in.
//! - [`check`]: names, types and shapes, before native code sees them.
//! - [`job`]: one call on its way; [`cancel`]: how its caller takes it back.
//! - [`queue`]: the jobs that wait for a graph; [`dispatch`]: gives them to its sessions.
//! - [`runner`]: a session as seen from there; [`local`]: one in this process; [`process`]: those in
//!   children.
//! - [`batch`]: several jobs as one run; [`probe`]: whether a graph allows that, and what it gains.
//! - [`spin`]: short waits between them; [`thread`]: threads fit for native code; [`error`]: what can go wrong.
//! - [`backend`]: one file or folder for each inference library.

mod away;
mod backend;
mod batch;
mod cancel;
mod check;
mod dispatch;
mod dtype;
mod error;
mod external;
pub mod files;
mod graph;
mod job;
mod library;
mod local;
mod options;
mod probe;
pub mod process;
mod queue;
mod runner;
mod runtime;
mod spin;
mod tensor;
mod thread;

pub use crate::config::Process;
pub use dtype::DType;
pub use error::{LibraryError, LoadError, NnError};
pub use graph::{ComputeRequest, Computed, Graph};
pub use options::{BackendChoice, BatchOptions, Device, GraphOptions, Options};
pub use probe::Gain;
pub use process::NativeStats;
pub use queue::QueueStats;
pub use runtime::Runtime;
pub use tensor::{MAX_RANK, Rows, Tensor, TensorError, TensorInfo, Unchecked};
