//! First mistakes: each with the exact words that it earns.

use std::{fs, net::TcpListener};

use serde_json::Value;
use tonic::Code;

use crate::harness::{
    Setup, assert_refused, image,
    oip::{floats, infer, raw},
    repository, without,
};

/// Why a model was not served, from the log.
async fn not_served(setup: Setup, model: &str) -> Option<String> {
    let server = setup.start().await?;
    let log = server.log();
    // A reason may have several lines, indented; the model's name ends it.
    let log = log.replace("\n    ", "\n");
    let reason = log
        .split_once("ERROR not served: ")
        .and_then(|(_, rest)| rest.split_once(&format!(" model={model}\n")))
        .unwrap_or_else(|| panic!("{model} was served:\n{log}"));
    Some(without(reason.0, server.folder(), "DIR"))
}

#[tokio::test]
async fn port_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let setup = Setup::new().file("any/model.wasm", "").arg("--port").arg(&port);
    assert_eq!(
        setup.refused().unwrap(),
        format!(
            "tms: port {port} of 127.0.0.1 is taken: stop the program that has it, or choose \
             another port with --port"
        )
    );
}

#[test]
fn models_folder_missing() {
    let setup = Setup::new().arg("--models").arg("nowhere");
    assert_eq!(
        setup.refused().unwrap(),
        "tms: the folder of models `nowhere` cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn models_folder_empty() {
    assert_eq!(
        Setup::new().refused().unwrap(),
        "tms: there are no models in `models`: a model is a folder in it, with model.wasm (a \
         component), a graph (*.onnx), or both"
    );
}

#[tokio::test]
async fn source_but_no_component() {
    let setup = Setup::new()
        .file("mine/Cargo.toml", "[package]\nname = 'mine'")
        .file("mine/src/lib.rs", "");
    let Some(reason) = not_served(setup, "mine").await else {
        return;
    };
    assert_eq!(reason, "it has source but no model.wasm: build it with `tms build models/mine`");
}

#[tokio::test]
async fn component_for_another_wit_version() {
    let Some(wasm) = other_version() else { return };
    let setup = Setup::new().file("old/model.wasm", wasm);
    let Some(reason) = not_served(setup, "old").await else {
        return;
    };
    assert_eq!(
        reason,
        "model.wasm was built for tms:model@9.9.9, this server speaks tms:model@0.2.0 and 0.1.0: \
         rebuild it against this version's wit/"
    );
}

/// A guest whose imports claim another version of the same length.
fn other_version() -> Option<Vec<u8>> {
    let setup = Setup::new().guest("echo");
    let mut wasm = fs::read(setup.path("echo/model.wasm")).ok()?;
    for i in 0..wasm.len() {
        if wasm[i..].starts_with(b"tms:model/") {
            let end = (i + 60).min(wasm.len());
            if let Some(at) = wasm[i..end].windows(6).position(|w| w == b"@0.2.0") {
                wasm[i + at..i + at + 6].copy_from_slice(b"@9.9.9");
            }
        }
    }
    Some(wasm)
}

#[tokio::test]
async fn component_of_another_world() {
    // An empty component: the header and nothing else.
    let setup = Setup::new().file("other/model.wasm", b"\0asm\x0d\0\x01\0");
    let Some(reason) = not_served(setup, "other").await else {
        return;
    };
    assert_eq!(
        reason,
        "model.wasm is a component, but not for the world tms:model/model@0.2.0: it does not \
         export tms:model/guest@0.2.0"
    );
}

#[tokio::test]
async fn core_module() {
    let setup = Setup::new().file("core/model.wasm", b"\0asm\x01\0\0\0");
    let Some(reason) = not_served(setup, "core").await else {
        return;
    };
    assert_eq!(
        reason,
        "model.wasm is a core module, not a component: build it with `cargo build --target \
         wasm32-wasip2` or `cargo component build`"
    );
}

#[tokio::test]
async fn not_webassembly() {
    for contents in ["", "\x7fELF", "(module)"] {
        let setup = Setup::new().file("text/model.wasm", contents);
        let Some(reason) = not_served(setup, "text").await else {
            return;
        };
        assert_eq!(reason, "model.wasm is not WebAssembly");
    }
}

#[tokio::test]
async fn component_cut_off() {
    let setup = Setup::new().guest("echo");
    let Ok(wasm) = fs::read(setup.path("echo/model.wasm")) else {
        return;
    };
    let setup = Setup::new().file("half/model.wasm", &wasm[..wasm.len() / 2]);
    let Some(reason) = not_served(setup, "half").await else {
        return;
    };
    assert!(reason.starts_with("model.wasm is damaged: unexpected end-of-file"), "{reason}");
}

#[test]
fn bad_onnx_runtime() {
    let refused = |file: &str, contents: Option<&str>| {
        let setup = Setup::new().file("any/model.onnx", "");
        let library = setup.folder.path().join(file);
        if let Some(contents) = contents {
            fs::write(&library, contents).unwrap();
        }
        let setup = setup.env("TMS_ONNXRUNTIME", library.to_str().unwrap());
        setup.refused().unwrap()
    };
    assert_eq!(
        refused("lib.so", None),
        "tms: ONNX Runtime cannot be used: `DIR/lib.so` (from TMS_ONNXRUNTIME) does not exist"
    );
    assert_eq!(
        refused("lib.so", Some("some text")),
        "tms: ONNX Runtime cannot be used: `DIR/lib.so` (from TMS_ONNXRUNTIME) is not a shared \
         library"
    );
    assert_eq!(
        refused("", None),
        "tms: ONNX Runtime cannot be used: `DIR/` (from TMS_ONNXRUNTIME) holds no \
         libonnxruntime.so"
    );
    // What only a process finds out that loads it, in the loader's words.
    assert_eq!(
        refused("lib.so", Some("\x7fELF and no more")),
        "tms: ONNX Runtime cannot be used: `DIR/lib.so` (from TMS_ONNXRUNTIME) cannot be loaded: \
         DIR/lib.so: file too short"
    );
}

#[tokio::test]
async fn bad_graph_file() {
    let setup = Setup::new().onnxruntime().file("bad/net.onnx", "not a graph");
    let Some(reason) = not_served(setup, "bad").await else {
        return;
    };
    // What follows are ONNX Runtime's own words.
    let start = "graph net: `models/bad/net.onnx` is not a graph that ONNX Runtime can read: ";
    assert!(reason.starts_with(start) && reason.len() > start.len(), "{reason}");
}

#[tokio::test]
async fn graph_name_misspelt() {
    let setup = Setup::new().guest("nn_probe").graph("scalar", "nn_probe");
    let server = start!(setup);
    let caller = server.caller().await;
    let mut request = raw("nn_probe", vec![floats("x", &[], &[1.0])]);
    let parameter = tms::grpc::proto::inference::infer_parameter::ParameterChoice::StringParam;
    request.parameters.insert(
        "graph".into(),
        tms::grpc::proto::inference::InferParameter {
            parameter_choice: Some(parameter("modle".into())),
        },
    );
    let message = "model `nn_probe`: no graph named `modle`: this model has `model`";
    assert_refused(infer(&caller, request).await, Code::Internal, message);
}

#[tokio::test]
async fn graph_name_misspelt_in_model_toml() {
    let setup = Setup::new()
        .graph("scalar", "mine")
        .file("mine/model.toml", "[graphs.modle]\nsessions = 2");
    let Some(reason) = not_served(setup, "mine").await else {
        return;
    };
    assert_eq!(reason, "model.toml speaks of a graph `modle`, the folder has: model");
}

#[tokio::test]
async fn message_too_large() {
    let setup = Setup::new().guest("echo").arg("--max-message").arg("1MB");
    let server = start!(setup);
    let caller = server.caller().await;
    let message = |what| {
        format!(
            "the {what} is larger than the limit of 1000000 bytes: raise it with --max-message, \
             TMS_MAX_MESSAGE or max_message in tms.toml"
        )
    };
    let large = caller.text("echo", &"x".repeat(1_000_000), "").await;
    assert_refused(large, Code::ResourceExhausted, &message("request"));
    // Quotes are escaped in the reply, which makes it twice as long.
    let longer = caller.text("echo", &"\"".repeat(600_000), "").await;
    assert_refused(longer, Code::ResourceExhausted, &message("reply"));
    let tensor = floats("x", &[300_000], &vec![0.0; 300_000]);
    let infer = infer(&caller, raw("echo", vec![tensor])).await;
    assert_refused(infer, Code::ResourceExhausted, &message("request"));
    let fits = "x".repeat(900_000);
    assert_eq!(caller.text("echo", &fits, "").await.unwrap(), Value::from(fits));
}

#[tokio::test]
async fn jpeg_bytes_sent_as_pixels() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    let chelsea = repository().join("models/efficientnet_lite0/tests/chelsea.png");
    let picture = image::open(&chelsea).unwrap().into_rgb8();
    let (width, height) = (picture.width() as i32, picture.height() as i32);
    let mut jpeg = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    for (format, file) in [("JPEG", jpeg.into_inner()), ("PNG", fs::read(&chelsea).unwrap())] {
        let message = format!(
            "the image's data is a {format} file of {} bytes: decode it and send its pixels, here \
             300 x 451 x 3 of uint8, 405900 bytes",
            file.len()
        );
        let refused = caller.image("echo", image(height, width, 3, "uint8", file)).await;
        assert_refused(refused, Code::InvalidArgument, &message);
    }
}

