//! What an inference library must do to serve graphs. A further library is one more file here and
//! one line in `runtime.rs`.

pub mod onnxruntime;
#[cfg(feature = "tract")]
pub mod tract;

use std::{path::Path, sync::Arc};

use super::{GraphOptions, LoadError, NnError, Tensor, cancel::Cancel, check::Signature};

/// An inference library.
pub trait Backend: Send + Sync {
    /// Its name for logs.
    fn name(&self) -> &'static str;

    /// Whether it prepares itself for every shape that it meets, which takes long: then batches have
    /// 1, 2, 4, … rows, and each is prepared at load.
    fn prepares_shapes(&self) -> bool {
        false
    }

    /// Reads a graph. Called on a thread fit for native code; a panic fails the load.
    fn load(&self, path: &Path, options: &GraphOptions) -> Result<LoadedGraph, LoadError>;
}

/// A graph that a backend has read.
pub struct LoadedGraph {
    pub signature: Signature,
    /// The device that runs it, which differs from the one asked for after a fallback.
    pub device: String,
    /// Makes its sessions.
    pub factory: Arc<dyn SessionFactory>,
}

/// Makes sessions of one graph.
pub trait SessionFactory: Send + Sync {
    /// A session whose runs use so many threads of their own, or those that all sessions share.
    fn session(&self, threads: Option<usize>) -> Result<Box<dyn Session>, LoadError>;
}

/// Runs a graph, one call at a time, on the thread that owns it.
pub trait Session: Send {
    /// Computes the outputs at the positions `outputs`, in that order. Names, types and shapes
    /// have been checked. A run that can be stopped registers itself with `cancel`. After a panic
    /// the graph has failed, and no session of it runs again.
    fn run(
        &mut self,
        inputs: &[(usize, Tensor)],
        outputs: &[usize],
        cancel: &Cancel,
    ) -> Result<Vec<Tensor>, NnError>;
}
