//! What may lie in the folder of models: no folder, file or link in it stops another model. It fails its
//! own model with a reason, or is passed over.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use serde_json::json;
use tonic::Code;

use crate::{
    command::said,
    harness::{
        Server, Setup, assert_refused,
        oip::{floats, infer, raw},
        setup::{onnxruntime, tms},
    },
};

/// The reason that the log gives for a model that is not served.
fn reason(server: &Server, model: &str) -> String {
    let log = server.log();
    log.lines()
        .find_map(|line| {
            let (_, rest) = line.split_once("not served: ")?;
            rest.strip_suffix(&format!(" model={model}")).map(str::to_owned)
        })
        .unwrap_or_else(|| panic!("no reason for {model} in:\n{log}"))
}

/// Expects exactly one model to be served, which is `echo`.
async fn only_echo(server: &Server) {
    let caller = server.caller().await;
    assert_eq!(caller.list_models().await, json!(["echo"]));
    assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
}

/// Takes from the server what lets root read everything.
fn as_ordinary_reader(command: Command) -> Command {
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    let mut reader = Command::new("setpriv");
    reader.arg("--bounding-set=-dac_override,-dac_read_search").arg(command.get_program());
    reader.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        reader.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => reader.env(name, value),
            None => reader.env_remove(name),
        };
    }
    reader
}

fn close(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
}

#[tokio::test]
async fn what_may_not_be_read_fails_alone() {
    let setup = Setup::new()
        .guest("echo")
        .file("closed/model.onnx", "")
        .file("lost+found/x", "")
        .file("toml/model.toml", "")
        .graph("scalar", "toml")
        .file("wasm/model.wasm", "")
        .file("graph/model.onnx", "");
    for path in ["closed", "lost+found", "toml/model.toml", "wasm/model.wasm", "graph/model.onnx"] {
        close(&setup.path(path));
    }
    let Some(server) = setup.start_by(as_ordinary_reader).await else {
        return;
    };
    only_echo(&server).await;
    for (model, why) in [
        ("closed", "its folder cannot be read: Permission denied"),
        ("toml", "Permission denied"),
        ("wasm", "model.wasm cannot be read: Permission denied"),
        ("graph", ""),
    ] {
        let reason = reason(&server, model);
        assert!(reason.contains(why), "{model}: {reason}");
    }
    assert!(!server.log().contains("lost+found"), "{}", server.log());
    for path in ["closed", "lost+found"] {
        fs::set_permissions(
            server.folder().join("models").join(path),
            fs::Permissions::from_mode(0o700),
        )
        .unwrap();
    }
}

#[tokio::test]
async fn what_tools_leave_behind_is_passed_over() {
    let setup = Setup::new()
        .graph("scalar", "graph")
        .file("graph/._model.onnx", "left by an archive")
        .file("graph/.model.onnx.swp", "left by an editor")
        .file("graph/#model.onnx#", "left by another")
        .file("graph/~$model.onnx", "left by a third")
        .file("graph/model.onnx~", "and its copy")
        .file("graph/labels.csv", "cat,dog")
        .file("__MACOSX/graph/._model.onnx", "left by an archive")
        .file("._graph", "left by an archive")
        .file(".snapshot/model.onnx", "left by a file system");
    symlink("nowhere", setup.path("graph/old.onnx")).unwrap();
    symlink("nobody@host.1234", setup.path("graph/.#model.onnx")).unwrap();
    symlink("nowhere", setup.path("old.onnx")).unwrap();
    let server = start!(setup);
    assert_eq!(server.caller().await.list_models().await, json!(["graph"]));
    assert!(server.ready.contains(", 1 models, "), "{}", server.ready);
    let log = server.log();
    assert!(log.contains("a file is passed over: old.onnx is a link to nothing"), "{log}");
}

#[tokio::test]
async fn what_is_not_a_regular_file_fails_alone() {
    let setup = Setup::new()
        .guest("echo")
        .file("folder/model.onnx/x", "")
        .file("wasm/model.wasm/x", "")
        .file("toml/model.toml/x", "")
        .graph("scalar", "toml")
        .graph("scalar", "link")
        .graph("scalar", "good");
    symlink("nowhere", setup.path("link/model.toml")).unwrap();
    symlink("nowhere", setup.path("gone")).unwrap();
    for name in ["pipe_graph/model.onnx", "pipe_wasm/model.wasm", "pipe_toml/model.toml"] {
        let pipe = setup.path(name);
        fs::create_dir_all(pipe.parent().unwrap()).unwrap();
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
    }
    let setup = setup.graph("scalar", "pipe_toml");
    let server = start!(setup);
    assert_eq!(server.caller().await.list_models().await, json!(["echo", "good"]));
    for (model, why) in [
        ("folder", "model.onnx is a folder, not a file"),
        ("wasm", "model.wasm is a folder, not a file"),
        ("gone", "its folder cannot be read: No such file or directory"),
        ("pipe_graph", "model.onnx is not a regular file"),
        ("pipe_wasm", "model.wasm is not a regular file"),
        ("pipe_toml", "model.toml"),
        ("toml", "model.toml"),
        ("link", "model.toml"),
    ] {
        let reason = reason(&server, model);
        assert!(reason.contains(why), "{model}: {reason}");
    }
}