#[tokio::test]
async fn unknown_key_in_model_toml() {
    let setup = Setup::new().guest("echo").file("echo/model.toml", "[limits]\nmemroy = '1 GiB'");
    let Some(reason) = not_served(setup, "echo").await else {
        return;
    };
    assert_eq!(
        reason,
        "models/echo/model.toml: TOML parse error at line 2, column 1\n  \
         |\n\
         2 | memroy = '1 GiB'\n  \
         | ^^^^^^\n\
         unknown field `memroy`, expected one of `memory`, `timeout`, `max_stream`, `cpu`, `init`, \
         `handles`, `max_reply`, `log_lines`, `log_bytes`, `max_component`, \
         `compile_memory`, `compile_time`, `max_elements`, `max_random`, \
         `max_instances`, `max_queue`, `max_sequences`, `sequence_idle`, `max_uses`, `max_retained`, `max_failures`"
    );
}

#[test]
fn unknown_key_in_tms_toml() {
    let setup = Setup::new().config("wrokers = 2");
    assert_eq!(
        setup.refused().unwrap(),
        "tms: tms.toml: TOML parse error at line 1, column 1\n  \
         |\n\
         1 | wrokers = 2\n  \
         | ^^^^^^^\n\
         unknown field `wrokers`, expected one of `models`, `port`, `host`, `listen`, \
         `socket_mode`, `tls_cert`, `tls_key`, `tls_client_ca`, `workers`, `max_message`, `window`, `message_timeout`, `reply_timeout`, \
         `handshake_timeout`, `frame_timeout`, `idle_timeout`, `keepalive`, `keepalive_timeout`, `max_connections`, \
         `max_address_connections`, `max_streams`, `max_control_frames`, `max_resets`, \
         `drain_timeout`, `stop_server`, `cache`, `onnxruntime`, `threads`, `process`, `memory`, \
         `native_memory`, `stack`, `http`, `cors`, `load_reports`, `metrics`, `allow_remote_stop`, `limits`, `model`"
    );
}

