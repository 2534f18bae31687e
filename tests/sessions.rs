//! Native sessions: how many runs of a graph go on at once, and when a further session is made.

use std::fs;

use tokio::task::JoinHandle;

use crate::harness::{
    Caller, Setup,
    metrics::metric,
    oip::{floats, infer, raw, to_floats},
    repository, until,
};

/// A call that goes on for longer than a test takes.
fn long(caller: &Caller) -> JoinHandle<()> {
    let caller = caller.clone();
    let work = floats("x", &[3000, 3000], &vec![0.0; 9_000_000]);
    tokio::spawn(async move { drop(infer(&caller, raw("slow", vec![work])).await) })
}

fn setup() -> Setup {
    Setup::new().onnxruntime().workers(1).metrics()
}

const BUSY: &str = "tms_graph_busy_sessions";

#[tokio::test]
async fn a_second_run_has_a_session_of_its_own() {
    let server = start!(setup().graph("slow", "slow").arg("--threads").arg("2"));
    let caller = server.caller().await;
    let runs = [(); 3].map(|()| long(&caller));
    // As many as threads; the third waits.
    until("two runs", async || metric(&server, BUSY, &[]) == 2.0).await;
    until("one waits", async || metric(&server, "tms_graph_waiting", &[]) == 1.0).await;
    runs.iter().for_each(JoinHandle::abort);
    until("no run", async || metric(&server, BUSY, &[]) == 0.0).await;
    let small = infer(&caller, raw("slow", vec![floats("x", &[1, 1], &[1.0])])).await.unwrap();
    assert_eq!(to_floats(&small, "y"), [1.0]);
}

#[tokio::test]
async fn a_setting_limits_them() {
    let setup = setup().graph("slow", "slow").file("slow/model.toml", "sessions = 1");
    let server = start!(setup.arg("--threads").arg("4"));
    let caller = server.caller().await;
    let runs = [(); 3].map(|()| long(&caller));
    until("two wait", async || metric(&server, "tms_graph_waiting", &[]) == 2.0).await;
    assert_eq!(metric(&server, BUSY, &[]), 1.0);
    runs.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn an_authors_wish_is_bounded_by_the_operators_threads() {
    for (operator, most) in [("", 1.0), ("[model.slow.graph]\nsessions = 2", 2.0)] {
        let manifest = "[graphs.model]\nsessions = 64";
        let setup = setup().graph("slow", "slow").file("slow/model.toml", manifest);
        let server = start!(setup.config(operator).arg("--threads").arg("1"));
        assert!(server.log().contains(&format!("sessions: {most}")), "{}", server.log());
        let caller = server.caller().await;
        let runs = [(); 4].map(|()| long(&caller));
        until("the others wait", async || {
            let waiting = metric(&server, "tms_graph_waiting", &[]);
            (metric(&server, BUSY, &[]), waiting) == (most, 4.0 - most)
        })
        .await;
        runs.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test]
async fn a_file_beside_a_graph_is_none_of_its() {
    let server = start!(setup().graph("slow", "slow").arg("--threads").arg("2"));
    fs::write(server.folder().join("models/slow/labels.csv"), "cat,dog").unwrap();
    let caller = server.caller().await;
    let runs = [(); 2].map(|()| long(&caller));
    until("two runs", async || metric(&server, BUSY, &[]) == 2.0).await;
    runs.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn no_session_is_made_of_a_file_that_has_changed() {
    let graph = |name| repository().join(format!("tests/data/graphs/{name}.onnx"));
    let setup = setup().file("slow/model.onnx", fs::read(graph("slow")).unwrap());
    let server = start!(setup.arg("--threads").arg("2"));
    fs::copy(graph("two_inputs"), server.folder().join("models/slow/model.onnx")).unwrap();
    let caller = server.caller().await;
    let runs = [(); 2].map(|()| long(&caller));
    let message = "no further session can be made: the graph's file has changed since the start";
    server.logged(message).await;
    until("one run", async || metric(&server, BUSY, &[]) == 1.0).await;
    runs.iter().for_each(JoinHandle::abort);
    // The first session goes on with what it has read.
    let small = infer(&caller, raw("slow", vec![floats("x", &[1, 1], &[1.0])])).await.unwrap();
    assert_eq!(to_floats(&small, "y"), [1.0]);
}
