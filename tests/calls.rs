//! The nine calls of the original's protocol: those that carry no data, and what all share.

use prost::Message;
use serde_json::json;
use tms::grpc::proto::server::{Response, StringArg, TextArgs};
use tonic::{Code, Status};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest,
};

use crate::harness::{Setup, assert_refused, raw};

/// The longest text of an error, as it travels.
const LONGEST: usize = 4 << 10;

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
        &format!("there is no model `{} … (cut)`; there are: echo", "x".repeat(90)),
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
    assert_eq!(reply.status, "3", "INVALID_ARGUMENT: {reply:?}");
    let not_text = raw::call(server.port, "/server.Server/RunText", &[], b"\x0a\x02\xff\xfe").await;
    assert_eq!(not_text.status, "3", "INVALID_ARGUMENT: {not_text:?}");
    let unknown = raw::call(server.port, "/server.Server/NoSuchCall", &[], b"").await;
    assert_eq!(unknown.status, "12", "UNIMPLEMENTED");
    assert_eq!(server.caller().await.text("echo", "still there", "").await.unwrap(), "still there");
}

/// An error's text as a caller reads it.
fn decoded(reply: &raw::Reply) -> String {
    let mut headers = http::HeaderMap::new();
    headers.insert("grpc-status", reply.status.parse().unwrap());
    headers.insert("grpc-message", reply.message.parse().unwrap());
    Status::from_header_map(&headers).unwrap().message().to_owned()
}

#[track_caller]
fn assert_cut(reply: &raw::Reply, code: Code, start: &str) {
    assert_eq!(reply.status, (code as i32).to_string(), "{reply:?}");
    let length = reply.message.len();
    assert!(length <= LONGEST && length > LONGEST - 20, "{length} bytes: {reply:?}");
    let text = decoded(reply);
    assert!(text.starts_with(start) && text.ends_with(" … (cut)"), "{text}");
}

#[tokio::test]
async fn long_texts_of_errors_arrive_cut() {
    let server = start!(Setup::new().guest("faults"));
    // What a client percent-decodes travels as three characters for each byte.
    for unit in ["\u{8a9e}", "\u{1f680}", "%%\"\u{e9}"] {
        let words = unit.repeat(1500);
        let args = json!({"do": "complain", "words": words}).to_string();
        let call =
            TextArgs { text: String::new(), model: "faults".into(), args, ..TextArgs::default() };
        let path = "/server.Server/RunText";
        let reply = raw::call(server.port, path, &[], &call.encode_to_vec()).await;
        let start: String = words.chars().take(100).collect();
        assert_cut(&reply, Code::Internal, &format!("model `faults`: {start}"));
    }
}

#[tokio::test]
async fn a_long_list_of_models_is_cut() {
    let names: Vec<_> = (10..40).map(|i| format!("{i}{}", "x".repeat(200))).collect();
    let setup = names.iter().fold(Setup::new(), |setup, name| setup.graph("scalar", name));
    let server = start!(setup);
    let call = StringArg { data: "nothing".into() }.encode_to_vec();
    let reply = raw::call(server.port, "/server.Server/GetInputShape", &[], &call).await;
    assert_cut(&reply, Code::NotFound, "there is no model `nothing`; there are: 10xxx");
}

#[tokio::test]
async fn errors_of_other_services_are_cut_too() {
    let server = start!(Setup::new().guest("echo"));
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let symbol = MessageRequest::FileContainingSymbol("\u{8a9e}".repeat(20_000));
    let ask = ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
    let reply = raw::call(server.port, path, &[], &ask.encode_to_vec()).await;
    assert_cut(&reply, Code::NotFound, "");
}

#[tokio::test]
async fn metadata_of_64_kb_is_taken() {
    let server = start!(Setup::new().guest("echo"));
    let path = "/server.Server/ListModels";
    let (large, small) = ("x".repeat(64 << 10), "y".repeat(100));
    let names: Vec<_> = (0..600).map(|i| format!("x-name-{i}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), small.as_str())).collect();
    for metadata in [vec![("x-large", large.as_str())], many] {
        let reply = raw::call(server.port, path, &metadata, b"").await;
        assert_eq!(reply.status, "0", "{}", reply.message);
    }
    // HTTP's own answer to more than the server takes is 431, without a status. HTTP/2 counts 32 bytes more
    // for each header; on the wire these fit into few frames, which have a bound of their own.
    let names: Vec<_> = (0..6000).map(|i| format!("x-{i}")).collect();
    let too_many: Vec<_> = names.iter().map(|name| (name.as_str(), "y")).collect();
    let reply = raw::call(server.port, path, &too_many, b"").await;
    assert_eq!(reply.status, "");
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_message_arrives() {
    let server = start!(Setup::new().guest("echo"));
    for path in [
        "/server.Server/RunText",
        "/server.Server/RunImage",
        "/server.Server/RunBatchText",
        "/server.Server/RunBatchImage",
        "/server.Server/ListModels",
        "/server.Server/GetInputShape",
        "/inference.GRPCInferenceService/ModelInfer",
        "/inference.GRPCInferenceService/ModelMetadata",
        "/inference.GRPCInferenceService/ModelReady",
        "/inference.GRPCInferenceService/ServerLive",
        "/grpc.health.v1.Health/Check",
    ] {
        for (timeout, shown) in [("200m", "200ms"), ("1m", "1ms"), ("50u", "50µs")] {
            let headers = [("grpc-timeout", timeout)];
            let reply = raw::stuck(server.port, path, &headers, b"the beginning").await;
            assert_eq!(reply.status, "4", "DEADLINE_EXCEEDED of {path}: {reply:?}");
            let message = format!(
                "the deadline of {shown} passed before the request had arrived and was answered"
            );
            assert_eq!(decoded(&reply), message);
        }
    }
    assert_eq!(server.caller().await.text("echo", "still there", "").await.unwrap(), "still there");
}