#[test]
fn unknown_model_in_tms_toml() {
    let setup =
        Setup::new().file("mine/model.wasm", "").config("[model.mien.limits]\ntimeout = '1s'");
    assert_eq!(
        setup.refused().unwrap(),
        "tms: tms.toml speaks of a model `mien`, but `models` has no folder of that name"
    );
}

#[tokio::test]
async fn a_device_that_the_operator_wants_is_not_there() {
    let setup = Setup::new()
        .onnxruntime()
        .graph("scalar", "mine")
        .config("[model.mine.graph]\ndevice = 'cuda:7'");
    let Some(refused) = setup.refused() else {
        return;
    };
    // Which library, and in its own words why not.
    let start = "tms: graph mine/model: device cuda:7 cannot be used with `";
    assert!(refused.starts_with(start) && refused.contains("libonnxruntime"), "{refused}");
    assert!(refused.contains("CUDA"), "{refused}");
}

#[tokio::test]
async fn a_graph_that_is_broken_on_every_device_stops_nobody() {
    let setup = Setup::new()
        .onnxruntime()
        .file("mine/model.onnx", "not a graph")
        .config("[model.mine.graph]\ndevice = 'cuda:7'")
        .graph("scalar", "good");
    let Some(reason) = not_served(setup, "mine").await else { return };
    assert!(reason.contains("is not a graph that ONNX Runtime can read"), "{reason}");
}

#[tokio::test]
async fn a_device_that_a_model_wants_is_not_there() {
    let setup = Setup::new()
        .onnxruntime()
        .graph("scalar", "mine")
        .file("mine/model.toml", "device = 'cuda:7'")
        .graph("scalar", "one_graph")
        .file("one_graph/model.toml", "[graphs.model]\ndevice = 'tensorrt:0'")
        .graph("scalar", "good");
    let server = start!(setup);
    assert_eq!(server.caller().await.list_models().await, serde_json::json!(["good"]));
    let log = server.log();
    for device in ["cuda:7", "tensorrt:0"] {
        let reason = format!("not served: graph model: device {device} cannot be used with `");
        assert!(log.contains(&reason), "{log}");
    }
}

#[tokio::test]
async fn a_device_with_a_fallback() {
    let setup = Setup::new()
        .onnxruntime()
        .graph("scalar", "mine")
        .file("mine/model.toml", "device = 'cuda:7'\nfallback = 'cpu'");
    let server = start!(setup);
    let log = server.log();
    let warning = "`models/mine/model.onnx` runs on the CPU, NOT on cuda:7, which cannot be used: ";
    assert!(log.contains(warning), "{log}");
    assert!(log.contains("ONNX Runtime serves it on cpu"), "{log}");
}
