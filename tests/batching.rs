//! Batches: calls that wait for a graph become one native run, whoever made them; each caller gets its
//! own answer, and one that fails or leaves is nobody else's loss.

use futures_util::future::join_all;
use tms::grpc::proto::inference::ModelInferResponse;
use tokio::task::JoinHandle;
use tonic::{Code, Response, Status};

use crate::{
    command::said,
    harness::{
        Caller, Server, Setup,
        metrics::metric,
        oip::{Raw, floats, input, raw, to_floats},
        setup::{onnxruntime, tms},
        until,
    },
};

const BATCH: &str = "batch = true\n";

type Answer = Result<Response<ModelInferResponse>, Status>;

/// Rows for the graph `rows`, which gives x + 100 * word.
fn rows(x: &[f32], word: i64) -> Vec<Raw> {
    let n = x.len() as i64;
    let words = x.iter().flat_map(|_| word.to_le_bytes()).collect();
    vec![floats("x", &[n, 1], x), (input("word", "INT64", &[n, 1]), words)]
}

fn call(caller: &Caller, model: &'static str, inputs: Vec<Raw>) -> JoinHandle<Answer> {
    let caller = caller.clone();
    tokio::spawn(async move { caller.inference().model_infer(raw(model, inputs)).await })
}

/// The number of calls in the run, as the header says, and the first value.
fn result(answer: Answer) -> Result<(usize, f32), Code> {
    let answer = answer.map_err(|status| status.code())?;
    let size = answer.metadata().get("tms-batch-size").expect("the header");
    let size = size.to_str().unwrap().parse().unwrap();
    Ok((size, to_floats(answer.get_ref(), "y")[0]))
}

/// A server whose graph's only session has work for longer than a test takes, the call that it is
/// for, and a caller.
async fn busy(setup: Setup, model: &'static str) -> Option<(Server, JoinHandle<Answer>, Caller)> {
    let server = setup.workers(1).metrics().start().await?;
    let caller = server.caller().await;
    let long = call(&caller, model, rows(&vec![0.0; 100_000], 0));
    until("a busy session", async || metric(&server, "tms_graph_busy_sessions", &[]) == 1.0).await;
    Some((server, long, caller))
}

/// Waits until so many calls wait for a session.
async fn queued(server: &Server, calls: usize) {
    let waiting = async || metric(server, "tms_graph_waiting", &[]) == calls as f64;
    until(&format!("{calls} calls that wait"), waiting).await;
}

fn bare(manifest: &str) -> Setup {
    Setup::new().onnxruntime().graph("rows", "rows").file("rows/model.toml", manifest)
}

#[tokio::test]
async fn calls_that_wait_become_one_run() {
    let Some((server, long, caller)) = busy(bare(BATCH), "rows").await else { return };
    let calls: Vec<_> = (0..8).map(|i| call(&caller, "rows", rows(&[i as f32], i))).collect();
    queued(&server, 8).await;
    long.abort();
    for (i, answer) in join_all(calls).await.into_iter().enumerate() {
        let (size, y) = result(answer.unwrap()).unwrap();
        assert!(size == 8 && (y - 101.0 * i as f32).abs() < 0.01, "{i}: {size} {y}");
    }
    let of = |le: &str| metric(&server, "tms_graph_batch_bucket", &[&format!("le=\"{le}\"")]);
    assert_eq!((of("1.0"), of("4.0"), of("8.0")), (1.0, 1.0, 2.0), "cumulative");
    assert_eq!(metric(&server, "tms_graph_batch_sum", &[]), 9.0);
    // Alone again.
    let alone = call(&caller, "rows", rows(&[1.0], 0)).await.unwrap();
    assert_eq!(result(alone).unwrap().0, 1);
}

#[tokio::test]
async fn a_guest_written_for_one_is_batched_without_knowing() {
    let setup = Setup::new()
        .onnxruntime()
        .guest("nn_probe")
        .graph("rows", "nn_probe")
        .file("nn_probe/model.toml", BATCH);
    let Some((server, long, caller)) = busy(setup, "nn_probe").await else { return };
    let calls: Vec<_> = (0..8).map(|i| call(&caller, "nn_probe", rows(&[i as f32], 1))).collect();
    queued(&server, 8).await;
    long.abort();
    for (i, answer) in join_all(calls).await.into_iter().enumerate() {
        let (size, y) = result(answer.unwrap()).unwrap();
        assert!(size == 8 && (y - 100.0 - i as f32).abs() < 0.01, "{i}: {size} {y}");
    }
}

#[tokio::test]
async fn a_run_has_an_upper_bound_and_what_is_left_waits_for_the_next() {
    let setup = bare("batch = true\nmax_batch = 4\n");
    let Some((server, long, caller)) = busy(setup, "rows").await else { return };
    let sizes = [1, 1, 2, 1, 1]; // rows of each call
    let calls = sizes.map(|n| call(&caller, "rows", rows(&vec![1.0; n], 0)));
    queued(&server, 5).await;
    long.abort();
    let answers = join_all(calls).await.into_iter().map(|a| result(a.unwrap()).unwrap().0);
    let mut answers: Vec<_> = answers.collect();
    answers.sort();
    // Four rows are three calls or four, in whatever order they came.
    assert!(answers == [2, 2, 3, 3, 3] || answers == [1, 4, 4, 4, 4], "{answers:?}");
}

