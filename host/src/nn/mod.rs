//! Native inference: tensors, graphs and the sessions that run them.
//!
//! This ring knows nothing of gRPC or WebAssembly.
//!
//! - [`dtype`], [`tensor`]: the data.
//! - [`options`]: what the operator can choose.
//! - [`runtime`]: finds the backends at start and loads graphs.
//! - [`graph`]: a loaded graph and a call to it.
//! - [`files`]: a graph's files.
//! - [`check`]: names, types and shapes, before native code sees them.
//! - [`queue`], [`session`]: the waiting jobs of a graph and the threads that run them.
//! - [`batch`]: several jobs as one run; [`probe`]: whether a graph allows that, and what it gains.
//! - [`backend`]: one file for each inference library.

mod backend;
mod batch;
mod check;
mod dtype;
mod error;
mod files;
mod graph;
mod options;
mod probe;
mod queue;
mod runtime;
mod session;
mod tensor;

pub use dtype::DType;
pub use error::{LoadError, NnError, StartError};
pub use graph::{Computed, Graph};
pub use options::{BackendChoice, BatchOptions, Device, GraphOptions, Options};
pub use probe::Gain;
pub use queue::QueueStats;
pub use runtime::Runtime;
pub use tensor::{MAX_RANK, Rows, Tensor, TensorError, TensorInfo, Unchecked};
