//! What the operator and a model's author can set: where a setting may stand, which one wins, and
//! who may grant what.

use std::{fs, os::unix::fs::symlink, process::Command};

use serde_json::json;
use tonic::Code;

use crate::{
    command::said,
    harness::{Setup, assert_refused, setup::tms},
};

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
        ("workers = 'many'", "invalid value: string \"many\", expected a number from 1 to 1024"),
        (
            "drain_timeout = 'soon'",
            "invalid value: string \"soon\", expected a duration such as 30s or 1m 30s",
        ),
        ("port = 70000", "invalid value: integer `70000`, expected a number from 0 to 65535"),
        ("workers = 1025", "invalid value: integer `1025`, expected a number from 1 to 1024"),
        ("threads = 0", "invalid value: integer `0`, expected a number from 1 to 1024"),
        ("stack = '1 GiB'", "expected a size from 64 KiB to 64 MiB"),
        ("window = 1000", "expected a size from 64 KiB to 1 GiB"),
        ("host = 'localhost'", "expected an address such as 0.0.0.0, or a list of addresses"),
        ("metrics = 9090", "expected an address and a port, such as 127.0.0.1:9090"),
        ("stop_server = 'all'", "expected one of `never`, `local`, `anyone`"),
        ("workers =", "string values must be quoted, expected literal string"),
    ] {
        let refused = Setup::new().config(toml).refused().unwrap();
        assert!(refused.starts_with("tms: tms.toml: "), "{refused}");
        assert!(refused.contains(problem), "{refused}");
        let line = format!("1 | {toml}");
        assert!(refused.contains(&line), "it shows the line: {refused}");
    }
}

/// What `tms serve` says of its own command line or of its variables.
fn misunderstood(setup: &mut Command) -> String {
    let (code, out, error) = said(setup);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{error}");
    error.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_bad_value_is_blamed_on_the_flag_or_the_variable() {
    let by_flag = |flag: &str, value: &str| misunderstood(tms().args(["serve", flag, value]));
    let by_variable = |name: &str, value: &str| misunderstood(tms().arg("serve").env(name, value));
    for (flag, name, variable, value, expected) in [
        ("--threads", "--threads <NUMBER>", "TMS_THREADS", "0", "a number from 1 to 1024"),
        ("--port", "--port <NUMBER>", "TMS_PORT", "http", "a number from 0 to 65535"),
        ("--stack", "--stack <SIZE>", "TMS_STACK", "1", "a size from 64 KiB to 64 MiB"),
        (
            "--drain-timeout",
            "--drain-timeout <TIME>",
            "TMS_DRAIN_TIMEOUT",
            "5",
            "a duration such as 30s or 1m 30s",
        ),
    ] {
        let blamed = |name: &str| {
            format!("error: invalid value '{value}' for '{name}': expected {expected}")
        };
        assert_eq!(by_flag(flag, value), blamed(name));
        assert_eq!(by_variable(variable, value), blamed(variable));
    }
    assert_eq!(
        by_variable("TMS_STOP_SERVER", "all"),
        "error: invalid value 'all' for 'TMS_STOP_SERVER'"
    );
    // The flag wins, and so it is to blame.
    let both = misunderstood(tms().args(["serve", "--port=x"]).env("TMS_PORT", "50000"));
    assert!(both.contains("'--port <NUMBER>'"), "{both}");
    // Of other verbs too.
    let check = misunderstood(tms().arg("check").env("TMS_THREADS", "many"));
    assert!(check.contains("'TMS_THREADS'"), "{check}");
}

#[test]
fn a_settings_file_that_is_no_file_is_refused() {
    let setup = || Setup::new().file("any/model.wasm", "");
    let refused = |setup: Setup, file: &str| {
        let path = setup.folder.path().join(file);
        setup.arg("--config").arg(path.to_str().unwrap()).refused().unwrap()
    };
    let pipe = setup();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, pipe.folder.path().join("pipe"), fifo, mode, 0).unwrap();
    assert_eq!(refused(pipe, "pipe"), "tms: DIR/pipe: it is a named pipe, not a file");
    assert_eq!(refused(setup(), "models"), "tms: DIR/models: it is a folder, not a file");
    let sparse = setup();
    let file = fs::File::create(sparse.folder.path().join("sparse.toml")).unwrap();
    file.set_len(2 << 30).unwrap();
    assert_eq!(refused(sparse, "sparse.toml"), "tms: DIR/sparse.toml: it is larger than 1 MiB");
    let dangling = setup();
    symlink("nowhere", dangling.folder.path().join("link.toml")).unwrap();
    let refused = refused(dangling, "link.toml");
    assert_eq!(refused, "tms: DIR/link.toml: it is a link to what is not there");
}

/// Whatever a model's author wrote into model.toml, the others are served and the log stays short.
#[tokio::test]
async fn no_model_toml_stops_the_others() {
    let keys = format!("{}a", "a.".repeat(78));
    let tables = format!("{{ {keys} = ").repeat(78);
    let setup = Setup::new()
        .guest("echo")
        .guest_as("echo", "sparse")
        .guest_as("echo", "lists")
        .file("lists/model.toml", format!("a = {}", "[".repeat(100_000)))
        .guest_as("echo", "keys")
        .file("keys/model.toml", format!("{}a = 1", "a.".repeat(100_000)))
        .guest_as("echo", "tables")
        .file("tables/model.toml", format!("[{keys}]\n{keys} = {tables}1{}", "}".repeat(78)))
        .guest_as("echo", "long")
        .file("long/model.toml", format!("{} = 1", "x".repeat(200_000)))
        .guest_as("echo", "bytes")
        .file("bytes/model.toml", b"\xff\xfe");
    let sparse = fs::File::create(setup.path("sparse/model.toml")).unwrap();
    sparse.set_len(2 << 30).unwrap();
    let server = start!(setup);
    assert_eq!(server.caller().await.list_models().await, json!(["echo"]));
    let log = server.log();
    for reason in [
        "sparse/model.toml: it is larger than 1 MiB",
        "lists/model.toml: TOML parse error at line 1, column",
        "keys/model.toml: recursion limit",
        "tables/model.toml: TOML parse error at line 1, column",
        "long/model.toml: TOML parse error at line 1, column 1",
        "bytes/model.toml: line 1 is not UTF-8 text",
    ] {
        assert!(log.contains(reason), "{reason} is not in:\n{log}");
    }
    assert!(log.len() < 10_000, "{} bytes", log.len());
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
