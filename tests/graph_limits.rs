//! A graph's queue and deadlines: native code that runs for long must not hold callers or the
//! server up.

use tonic::Code;

use crate::harness::{
    Setup, assert_refused,
    oip::{Raw, floats, infer, raw},
    until,
};

/// Seconds of work for `slow`: 64 products of a square matrix of this size.
fn work(size: i64) -> Raw {
    floats("x", &[size, size], &vec![0.0; (size * size) as usize])
}

#[tokio::test]
async fn a_native_run_ends_with_its_deadline() {
    let setup =
        Setup::new().onnxruntime().graph("slow", "slow").config("[limits]\ntimeout = '500ms'");
    let server = start!(setup);
    let caller = server.caller().await;
    let late = infer(&caller, raw("slow", vec![work(3000)])).await;
    let message = "model `slow`: the deadline passed while the call waited for the graph, or while the graph ran";
    assert_refused(late, Code::DeadlineExceeded, message);
    // The session was stopped, not only left: a small call gets its turn within its own deadline.
    until("a free session", async || infer(&caller, raw("slow", vec![work(4)])).await.is_ok())
        .await;
}

#[tokio::test]
async fn a_guests_deadline_reaches_native_code() {
    let setup = Setup::new()
        .onnxruntime()
        .guest("nn_probe")
        .graph("slow", "nn_probe")
        .config("[limits]\ntimeout = '500ms'");
    let server = start!(setup);
    let caller = server.caller().await;
    let late = infer(&caller, raw("nn_probe", vec![work(3000)])).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    until("a free session", async || infer(&caller, raw("nn_probe", vec![work(4)])).await.is_ok())
        .await;
}

#[tokio::test]
async fn a_graphs_queue_is_bounded() {
    let setup = Setup::new()
        .onnxruntime()
        .graph("slow", "slow")
        .file("slow/model.toml", "sessions = 1")
        .guest("echo")
        .workers(1)
        .config("[model.slow.limits]\nmax_queue = 1\ntimeout = '10m'");
    let server = start!(setup);
    let caller = server.caller().await;
    let call = || {
        let caller = caller.clone();
        tokio::spawn(async move { infer(&caller, raw("slow", vec![work(3000)])).await })
    };
    // One runs and one waits for longer than this test takes; the third is refused.
    let mut calls = [call(), call(), call()];
    until("a refusal", async || calls.iter().any(|call| call.is_finished())).await;
    calls.sort_by_key(|call| !call.is_finished());
    let [refused, first, second] = calls;
    let message = "model `slow`: 1 calls of this model already wait for this graph (max_queue)";
    assert_refused(refused.await.unwrap(), Code::ResourceExhausted, message);
    assert!(!first.is_finished() && !second.is_finished());
    // Native threads are busy, the worker is not.
    let other = server.caller().await;
    assert_eq!(other.text("echo", "hi", "").await.unwrap(), "hi");
    first.abort();
    second.abort();
    // Callers who left are forgotten: their runs end, and the queue is free again.
    until("a free queue", async || infer(&other, raw("slow", vec![work(2)])).await.is_ok()).await;
}
