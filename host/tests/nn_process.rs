//! What concerns the whole process, so one test alone: which ONNX Runtime it loads, and that a
//! graph's threads end with it.

// A test may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod nn_support;

use std::{fs, path::PathBuf, time::Duration};

use nn_support::{compute, floats, load_with, runtime_in, to_floats};
use tms::nn::{BackendChoice, GraphOptions, Options, Process, Runtime};

fn refused(library: PathBuf) -> String {
    let process = Process::None;
    let options = Options { onnxruntime: Some(library), process, ..Options::default() };
    Runtime::start(&options).err().map(|e| e.to_string()).unwrap_or_default()
}

/// The number of threads of this process that serve graphs.
fn session_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter(|task| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "nn-session\n")
        })
        .count()
}

/// Threads take a moment to start and to end.
async fn until_threads(count: usize) {
    let reached = async {
        while session_threads() != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
    assert!(reached.is_ok(), "{} session threads, not {count}", session_threads());
}

#[tokio::test]
async fn one_library_for_the_process_and_threads_for_a_graph() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so.9.9");
    let missing = folder.path().join("missing.so");
    let message = refused(missing.clone());
    let start = format!(
        "ONNX Runtime cannot be used: `{}` (from the option `onnxruntime`)",
        missing.display()
    );
    assert_eq!(message, format!("{start} does not exist"));
    assert!(refused(folder.path().into()).ends_with("holds no libonnxruntime.so"));
    fs::write(&text, "no library at all").unwrap();
    assert!(refused(folder.path().into()).ends_with("is not a shared library"));
    // An ELF header with nothing behind it, and a shared library of another kind.
    fs::write(&text, b"\x7fELF and no more").unwrap();
    let message = refused(text.clone());
    assert!(
        message.contains("cannot be loaded: ") && message.contains("libonnxruntime.so.9.9"),
        "{message}"
    );
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps
        .split_whitespace()
        .find(|word| word.contains("/libc.so") || word.contains("/libc-"))
        .unwrap();
    assert!(refused(libc.into()).ends_with("is a shared library, but not ONNX Runtime"));

    // None of that keeps a good library from being used, by any number of runtimes.
    let Some(first) = runtime_in(BackendChoice::OnnxRuntime, Process::None) else {
        return;
    };
    let second = runtime_in(BackendChoice::OnnxRuntime, Process::None).unwrap();
    assert!(
        refused(libc.into()).ends_with("is not the library that this process has loaded already")
    );
    assert!(refused(missing).ends_with("does not exist"));

    // One session each: more are made when there is work for them.
    let options = GraphOptions { sessions: Some(3), ..GraphOptions::default() };
    let graphs =
        [load_with(&first, "any_rank", &options), load_with(&second, "any_rank", &options)];
    until_threads(2).await;
    for graph in &graphs {
        compute(graph, &[("x", floats(&[1], &[1.]))]).await.unwrap();
    }
    let clone = graphs[0].clone();
    drop(graphs);
    until_threads(1).await;
    let out = compute(&clone, &[("x", floats(&[1], &[1.]))]).await.unwrap();
    drop(clone);
    until_threads(0).await;
    // A result outlives its graph.
    assert_eq!(to_floats(&out[0].1), [-1.]);
}
