//! Outputs that stay with the child that computed them until a component reads them: a state that goes
//! from one run to the next is copied neither way, and is lost with its process.

use rustix::process::Signal;
use tms::grpc::proto::inference::{
    InferParameter, ModelInferRequest, infer_parameter::ParameterChoice,
};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::harness::{
    Server, Setup,
    metrics::metric,
    oip::{floats, infer, raw, to_floats},
    until,
};

/// Elements of the state, and its bytes: many times what stays.
const ELEMENTS: usize = 1 << 20;
const BYTES: f64 = 4.0 * ELEMENTS as f64;
/// More runs than a test waits for.
const ENDLESS: i64 = 1 << 40;
const KEPT: &str = "tms_native_kept_bytes";

/// A component whose graph turns the sign of its state.
fn setup(process: &str) -> Setup {
    Setup::new()
        .onnxruntime()
        .guest("nn_probe")
        .graph("any_rank", "nn_probe")
        .config("[limits]\ntimeout = '10m'\ncpu = '10m'")
        .arg("--process")
        .arg(process)
        .metrics()
}

fn state() -> Vec<f32> {
    (0..ELEMENTS).map(|i| i as f32).collect()
}

/// Runs the graph `runs` times, each on the output of the run before. The guest says what `then` does with
/// the first output where a run fails.
fn request(through: &str, runs: i64, then: &str) -> ModelInferRequest {
    let mut request = raw("nn_probe", vec![floats("x", &[ELEMENTS as i64], &state())]);
    for (name, choice) in [
        ("through", ParameterChoice::StringParam(through.into())),
        ("runs", ParameterChoice::Int64Param(runs)),
        ("then", ParameterChoice::StringParam(then.into())),
    ] {
        request.parameters.insert(name.into(), InferParameter { parameter_choice: Some(choice) });
    }
    request
}

/// Waits for `runs` more runs of the graph, or the end of the call that makes them.
async fn more_runs<T>(server: &Server, runs: f64, call: &JoinHandle<T>) {
    let count = || metric(server, "tms_graph_runs_total", &["nn_probe"]);
    let wanted = count() + runs;
    until("more runs", async || count() >= wanted || call.is_finished()).await;
}

#[tokio::test]
async fn a_state_goes_from_run_to_run_without_a_copy() {
    for process in ["own", "shared"] {
        for through in ["graphs", "wasi:nn"] {
            let server = start!(setup(process));
            let caller = server.caller().await;
            let reply = infer(&caller, request(through, 101, "")).await.unwrap();
            let turned: Vec<f32> = state().into_iter().map(|x| -x).collect();
            assert!(to_floats(&reply, "y") == turned, "{process}, {through}: a wrong answer");
            assert_eq!(metric(&server, KEPT, &[]), 0.0, "{process}, {through}: it was all given");
            // One that goes on until its caller leaves.
            let call = request(through, ENDLESS, "");
            let call = tokio::spawn(async move { infer(&caller, call).await });
            for _ in 0..3 {
                more_runs(&server, 50.0, &call).await;
                if call.is_finished() {
                    panic!("{process}, {through}: {:?}", call.await.unwrap().unwrap_err());
                }
                // The first output, which the guest holds, and the last one or two.
                let kept = metric(&server, KEPT, &[]);
                assert!((BYTES..=3.0 * BYTES).contains(&kept), "{process}, {through}: {kept}");
                // The first input came through a region; with an output in one there would be two. What
                // fetched the answer above is there until it has rested.
                until("regions of one input", async || {
                    metric(&server, "tms_native_shared_bytes", &[]) < 1.5 * BYTES
                })
                .await;
            }
            call.abort();
            until("nothing is kept", async || metric(&server, KEPT, &[]) == 0.0).await;
        }
    }
}

#[tokio::test]
async fn a_state_is_lost_with_its_process_and_nothing_else_is() {
    for process in ["own", "shared"] {
        // The next run needs it, the guest reads it, or it is the guest's result.
        for then in ["", "read", "give"] {
            let server = start!(setup(process));
            let caller = server.caller().await;
            let same = caller.clone();
            let call = request("graphs", ENDLESS, then);
            let call = tokio::spawn(async move { infer(&same, call).await });
            more_runs(&server, 10.0, &call).await;
            assert!(metric(&server, KEPT, &[]) >= BYTES, "{process}, {then}");
            server.natives().iter().for_each(|child| child.signal(Signal::KILL));
            let lost = call.await.unwrap().unwrap_err();
            assert_eq!(lost.code(), Code::Unavailable, "{process}, {then}: {lost}");
            let why = "a tensor was lost with the process that computed it";
            assert!(lost.message().contains(why), "{process}, {then}: {lost}");
            let calls = |outcome| metric(&server, "tms_calls_total", &[outcome]);
            let (traps, server_lacks) = (calls(r#"outcome="trap""#), calls(r#"outcome="server""#));
            assert_eq!((traps, server_lacks), (0.0, 1.0), "{process}, {then}");
            until("nothing is kept", async || metric(&server, KEPT, &[]) == 0.0).await;
            let reply = infer(&caller, request("graphs", 2, "")).await.unwrap();
            assert!(to_floats(&reply, "y") == state(), "{process}, {then}: a wrong answer");
            server.no_zombies().await;
        }
    }
}
