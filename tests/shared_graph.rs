//! A graph that its owner's callers and other models use: each has its share of the graph's time, whatever
//! it asks for. Counted in calls of equal work, not in time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tms::grpc::proto::inference::{InferParameter, infer_parameter::ParameterChoice};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{
    Caller, Server, Setup,
    metrics::metric,
    oip::{floats, infer, raw, to_floats},
    until,
};

/// Calls of the other model that wait for the graph at all times.
const FLOOD: usize = 12;
/// Calls of the owner's only caller.
const CALLS: usize = 10;

/// The owner's graph, and a model that may use it: with a short deadline of its own choice.
fn setup() -> Setup {
    Setup::new()
        .onnxruntime()
        .workers(1)
        .graph("slow", "owner")
        .file("owner/model.toml", "sessions = 1")
        .guest_as("nn_probe", "flood")
        .file("flood/model.toml", "[limits]\ntimeout = '50s'")
        .config("[limits]\ntimeout = '10m'")
        .config("[model.flood]\ngraphs = ['owner/model']")
        .metrics()
}

/// Some ten milliseconds of work.
async fn compute(caller: &Caller, model: &str) -> Result<(), Code> {
    let mut request = raw(model, vec![floats("x", &[160, 160], &[0.0; 160 * 160])]);
    if model == "flood" {
        let graph = ParameterChoice::StringParam("owner/model".into());
        let parameter = InferParameter { parameter_choice: Some(graph) };
        request.parameters.insert("graph".into(), parameter);
    }
    let answer = infer(caller, request).await.map_err(|status| status.code())?;
    assert_eq!(to_floats(&answer, "y").len(), 160 * 160);
    Ok(())
}

/// How many calls of the flood are answered while the owner's only caller makes [`CALLS`].
async fn flood_beside_the_owner(server: &Server) -> usize {
    let answered = Arc::new(AtomicUsize::new(0));
    let mut flood = JoinSet::new();
    for _ in 0..FLOOD {
        let (caller, answered) = (server.caller().await, answered.clone());
        flood.spawn(async move {
            while compute(&caller, "flood").await.is_ok() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // One runs, and the others have come back.
    let waiting = async || metric(server, "tms_graph_waiting", &[]) >= (FLOOD / 2) as f64;
    until("a flood", waiting).await;
    let caller = server.caller().await;
    // The first calls make their costs known.
    for _ in 0..2 {
        compute(&caller, "owner").await.unwrap();
    }
    let before = answered.load(Ordering::Relaxed);
    for _ in 0..CALLS {
        compute(&caller, "owner").await.unwrap();
    }
    answered.load(Ordering::Relaxed) - before
}

#[tokio::test]
async fn a_short_deadline_gives_no_precedence_over_the_owner() {
    let server = start!(setup());
    let flood = flood_beside_the_owner(&server).await;
    // Its half, and what the owner's caller leaves it between two calls. By deadline the owner would
    // wait until there is no flood any more.
    assert!(flood <= 4 * CALLS, "{flood} calls of the flood beside {CALLS} of the owner");
}

#[tokio::test]
async fn an_operators_weight_divides_a_graphs_time() {
    let server = start!(setup().config("weight = 10"));
    let flood = flood_beside_the_owner(&server).await;
    assert!(flood >= 4 * CALLS, "{flood} calls of the flood, which has ten parts, beside {CALLS}");
}