#[tokio::test]
async fn inputs_of_a_run_have_a_bound_in_bytes() {
    let setup = bare("batch = true\nmax_batch_memory = 24\n");
    let Some((server, long, caller)) = busy(setup, "rows").await else { return };
    // Twelve bytes each.
    let calls: Vec<_> = (0..4).map(|_| call(&caller, "rows", rows(&[1.0], 0))).collect();
    queued(&server, 4).await;
    long.abort();
    for answer in join_all(calls).await {
        assert_eq!(result(answer.unwrap()).unwrap().0, 2);
    }
}

#[tokio::test]
async fn one_bad_member_fails_alone() {
    let Some((server, long, caller)) = busy(bare(BATCH), "rows").await else { return };
    let unknown_word = 99;
    let bad = call(&caller, "rows", rows(&[1.0], unknown_word));
    let good: Vec<_> = (0..4).map(|_| call(&caller, "rows", rows(&[7.0], 0))).collect();
    queued(&server, 5).await;
    long.abort();
    assert_eq!(result(bad.await.unwrap()), Err(Code::Internal));
    for answer in join_all(good).await {
        let (_, y) = result(answer.unwrap()).unwrap();
        assert!((y - 7.0).abs() < 0.01, "{y}");
    }
}

#[tokio::test]
async fn callers_that_leave_are_not_in_the_run() {
    let Some((server, long, caller)) = busy(bare(BATCH), "rows").await else { return };
    let stay: Vec<_> = (0..2).map(|_| call(&caller, "rows", rows(&[1.0], 0))).collect();
    let leave: Vec<_> = (0..3).map(|_| call(&caller, "rows", rows(&[2.0], 0))).collect();
    queued(&server, 5).await;
    leave.iter().for_each(|call| call.abort());
    queued(&server, 2).await;
    assert_eq!(metric(&server, "tms_graph_calls_left_total", &[]), 3.0);
    long.abort();
    for answer in join_all(stay).await {
        assert_eq!(result(answer.unwrap()).unwrap().0, 2);
    }
}

#[tokio::test]
async fn tract_batches_in_powers_of_two() {
    let setup = Setup::new()
        .graph("rows", "rows")
        .file("rows/model.toml", "batch = true\nmax_batch = 4\nbackend = 'tract'\n");
    let server = start!(setup.workers(1).metrics());
    let caller = server.caller().await;
    // tract cannot be stopped: a call that ends.
    let long = call(&caller, "rows", rows(&vec![0.0; 500], 0));
    until("a busy session", async || metric(&server, "tms_graph_busy_sessions", &[]) == 1.0).await;
    let calls: Vec<_> = (0..3).map(|i| call(&caller, "rows", rows(&[i as f32], 0))).collect();
    let answers = join_all(calls).await.into_iter().map(|a| result(a.unwrap()).unwrap());
    for (i, (size, y)) in answers.enumerate() {
        assert!([1, 2].contains(&size) && (y - i as f32).abs() < 0.01, "{size} {y}");
    }
    assert!(long.await.unwrap().is_ok());
}

#[tokio::test]
async fn rows_that_influence_each_other_are_refused() {
    for graph in ["mixed_rows", "rows_of_one_scale"] {
        let setup = Setup::new()
            .onnxruntime()
            .graph(graph, "mixed")
            .file("mixed/model.toml", BATCH)
            .graph("rows", "rows");
        let folder = setup.path("");
        let server = start!(setup);
        let why = "rows of one run influence each other: output `y` of a row differs by ";
        let said_so = server.logged("its calls cannot be batched (batch = true)").await;
        assert!(said_so.contains(why), "{graph}: {said_so}");
        let status = result(call(&server.caller().await, "mixed", vec![]).await.unwrap());
        assert_eq!(status, Err(Code::Unavailable));
        let library = onnxruntime().expect("the server has it, too");
        let mut check = tms();
        check.arg("check").arg(&folder).env("TMS_ONNXRUNTIME", library);
        let (code, report, _) = said(&mut check);
        assert_eq!(code, Some(1), "{report}");
        assert!(
            report
                .contains("not served: graph model: its calls cannot be batched (batch = true): "),
            "{report}"
        );
        assert!(report.contains(why), "{report}");
    }
}

#[tokio::test]
async fn without_batching_there_is_no_header() {
    let server = start!(bare(""));
    let caller = server.caller().await;
    let answer = call(&caller, "rows", rows(&[1.0], 0)).await.unwrap().unwrap();
    assert!(answer.metadata().get("tms-batch-size").is_none());
}

#[test]
fn check_measures_what_batching_gains() {
    let setup = Setup::new().onnxruntime().graph("rows", "good").graph("identity_u8", "fixed");
    let (code, report, error) = said(
        tms().args(["check", "--max-batch", "4"]).arg(setup.path("")).env("TMS_ONNXRUNTIME", {
            let Some(library) = onnxruntime() else { return };
            library
        }),
    );
    assert_eq!((code, error.as_str()), (Some(0), ""), "{report}");
    let line = report.lines().find(|line| line.contains("time for a row")).unwrap();
    assert!(line.contains("by rows in a run: 1: ") && line.contains(", 4: "), "{line}");
}