#[tokio::test]
async fn formats_that_nobody_serves_are_named() {
    let mut setup = Setup::new().guest("echo");
    let files = ["model.pt", "net.tflite", "saved_model.pb", "trees.ubj", "w.safetensors"];
    for (i, file) in files.iter().enumerate() {
        setup = setup.file(&format!("other{i}/{file}"), "weights");
    }
    let server = start!(setup);
    only_echo(&server).await;
    for (i, file) in files.iter().enumerate() {
        let reason = reason(&server, &format!("other{i}"));
        let start = format!("it holds {file}, a format that is not served: export it as ONNX");
        assert!(reason.starts_with(&start), "{reason}");
    }
}

#[tokio::test]
async fn an_empty_folder_is_passed_over_aloud() {
    let setup = Setup::new().guest("echo");
    fs::create_dir(setup.path("empty")).unwrap();
    let server = start!(setup);
    only_echo(&server).await;
    let log = server.log();
    assert!(log.contains("models/empty is passed over: it is empty: a model has"), "{log}");
}

#[tokio::test]
async fn an_empty_folder_that_the_operator_speaks_of_fails_alone() {
    let setup = Setup::new().guest("echo").config("[model.empty.limits]\ntimeout = '1s'");
    fs::create_dir(setup.path("empty")).unwrap();
    let server = start!(setup);
    only_echo(&server).await;
    assert!(reason(&server, "empty").starts_with("it is empty"));
    let refused = server.caller().await.text("empty", "hi", "").await;
    let message = "the model `empty` did not load: the server's log says why";
    assert_refused(refused, Code::Unavailable, message);
}

#[tokio::test]
async fn the_servers_own_name_is_no_models() {
    let server = start!(Setup::new().guest("echo").guest_as("echo", "TinyModelServer"));
    only_echo(&server).await;
    assert_eq!(reason(&server, "TinyModelServer"), "the name TinyModelServer is the server's own");
}

#[tokio::test]
async fn a_sparse_component_is_not_read() {
    let setup = Setup::new().guest("echo").file("sparse/model.wasm", "");
    fs::File::create(setup.path("sparse/model.wasm")).unwrap().set_len(64 << 30).unwrap();
    let server = start!(setup);
    only_echo(&server).await;
    let why = "model.wasm has 68719476736 bytes, the limit is 67108864 (max_component)";
    assert_eq!(reason(&server, "sparse"), why);
}

#[tokio::test]
async fn a_graph_that_no_protobuf_can_be_is_not_read() {
    let setup = Setup::new().guest("echo").file("sparse/model.onnx", "");
    fs::File::create(setup.path("sparse/model.onnx")).unwrap().set_len(3 << 40).unwrap();
    let server = start!(setup);
    only_echo(&server).await;
    let reason = reason(&server, "sparse");
    assert!(reason.starts_with("model.onnx has 3298534883328 bytes: an ONNX file has"), "{reason}");
}

#[tokio::test]
async fn what_a_folder_says_passes_for_no_line_of_the_log() {
    let forged = "2026-01-01T00:00:00Z ERROR forged";
    let setup = Setup::new()
        .guest("echo")
        .guest_as("echo", "device")
        .file("device/model.toml", format!("device = \"a\\n{forged}\"\nbatch = 1"))
        .guest_as("echo", "key")
        .file("key/model.toml", format!("\"a\\n{forged}\" = 1"));
    let server = start!(setup);
    only_echo(&server).await;
    let log = server.log();
    assert!(!log.lines().any(|line| line.starts_with(forged)), "{log}");
}

#[tokio::test]
async fn limits_of_zero_that_answer_nobody_are_refused() {
    let setup = Setup::new()
        .guest("echo")
        .guest_as("echo", "late")
        .file("late/model.toml", "[limits]\ntimeout = '0s'")
        .guest_as("echo", "silent")
        .file("silent/model.toml", "[limits]\nmax_reply = 0");
    let server = start!(setup);
    only_echo(&server).await;
    assert_eq!(reason(&server, "late"), "timeout = 0 in [limits]: no call could be answered");
    assert_eq!(reason(&server, "silent"), "max_reply = 0 in [limits]: no call could be answered");
}

