//! Models that do not load, or not yet: the others are served, and health and log tell.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tms::grpc::proto::{inference::ServerReadyRequest, server::TextArgs};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::harness::{Setup, assert_refused};

#[tokio::test]
async fn one_bad_model_does_not_stop_the_others() {
    let bad = ["broken_init", "bad_graph", "no_wasm", "bad_toml", "fp8"];
    let setup = Setup::new()
        .onnxruntime()
        .guest("echo")
        .graph("scalar", "graph")
        .guest("broken_init")
        .file("bad_graph/model.onnx", "not a graph")
        .file("no_wasm/model.wasm", "not WebAssembly")
        .guest_as("echo", "bad_toml")
        .file("bad_toml/model.toml", "nonsense = 1")
        .graph("identity_fp8", "fp8");
    let server = start!(setup);
    assert!(server.ready.contains(", 2 models (5 failed, see the log), "), "{}", server.ready);
    let caller = server.caller().await;
    assert_eq!(caller.list_models().await, json!(["echo", "graph"]));
    assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
    let log = server.log();
    for name in bad {
        let message = format!("the model `{name}` did not load: the server's log says why");
        assert_refused(caller.text(name, "hi", "").await, Code::Unavailable, &message);
        let service = name.into();
        let health = caller.health().check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(health.into_inner().status(), ServingStatus::NotServing, "{name}");
        assert!(log.contains(&format!("model={name}\n")), "{name} in:\n{log}");
    }
    assert_eq!(log.matches("ERROR not served: ").count(), bad.len(), "{log}");
    assert!(log.contains("its first instance failed: no weights today"), "{log}");
    // What a model logs while it fails helps most.
    assert!(log.contains("about to fail"), "{log}");
}

/// `slow_counter`, whose `init` takes so many ms; with settings before its own.
fn loading_for(ms: &str, settings: &str) -> Setup {
    Setup::new()
        .guest("slow_counter")
        .file("slow_counter/model.toml", "[asks]\nenv = [\"INIT_MS\"]")
        .config(&format!("{settings}[model.slow_counter.grants]\nenv = [\"INIT_MS\"]"))
        .env("INIT_MS", ms)
}

#[tokio::test]
async fn a_model_is_called_while_another_loads() {
    let setup = loading_for("25000", "").guest("echo");
    let Some(mut server) = setup.begin().await else { return };
    let caller = server.caller().await;
    assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
    // Who waits for the other one may have a deadline.
    let text = TextArgs { model: "slow_counter".into(), ..TextArgs::default() };
    let mut request = tonic::Request::new(text);
    request.set_timeout(Duration::from_millis(300));
    let late = caller.server().run_text(request).await;
    let message = "the model `slow_counter` is still loading";
    assert_refused(late, Code::DeadlineExceeded, message);
    let ready = caller.inference().server_ready(ServerReadyRequest {}).await.unwrap();
    assert!(!ready.into_inner().ready);
    for (name, status) in [
        ("", ServingStatus::NotServing),
        ("echo", ServingStatus::Serving),
        ("slow_counter", ServingStatus::NotServing),
    ] {
        let request = HealthCheckRequest { service: name.into() };
        let health = caller.health().check(request).await.unwrap();
        assert_eq!(health.into_inner().status(), status, "`{name}`");
    }
    assert_eq!(server.ready(), "");
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_model_that_loads_is_waited_for() {
    // Less than it takes to load: the limit is for calls.
    let setup = loading_for("1500", "[limits]\ntimeout = '1s'\n");
    let Some(server) = setup.begin().await else { return };
    let caller = server.caller().await;
    assert_eq!(caller.list_models().await, json!(["slow_counter"]));
    assert_eq!(caller.text("slow_counter", "", "").await.unwrap(), 1);
}

#[tokio::test]
async fn a_component_with_a_bad_graph_has_failed_whole() {
    let setup =
        Setup::new().guest("echo").guest("nn_probe").file("nn_probe/net.onnx", "not a graph");
    let server = start!(setup);
    let caller = server.caller().await;
    assert_eq!(caller.list_models().await, json!(["echo"]));
}

#[tokio::test]
async fn a_name_that_cannot_be_a_models() {
    let setup = Setup::new().guest("echo").guest_as("echo", "my model");
    let server = start!(setup);
    let reason = "not served: a model's name has only letters, digits, `_` and `-`";
    assert!(server.log().contains(reason), "{}", server.log());
}

#[tokio::test]
async fn several_graphs_want_a_component() {
    let setup =
        Setup::new().guest("echo").graph("scalar", "two").file("two/other.onnx", "whatever");
    let server = start!(setup);
    let reason = "not served: it has several graphs (model, other) and no model.wasm to say what to \
                  do with them";
    assert!(server.log().contains(reason), "{}", server.log());
}

#[tokio::test]
async fn all_models_bad_is_still_a_server() {
    let server = start!(Setup::new().guest("broken_init"));
    assert!(server.ready.contains(", 0 models (1 failed, see the log), "), "{}", server.ready);
    assert_eq!(server.caller().await.list_models().await, json!([]));
}

#[tokio::test]
async fn what_is_no_model_is_passed_over() {
    let setup = Setup::new()
        .guest("echo")
        .file("README.md", "a file")
        .file(".hidden/model.onnx", "not a graph")
        .file("notes/plan.txt", "a folder without a model");
    let server = start!(setup);
    assert!(server.ready.contains(", 1 models, "), "{}", server.ready);
}
