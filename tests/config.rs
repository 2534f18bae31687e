//! What the operator and a model's author can set: where a setting may stand, which one wins, and
//! who may grant what.

use serde_json::json;
use tonic::Code;

use crate::harness::{Setup, assert_refused};

async fn workers(setup: Setup) -> Option<u64> {
    let server = setup.guest("echo").start().await?;
    Some(server.caller().await.workers().await)
}

#[tokio::test]
async fn a_flag_beats_a_variable_beats_the_file() {
    let in_file = || Setup::new().config("workers = 5");
    let Some(file) = workers(in_file()).await else {
        return;
    };
    assert_eq!(file, 5);
    let variable = in_file().env("TMS_WORKERS", "3");
    assert_eq!(workers(variable).await, Some(3));
    let flag = in_file().env("TMS_WORKERS", "3").workers(2);
    assert_eq!(workers(flag).await, Some(2));
}

#[tokio::test]
async fn settings_come_from_the_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.toml");
    std::fs::write(&other, "workers = 6").unwrap();
    let other = other.to_str().unwrap();
    let Some(named) = workers(Setup::new().config("workers = 5").arg("--config").arg(other)).await
    else {
        return;
    };
    assert_eq!(named, 6, "and not from tms.toml");
    let named = Setup::new().config("workers = 5").env("TMS_CONFIG", other);
    assert_eq!(workers(named).await, Some(6));
    let missing = Setup::new().guest("echo").arg("--config").arg("missing.toml");
    assert_eq!(
        missing.refused().unwrap(),
        "tms: missing.toml: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn other_settings_as_variables_and_in_the_file() {
    let setup = Setup::new().guest("echo");
    let models = setup.path("").to_str().unwrap().to_owned();
    // The folder of models by variable, the message size by file.
    let by_variable = Setup::new()
        .env("TMS_MODELS", &models)
        .env("TMS_HOST", "127.0.0.1")
        .config("max_message = '1 KiB'\nport = 0\nthreads = 1");
    let server = start!(by_variable);
    assert!(!server.ready.contains("[::1]"), "{}", server.ready);
    let caller = server.caller().await;
    assert_eq!(caller.list_models().await, json!(["echo"]));
    let large = caller.text("echo", &"x".repeat(1 << 10), "").await;
    assert_eq!(large.unwrap_err().code(), Code::ResourceExhausted);
    let both = start!(Setup::new().guest("echo").arg("--host").arg("127.0.0.1,::1"));
    assert!(both.ready.contains("grpc://127.0.0.1:") && both.ready.contains(" and grpc://[::1]:"));
}

#[tokio::test]
async fn values_that_make_no_sense_are_refused() {
    for (toml, problem) in [
        ("workers = 'many'", "invalid type: string \"many\", expected usize"),
        ("drain_timeout = 'soon'", "invalid value: string \"soon\", expected a duration"),
        ("port = 70000", "invalid value: integer `70000`, expected u16"),
        ("workers =", "string values must be quoted, expected literal string"),
    ] {
        let refused = Setup::new().config(toml).refused().unwrap();
        assert!(refused.starts_with("tms: tms.toml: "), "{refused}");
        assert!(refused.contains(problem), "{refused}");
        let line = format!("1 | {toml}");
        assert!(refused.contains(&line), "it shows the line: {refused}");
    }
}

#[test]
fn numbers_of_threads_have_a_bound() {
    for (toml, key, number) in [
        ("threads = 100000", "threads", "100000"),
        ("threads = 0", "threads", "0"),
        ("workers = 1025", "workers", "1025"),
    ] {
        let refused = Setup::new().config(toml).refused().unwrap();
        let problem = format!("tms: {key}: {number} is not between 1 and 1024");
        assert_eq!(refused, problem);
    }
}

#[tokio::test]
async fn memory_may_be_more_than_a_guest_can_address() {
    // Host-side tensors count as well.
    let setup =
        Setup::new().guest("echo").config("[limits]\nmemory = '8 GiB'\ntimeout = '300 years'");
    let server = start!(setup);
    let answer = server.caller().await.text("echo", "hi", "").await;
    assert_eq!(answer.unwrap(), "hi");
}

#[tokio::test]
async fn the_operator_lets_a_model_use_anothers_graph() {
    let setup =
        || Setup::new().guest("nn_probe").graph("two_inputs", "owner").graph("scalar", "nn_probe");
    // Nobody else's, of itself.
    let server = start!(setup());
    let caller = server.caller().await;
    for name in ["owner/model", "owner", "../owner/model"] {
        let answer = caller.text("nn_probe", &format!("graph:{name}"), "").await.unwrap();
        assert_eq!(answer["data"], format!("no graph named `{name}`: this model has `model`"));
    }
    let granted = setup().config("[model.nn_probe]\ngraphs = ['owner/model']");
    let server = start!(granted);
    let answer = server.caller().await.text("nn_probe", "graph:owner/model", "").await.unwrap();
    assert_eq!(answer["outputs"][1]["name"], "product", "{answer}");
}

#[tokio::test]
async fn a_grant_of_what_is_not_there_is_an_error() {
    let setup = Setup::new()
        .guest("nn_probe")
        .guest("echo")
        .config("[model.nn_probe]\ngraphs = ['owner/model']");
    let server = start!(setup);
    let log = server.log();
    let reason = "tms.toml lets it use the graph `owner/model`, which is not there";
    assert!(log.contains(reason), "{log}");
    assert_eq!(server.caller().await.list_models().await, json!(["echo"]));
}

#[tokio::test]
async fn a_models_author_cannot_grant() {
    let setup = Setup::new()
        .guest("nn_probe")
        .file("nn_probe/model.toml", "graphs = ['owner/model']")
        .graph("scalar", "owner");
    let server = start!(setup);
    let refused = server.caller().await.text("nn_probe", "tensor", "").await;
    let message = "the model `nn_probe` did not load: the server's log says why";
    assert_refused(refused, Code::Unavailable, message);
}

#[tokio::test]
async fn a_model_chooses_its_backend_and_the_operator_overrides() {
    let setup = || {
        Setup::new()
            .onnxruntime()
            .graph("scalar", "graph")
            .file("graph/model.toml", "description = 'Doubles.'\nbackend = 'tract'")
    };
    let server = start!(setup());
    assert!(server.log().contains("tract serves it on cpu (as configured"), "{}", server.log());
    let server = start!(setup().config("[model.graph.graph]\nbackend = 'onnxruntime'"));
    assert!(server.log().contains("ONNX Runtime serves it on cpu"), "{}", server.log());
    // For one graph, over what holds for all of the model's.
    let one = setup().file(
        "graph/model.toml",
        "backend = 'tract'\n[graphs.model]\nbackend = 'onnxruntime'\nsessions = 2",
    );
    let server = start!(one.arg("--threads").arg("2"));
    let log = server.log();
    assert!(log.contains("ONNX Runtime serves it on cpu") && log.contains("sessions: 2"), "{log}");
}