#[test]
fn a_word_that_is_no_level_is_refused() {
    let setup = Setup::new().graph("scalar", "mine").env("TMS_LOG", "info,bananas");
    let refused = setup.refused().unwrap();
    assert!(
        refused.starts_with("tms: TMS_LOG=info,bananas: `bananas` is not a level: "),
        "{refused}"
    );
}

#[test]
fn a_models_own_folder_is_not_a_folder_of_models() {
    let setup = Setup::new().graph("scalar", "mine").arg("--models").arg("models/mine");
    assert_eq!(
        setup.refused().unwrap(),
        "tms: `models/mine` is a model's own folder: serve the folder that it lies in"
    );
}

#[tokio::test]
async fn a_model_is_shown_with_its_description() {
    let setup =
        Setup::new().guest("echo").file("echo/model.toml", "description = 'Says what it hears.'");
    let folder = setup.path("");
    let server = start!(setup);
    assert!(server.log().contains(": Says what it hears. model=echo"), "{}", server.log());
    let (code, report, _) = said(tms().arg("check").arg(folder));
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("Says what it hears.") && report.contains("takes a text"), "{report}");
}

#[tokio::test]
async fn check_finds_what_serve_refuses() {
    let setup = Setup::new()
        .guest("echo")
        .guest("broken_init")
        .file("bad_graph/model.onnx", "not a graph")
        .guest_as("echo", "bad_toml")
        .file("bad_toml/model.toml", "nonsense = 1")
        .file("only_toml/model.toml", "")
        .graph("identity_fp8", "fp8")
        .file("half/model.wasm", EMPTY);
    let models = setup.path("");
    let Some(server) = setup.onnxruntime().start().await else { return };
    let library = onnxruntime().expect("the server has it, too");
    let mut check = tms();
    let (code, report, error) =
        said(check.arg("check").arg(&models).env("TMS_ONNXRUNTIME", library));
    assert_eq!(code, Some(1), "{report}");
    for (model, why) in [
        ("bad_graph", "is not a graph that ONNX Runtime can read"),
        ("bad_toml", "unknown field `nonsense`"),
        ("broken_init", "its first instance failed: no weights today"),
        ("fp8", "graph model: "),
        ("only_toml", "it has model.toml, but neither model.wasm (a component) nor a graph"),
        ("half", "model.wasm is a component, but not for the world"),
    ] {
        let of_model = report.split_once(&format!("{model}\n    not served: "));
        let (_, checked) = of_model.unwrap_or_else(|| panic!("{model} passed:\n{report}"));
        // Up to the next model's name.
        let checked = checked.split("\n    ").next().unwrap();
        assert!(checked.contains(why), "{model}: {checked}");
        let served = server.log();
        assert!(served.contains(&format!("model={model}\n")), "{model} is served:\n{served}");
    }
    assert!(error.contains("6 of the models cannot be served as they are"), "{error}");
    assert!(report.contains("echo\n    takes "), "{report}");
}

/// An empty component.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

#[tokio::test]
async fn tensors_that_do_not_fit_the_description_are_the_callers_fault() {
    let setup = Setup::new()
        .guest("mlp_row")
        .graph("rows", "mlp_row")
        .config("[model.mlp_row.limits]\nmax_failures = 1");
    let server = start!(setup);
    let caller = server.caller().await;
    let refused = async |inputs, message: &str| {
        let answer = infer(&caller, raw("mlp_row", inputs)).await;
        assert_refused(answer, Code::InvalidArgument, &format!("model `mlp_row`: {message}"));
    };
    let unknown = vec![floats("y", &[1, 1], &[1.0])];
    refused(unknown, "the model has no input `y`; it takes `x`, `word`").await;
    let twice = vec![floats("x", &[1, 1], &[1.0]), floats("x", &[1, 1], &[1.0])];
    refused(twice, "input `x` is given twice").await;
    let wide = vec![floats("x", &[1, 2], &[1.0; 2])];
    refused(wide, "input `x` is fp32 [1, 2], but the model takes fp32 [-1, 1]").await;
    let typed = vec![floats("word", &[1, 1], &[1.0])];
    refused(typed, "input `word` is fp32 [1, 1], but the model takes i64 [-1, 1]").await;
    let deep = vec![floats("x", &[1; 1000], &[1.0])];
    let answer = infer(&caller, raw("mlp_row", deep)).await.unwrap_err();
    assert_eq!(answer.code(), Code::InvalidArgument);
    assert!(answer.message().len() < 500, "{}", answer.message());
    let long = "x".repeat(1_000_000);
    let answer = infer(&caller, raw("mlp_row", vec![floats(&long, &[1], &[1.0])])).await;
    let answer = answer.unwrap_err();
    assert_eq!(answer.code(), Code::InvalidArgument);
    assert!(answer.message().len() < 500, "{}", answer.message());
}
