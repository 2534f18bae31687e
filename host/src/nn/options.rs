//! What the operator can choose: for the server as a whole, and for each graph.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::backend::onnxruntime::Candidate;
use crate::{
    child::Nursery,
    config::{Process, limits::Limits},
    ledger::Ledger,
};

/// Choices for the whole server.
#[derive(Clone, Default)]
pub struct Options {
    /// ONNX Runtime's library, or a folder that holds it. Without it the library is searched for.
    pub onnxruntime: Option<PathBuf>,
    /// The libraries of ONNX Runtime to try, best first; None: they are looked for.
    pub candidates: Option<Vec<Candidate>>,
    /// The library that serves graphs which do not ask for one. `Tract` keeps ONNX Runtime unloaded.
    pub backend: BackendChoice,
    /// Memory that a run does not use any more is for the system, not kept for the next one.
    pub lean: bool,
    /// Threads that share the work inside of runs, over all graphs. Default: one for each core.
    pub threads: Option<usize>,
    /// Where sessions are, for graphs of which nothing else is said.
    pub process: Process,
    /// The program of children, which must be this very one. None: `/proc/self/exe`.
    pub program: Option<PathBuf>,
    /// What starts children. None: one of its own.
    pub nursery: Option<Arc<Nursery>>,
    /// Bytes of memory that native code may take, all children together. None: as much as leaves the
    /// server room.
    pub native_memory: Option<u64>,
    /// Memory that is shared with children is charged here.
    pub ledger: Arc<Ledger>,
    /// Graphs that will be loaded: what a child may read is fixed when it is started.
    pub graphs: Vec<PathBuf>,
    /// Told when a graph begins to refuse calls.
    pub refusing: Option<Arc<Notify>>,
}

impl Options {
    /// Threads that share the work of all runs of a process.
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
        self.threads.unwrap_or_else(cores)
    }
}

/// Choices for one graph.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GraphOptions {
    pub backend: BackendChoice,
    pub device: Device,
    /// Serve on the CPU where `device` cannot be used, with a warning, rather than not at all.
    pub fallback_cpu: bool,
    /// Runs at the same time. A session beside the first holds a copy of the weights, and is made
    /// when there is work for it. None: as many as threads, within 1 GiB of copies, where that helps.
    pub sessions: Option<usize>,
    /// The same where the graph's author asks for it: no more than threads.
    pub asked_sessions: Option<usize>,
    /// Calls that may wait; more are refused.
    pub queue: usize,
    /// Elements of all inputs of one run.
    pub max_elements: usize,
    /// Several calls as one run, where they can be.
    pub batch: Option<BatchOptions>,
    /// Where its sessions are. None: where the server's are.
    pub process: Option<Process>,
    /// How long a run may take, and some more, before its process is ended: the limit of the models
    /// that use it.
    pub timeout: Duration,
    /// Bytes of all outputs of one run.
    pub max_output: usize,
    /// Ends of its process in a row after which calls are refused for a while.
    pub max_failures: usize,
}

/// How far calls are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchOptions {
    /// Rows of one run: calls, where each has one.
    pub rows: usize,
    /// Bytes of all inputs of one run.
    pub memory: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { rows: 32, memory: 64 << 20 }
    }
}

impl Default for GraphOptions {
    fn default() -> Self {
        let (backend, device) = (BackendChoice::Auto, Device::Cpu);
        let limits = Limits::default();
        let (queue, max_elements) = (limits.max_queue, limits.max_elements);
        GraphOptions {
            backend,
            device,
            fallback_cpu: false,
            sessions: None,
            asked_sessions: None,
            queue,
            max_elements,
            batch: None,
            process: None,
            timeout: limits.timeout,
            max_output: limits.memory,
            max_failures: limits.max_failures,
        }
    }
}

/// Which inference library serves a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendChoice {
    /// ONNX Runtime where its library is there, else tract.
    #[default]
    Auto,
    OnnxRuntime,
    Tract,
}

impl FromStr for BackendChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "onnxruntime" => Ok(Self::OnnxRuntime),
            "tract" => Ok(Self::Tract),
            _ => Err(format!("`{text}` is not a backend: auto, onnxruntime or tract")),
        }
    }
}

/// Where a graph runs. The number is the device's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device {
    Cpu,
    Cuda(u16),
    TensorRt(u16),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, index) = text.split_once(':').unwrap_or((text, "0"));
        match (kind, index.parse()) {
            ("cpu", Ok(0)) => Ok(Self::Cpu),
            ("cuda", Ok(index)) => Ok(Self::Cuda(index)),
            ("tensorrt", Ok(index)) => Ok(Self::TensorRt(index)),
            _ => Err(format!("`{text}` is not a device: cpu, cuda:0, tensorrt:0, …")),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::TensorRt(index) => write!(f, "tensorrt:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_a_kind_and_an_index() {
        assert_eq!("cuda:1".parse(), Ok(Device::Cuda(1)));
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        assert_eq!("tensorrt:0".parse::<Device>().map(|d| d.to_string()), Ok("tensorrt:0".into()));
        for bad in ["gpu", "cpu:1", "cuda:", "cuda:-1", ""] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }
}
