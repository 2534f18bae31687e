//! Shared by the tests of native inference: runtimes, the repository's small graphs, tensors.

#![allow(dead_code)] // Each test binary uses its own part.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

#[path = "../../../tests/harness/skip.rs"]
mod skip;

#[allow(unused_imports)] // Each test binary uses its own part.
pub use skip::{skip, skip_here};
use tms::nn::{
    BackendChoice, ComputeRequest, DType, Graph, GraphOptions, NnError, Options, Process, Runtime,
    Tensor,
};

pub fn runtime(backend: BackendChoice) -> Option<Runtime> {
    runtime_in(backend, Process::Shared)
}

/// A runtime whose sessions are in children of the built program, or in this process.
pub fn runtime_in(backend: BackendChoice, process: Process) -> Option<Runtime> {
    let program = Some(env!("CARGO_BIN_EXE_tms").into());
    match Runtime::start(&Options { backend, process, program, ..Options::default() }) {
        Ok(runtime) => Some(runtime),
        Err(reason) => {
            skip(&format!("{backend:?}: {reason}"));
            None
        }
    }
}

/// The runtimes that are there, by the names of their libraries: each in children and in this process.
pub fn runtimes() -> Vec<(&'static str, Runtime)> {
    runtimes_in(&[Process::Shared, Process::None])
}

/// The runtimes that are there, by the names of their libraries, each in these places.
pub fn runtimes_in(places: &[Process]) -> Vec<(&'static str, Runtime)> {
    let tract = cfg!(feature = "tract").then_some(("tract", BackendChoice::Tract));
    let all = [("ONNX Runtime", BackendChoice::OnnxRuntime)].into_iter().chain(tract);
    let in_all = |(name, backend)| places.iter().map(move |place| (name, backend, *place));
    let all = all.flat_map(in_all);
    let there: Vec<_> = all
        .filter_map(|(name, backend, process)| Some((name, runtime_in(backend, process)?)))
        .collect();
    // A loop over none would test nothing.
    assert!(!there.is_empty(), "no backend is there");
    there
}

/// A graph of tests/data/graphs.
pub fn graph_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/graphs").join(format!("{name}.onnx"))
}

pub fn load(runtime: &Runtime, name: &str) -> Graph {
    load_with(runtime, name, &GraphOptions::default())
}

pub fn load_with(runtime: &Runtime, name: &str, options: &GraphOptions) -> Graph {
    let loaded = runtime.load(name, &graph_file(name), options);
    wait_at_exit();
    loaded.unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Makes the end of the process wait for the threads of native code, which end soon after the tests'
/// graphs are dropped: ONNX Runtime would clear its statics under their feet, and crash. (`tms` itself
/// leaves without that.) What is registered last is called first, so this follows each graph.
fn wait_at_exit() {
    extern "C" fn wait() {
        let native = |thread: fs::DirEntry| {
            let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            ["nn-session", "nn-load"].contains(&name.trim_end())
        };
        let began = Instant::now();
        let some = || fs::read_dir("/proc/self/task").is_ok_and(|all| all.flatten().any(native));
        while some() && began.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(1));
        }
    }
    // SAFETY: `wait` takes and gives nothing, and does not unwind.
    #[allow(unsafe_code)]
    unsafe {
        libc::atexit(wait);
    }
}

pub fn floats(shape: &[u64], values: &[f32]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::new(DType::F32, shape, data.into()).unwrap()
}

pub fn to_floats(tensor: &Tensor) -> Vec<f32> {
    assert_eq!(tensor.dtype(), DType::F32);
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Computes all outputs.
pub async fn compute(
    graph: &Graph,
    inputs: &[(&str, Tensor)],
) -> Result<Vec<(String, Tensor)>, NnError> {
    choose(graph, inputs, &[]).await
}

/// Computes the outputs named.
pub async fn choose(
    graph: &Graph,
    inputs: &[(&str, Tensor)],
    outputs: &[&str],
) -> Result<Vec<(String, Tensor)>, NnError> {
    let inputs = inputs.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    let outputs: Vec<String> = outputs.iter().map(|name| name.to_string()).collect();
    let request = ComputeRequest { outputs: &outputs, ..ComputeRequest::of(inputs) };
    Ok(graph.compute(request).await?.tensors)
}
