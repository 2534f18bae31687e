//! The nine calls of the original's protocol: those that carry no data, and what all share.

use prost::Message;
use serde_json::json;
use tms::grpc::proto::server::{Response, StringArg};
use tonic::Code;

use crate::harness::{Setup, assert_refused, raw};

#[tokio::test]
async fn models_are_listed_by_name() {
    let setup =
        Setup::new().guest("echo").guest("counter").guest("broken_init").graph("scalar", "a-graph");
    let server = start!(setup);
    let caller = server.caller().await;
    // Not those that failed.
    assert_eq!(caller.list_models().await, json!(["a-graph", "counter", "echo"]));
    assert!(server.ready.contains(", 3 models (1 failed, see the log), "), "{}", server.ready);
}

#[tokio::test]
async fn input_shapes() {
    let setup =
        Setup::new().example("example_image").example("example_text").graph("scalar", "graph");
    let server = start!(setup);
    let caller = server.caller().await;
    assert_eq!(caller.input_shape("example_image").await.unwrap(), json!([1080, 1920, 3]));
    assert_eq!(caller.input_shape("example_text").await.unwrap(), json!(null));
    assert_eq!(caller.input_shape("graph").await.unwrap(), json!(null));
    let unknown = caller.input_shape("nothing").await;
    assert_refused(
        unknown,
        Code::NotFound,
        "there is no model `nothing`; there are: example_image, example_text, graph",
    );
}

#[tokio::test]
async fn empty_args_may_be_a_string() {
    let server = start!(Setup::new().guest("echo").workers(2));
    // The original's client sends a StringArg to calls that take nothing.
    let message = StringArg { data: "anything".into() }.encode_to_vec();
    let mut answers = Vec::new();
    for call in ["ListModels", "GetPID", "GetNumParallelWorkers", "StopServer"] {
        let path = format!("/server.Server/{call}");
        let reply = raw::call(server.port, &path, &[], &message).await;
        assert_eq!(reply.status, "0", "{call}: {}", reply.message);
        answers.push(Response::decode(reply.body).unwrap().data);
    }
    let pid: serde_json::Value = serde_json::from_str(&answers[1]).unwrap();
    assert!(pid["pid"].is_u64(), "{pid}");
    assert_eq!(answers[0], r#"["echo"]"#);
    assert_eq!(answers[2..], [r#"{"num_workers":2}"#, r#"{"stopping":true}"#]);
}

#[tokio::test]
async fn a_wrong_model_is_not_found() {
    let server = start!(Setup::new().guest("echo").guest("broken_init"));
    let caller = server.caller().await;
    for (name, shown) in [
        ("Echo", "Echo"),
        ("", ""),
        ("../models/echo", "../models/echo"),
        ("é\u{0}\u{202e}", "é\\0\\u{202e}"),
    ] {
        let message = format!("there is no model `{shown}`; there are: echo");
        let text = caller.text(name, "hi", "").await;
        assert_refused(text, Code::NotFound, &message);
        let texts = caller.texts(name, &[], "").await;
        assert_refused(texts, Code::NotFound, &message);
    }
    let long = caller.text(&"x".repeat(5000), "hi", "").await;
    assert_refused(
        long,
        Code::NotFound,
        &format!("there is no model `{}`; there are: echo", "x".repeat(100)),
    );
    let failed = caller.text("broken_init", "hi", "").await;
    let message = "the model `broken_init` did not load: the server's log says why";
    assert_refused(failed, Code::Unavailable, message);
}

#[tokio::test]
async fn bytes_that_are_no_message() {
    let server = start!(Setup::new().guest("echo"));
    // A string field that is cut off.
    let reply = raw::call(server.port, "/server.Server/RunText", &[], b"\x0a\x7fab").await;
    assert_ne!(reply.status, "0");
    let unknown = raw::call(server.port, "/server.Server/NoSuchCall", &[], b"").await;
    assert_eq!(unknown.status, "12", "UNIMPLEMENTED");
    assert_eq!(server.caller().await.text("echo", "still there", "").await.unwrap(), "still there");
}
