//! Calls by HTTP/1.1: JSON as curl sends it, gRPC-Web as browsers do, and pages that may call.

use std::{io::Write, time::Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};
use tms::grpc::proto::{
    self,
    server::{Response, RunArgs, TextArgs, run_args::Input},
};

use crate::harness::{
    Server, Setup,
    http::{Answer, Http},
    metrics::metric,
    until,
};

const RUN_TEXT: &str = "/server.Server/RunText";
const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const JSON: &str = "content-type: application/json";

fn setup() -> Setup {
    Setup::new().arg("--http").arg("127.0.0.1:0").metrics()
}

async fn call(server: &Server, path: &str, body: Value) -> Answer {
    Http::connect(server).await.call(path, &body.to_string()).await
}

/// What the guest `faults` is told to do.
fn fault(args: Value) -> Value {
    json!({ "model": "faults", "args": args.to_string() })
}

#[tokio::test]
async fn a_text_as_json() {
    let server = start!(setup().example("example_text"));
    let mut http = Http::connect(&server).await;
    // One connection, several calls; a form that other libraries give the type.
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        let body = json!({ "model": "example_text", "text": "é" }).to_string();
        let kind = format!("content-type: {kind}");
        http.post(RUN_TEXT, &[&kind], body.as_bytes()).await;
        let answer = http.answer().await;
        assert_eq!(answer.code, 200, "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.json(), json!({ "data": "\"é_processed\"" }));
        assert!(answer.headers.contains_key("trailer-endpoint-load-metrics-bin"), "{answer:?}");
    }
    let request =
        TextArgs { text: "é".into(), model: "example_text".into(), ..TextArgs::default() };
    http.post(RUN_TEXT, &["content-type: application/proto"], &request.encode_to_vec()).await;
    let answer = http.answer().await;
    assert_eq!((answer.code, answer.headers["content-type"].as_str()), (200, "application/proto"));
    assert_eq!(Response::decode(&answer.body[..]).unwrap().data, "\"é_processed\"");
}

#[tokio::test]
async fn every_call_with_one_message_each_way_is_there() {
    let server = start!(setup().example("example_text"));
    let files = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
    let mut called = 0;
    for file in files.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let answer = call(&server, &path, json!({})).await;
                if method.client_streaming() || method.server_streaming() {
                    assert_eq!(answer.code, 415, "{path}: {answer:?}");
                    assert_eq!(answer.error().0, "unimplemented");
                    continue;
                }
                called += 1;
                let refused = [400, 403, 404].contains(&answer.code)
                    && !answer.error().1.contains("there is no call");
                assert!(answer.code == 200 || refused, "{path}: {answer:?}");
            }
        }
    }
    assert!(called > 15, "{called}");
    let health = call(&server, "/grpc.health.v1.Health/Check", json!({})).await;
    assert_eq!(health.json(), json!({ "status": "SERVING" }));
}

#[tokio::test]
async fn tensors_as_json() {
    let server = start!(setup().guest("echo"));
    let input = |datatype: &str, contents: Value, count: usize| {
        json!({ "modelName": "echo", "id": "7", "inputs": [
            { "name": "x", "datatype": datatype, "shape": [count.to_string(), 1], "contents": contents },
        ] })
    };
    for (datatype, contents) in [
        ("FP32", json!({ "fp32Contents": ["NaN", "-Infinity"] })),
        // Their shortest form would be read as one that is larger than any float.
        (
            "FP32",
            json!({ "fp32Contents": [3.402_823_466_385_288_6e38, -3.402_823_466_385_288_6e38] }),
        ),
        (
            "FP64",
            json!({ "fp64Contents": [0.1, 2.225_073_858_507_201_4e-308, 1.797_693_134_862_315_7e308] }),
        ),
        ("INT64", json!({ "int64Contents": ["9223372036854775807", "-1"] })),
        ("BYTES", json!({ "bytesContents": ["w6k=", "AA=="] })),
    ] {
        let (_, list) = contents.as_object().unwrap().iter().next().unwrap();
        let count = list.as_array().unwrap().len();
        let answer = call(&server, MODEL_INFER, input(datatype, contents.clone(), count)).await;
        assert_eq!(answer.code, 200, "{answer:?}");
        let answer = answer.json();
        assert_eq!((&answer["modelName"], &answer["id"]), (&json!("echo"), &json!("7")));
        let output = &answer["outputs"][0];
        assert_eq!(output["shape"], json!([count.to_string(), "1"]));
        assert_eq!(output["contents"], contents, "{answer}");
    }
    // Bytes as they are.
    let raw = json!({ "model_name": "echo", "inputs": [
        { "name": "x", "datatype": "UINT8", "shape": [3] },
    ], "raw_input_contents": ["AQID"] });
    let answer = call(&server, MODEL_INFER, raw).await.json();
    assert_eq!(answer["rawOutputContents"], json!(["AQID"]), "{answer}");
}

#[tokio::test]
async fn errors_say_the_same_in_http() {
    let server = start!(setup().guest("faults"));
    for (path, body, code, name, text) in [
        (RUN_TEXT, r#"{"modle": "a"}"#, 400, "invalid_argument", "modle"),
        (RUN_TEXT, r#"{"model": 1}"#, 400, "invalid_argument", "server.TextArgs"),
        (RUN_TEXT, "", 400, "invalid_argument", "EOF"),
        (RUN_TEXT, "\u{0}", 400, "invalid_argument", "expected value"),
        (RUN_TEXT, r#"{"model": "nothing"}"#, 404, "not_found", "nothing"),
        (
            RUN_TEXT,
            r#"{"model": "faults", "args": "{\"do\": \"panic\"}"}"#,
            500,
            "internal",
            "faults",
        ),
        ("/server.Server/Nothing", "{}", 404, "unimplemented", "there is no call"),
        ("/nothing", "{}", 404, "unimplemented", "there is no call"),
        // Pages on this machine could call it.
        ("/server.Server/StopServer", "{}", 403, "permission_denied", "not taken by HTTP"),
    ] {
        let answer = Http::connect(&server).await.call(path, body).await;
        let (said, message) = answer.error();
        assert_eq!((answer.code, said.as_str()), (code, name), "{path} {body}: {answer:?}");
        assert!(message.contains(text), "{path} {body}: {message}");
    }
    // A body that is not HTTP's, and no host.
    let mut http = Http::connect(&server).await;
    let head =
        format!("POST {RUN_TEXT} HTTP/1.1\r\nhost: a\r\n{JSON}\r\ntransfer-encoding: chunked\r\n");
    http.send(format!("{head}\r\n-1\r\n{{}}\r\n").as_bytes()).await;
    let answer = http.answer().await;
    assert_eq!((answer.code, answer.error().0.as_str()), (400, "invalid_argument"));
    let mut http = Http::connect(&server).await;
    http.send(
        format!("POST {RUN_TEXT} HTTP/1.1\r\n{JSON}\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes(),
    )
    .await;
    assert_eq!(http.answer().await.code, 400);

    let mut http = Http::connect(&server).await;
    http.send(b"GET /server.Server/RunText HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = http.answer().await;
    assert_eq!((answer.code, answer.headers["allow"].as_str()), (405, "POST, OPTIONS"));
    http.post(RUN_TEXT, &["content-type: text/plain"], b"{}").await;
    assert_eq!(http.answer().await.code, 415);
    http.post(RUN_TEXT, &[], b"{}").await;
    assert_eq!(http.answer().await.code, 415);
}

#[tokio::test]
async fn errors_name_fields_and_limits() {
    let server = start!(setup().guest("echo").guest("faults").config("max_message = '1 MiB'"));
    let details = |answer: &Answer| {
        let details = answer.json()["details"].as_array().cloned().unwrap_or_default();
        let named = |detail: &Value| {
            let value = detail["value"].as_str().unwrap();
            let value = base64::prelude::BASE64_STANDARD_NO_PAD.decode(value).unwrap();
            let kind = detail["type"].as_str().unwrap().to_owned();
            (kind, String::from_utf8_lossy(&value).into_owned())
        };
        details.iter().map(named).collect::<Vec<_>>()
    };
    let has = |answer: &Answer, kind: &str, text: &str| {
        let details = details(answer);
        let found = details.iter().any(|(k, value)| k == kind && value.contains(text));
        assert!(found, "{kind} {text}: {answer:?}\n{details:?}");
    };
    let image = json!({ "image": { "dtype": "int8" }, "model": "echo" });
    has(
        &call(&server, "/server.Server/RunImage", image).await,
        "google.rpc.BadRequest",
        "image.dtype",
    );
    let images = json!({ "model": "echo", "images": [
        { "height": 1, "width": 1, "channels": 1, "dtype": "uint8", "data": "AA==" },
        { "height": 1, "width": -1, "channels": 1, "dtype": "uint8", "data": "AA==" },
    ] });
    let answer = call(&server, "/server.Server/RunBatchImage", images).await;
    has(&answer, "google.rpc.BadRequest", "images[1].width");
    let args = json!({ "model": "echo", "args": "{" });
    has(&call(&server, RUN_TEXT, args).await, "google.rpc.BadRequest", "args");
    let inputs = json!({ "modelName": "echo", "inputs": [{ "name": "x", "datatype": "FP33" }] });
    has(&call(&server, MODEL_INFER, inputs).await, "google.rpc.BadRequest", "inputs[0]");
    let large = json!({ "model": "echo", "text": "x".repeat(2 << 20) });
    has(&call(&server, RUN_TEXT, large).await, "google.rpc.QuotaFailure", "max_message");
    let trap = call(&server, RUN_TEXT, fault(json!({ "do": "panic" }))).await;
    has(&trap, "google.rpc.ErrorInfo", "TRAP");
    has(&trap, "google.rpc.ErrorInfo", "faults");
}

#[tokio::test]
async fn who_has_to_wait_hears_how_long() {
    let limits = "[limits]\nmax_instances = 1\nmax_queue = 0\nmax_failures = 1\ntimeout = '10m'";
    let server = start!(setup().guest("faults").config(limits).workers(1));
    let busy = server.occupy(r#""do": "sleep", "ms": 600000"#).await;
    let full = call(&server, RUN_TEXT, fault(json!({ "do": "nothing" }))).await;
    assert_eq!((full.code, full.error().0.as_str()), (429, "resource_exhausted"));
    let kinds = |answer: &Answer| {
        let details = answer.json()["details"].as_array().unwrap().clone();
        details.iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for kind in ["google.rpc.RetryInfo", "google.rpc.QuotaFailure", "google.rpc.ErrorInfo"] {
        assert!(kinds(&full).iter().any(|said| said == kind), "{full:?}");
    }
    busy.abort();
    until("the instance is free", async || {
        call(&server, RUN_TEXT, fault(json!({ "do": "panic" }))).await.code == 500
    })
    .await;
    let refused = call(&server, RUN_TEXT, fault(json!({ "do": "nothing" }))).await;
    assert_eq!((refused.code, refused.error().0.as_str()), (503, "unavailable"));
    assert!(kinds(&refused).iter().any(|kind| kind == "google.rpc.RetryInfo"), "{refused:?}");
}

#[tokio::test]
async fn deadlines() {
    let server = start!(setup().guest("faults"));
    let mut http = Http::connect(&server).await;
    let sleep = fault(json!({ "do": "sleep", "ms": 600000 })).to_string();
    http.post(RUN_TEXT, &[JSON, "connect-timeout-ms: 200"], sleep.as_bytes()).await;
    let answer = http.answer().await;
    assert_eq!((answer.code, answer.error().0.as_str()), (504, "deadline_exceeded"));
    for wrong in ["-1", "1s", "", "12345678901"] {
        let timeout = format!("connect-timeout-ms: {wrong}");
        http.post(RUN_TEXT, &[JSON, &timeout], b"{}").await;
        let answer = http.answer().await;
        assert_eq!(answer.code, 400, "{wrong}: {answer:?}");
    }
    // A body that does not come in time.
    let mut slow = Http::connect(&server).await;
    let head =
        format!("POST {RUN_TEXT} HTTP/1.1\r\nhost: a\r\n{JSON}\r\nconnect-timeout-ms: 200\r\n");
    slow.send(format!("{head}content-length: 100\r\n\r\n{{").as_bytes()).await;
    let answer = slow.answer().await;
    assert_eq!((answer.code, answer.error().0.as_str()), (504, "deadline_exceeded"));
    // More than gRPC's digits hold.
    let nothing = fault(json!({ "do": "nothing" })).to_string();
    http.post(RUN_TEXT, &[JSON, "connect-timeout-ms: 9999999999"], nothing.as_bytes()).await;
    assert_eq!(http.answer().await.code, 200);
}

#[tokio::test]
async fn compressed_requests() {
    let server = start!(setup().example("example_text"));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(br#"{"model": "example_text", "text": "a"}"#).unwrap();
    let body = gzip.finish().unwrap();
    let mut http = Http::connect(&server).await;
    http.post(RUN_TEXT, &[JSON, "content-encoding: GZIP"], &body).await;
    let answer = http.answer().await;
    assert_eq!(answer.json(), json!({ "data": "\"a_processed\"" }));
    http.post(RUN_TEXT, &[JSON, "content-encoding: br"], &body).await;
    let answer = http.answer().await;
    assert_eq!((answer.code, answer.error().0.as_str()), (501, "unimplemented"));
    assert!(answer.error().1.contains("gzip"), "{answer:?}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_takes_memory() {
    let config = "max_message = '4 MiB'\nmemory = '256 MiB'";
    let server = start!(setup().guest("echo").config(config));
    // Announced, and never sent.
    let mut http = Http::connect(&server).await;
    let head =
        format!("POST {RUN_TEXT} HTTP/1.1\r\nhost: a\r\n{JSON}\r\ncontent-length: 4194305\r\n\r\n");
    http.send(head.as_bytes()).await;
    let answer = http.answer().await;
    assert_eq!((answer.code, answer.error().0.as_str()), (429, "resource_exhausted"));
    // Sent in chunks, without an end. What comes after the answer is not taken.
    let mut http = Http::connect(&server).await;
    http.send(
        format!(
            "POST {RUN_TEXT} HTTP/1.1\r\nhost: a\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        .as_bytes(),
    )
    .await;
    let chunk = [format!("{:x}\r\n", 1 << 20).as_bytes(), &[b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..5 {
        http.send(&chunk).await;
    }
    assert_eq!(http.answer().await.code, 429);

    // Each of these would be a hundred bytes and more.
    for body in [
        format!(
            r#"{{"inputs": [{{"contents": {{"intContents": [{}0]}}}}]}}"#,
            "0,".repeat(2_000_000)
        ),
        format!(r#"{{"inputs": [{}{{}}]}}"#, "{},".repeat(1_000_000)),
        format!(r#"{{"inputs": {}"#, "[".repeat(4_000_000)),
        format!(r#"{{"parameters": {{{}"a":{{}}}}}}"#, r#""a":{},"#.repeat(500_000)),
    ] {
        let before = metric(&server, "tms_memory_bytes", &[]);
        let answer = Http::connect(&server).await.call(MODEL_INFER, &body).await;
        assert!([400, 429].contains(&answer.code), "{}: {}", &body[..40], answer.code);
        assert!(metric(&server, "tms_memory_bytes", &[]) <= before + 1e6, "{}", &body[..40]);
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: usize = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        assert!(kib < 300 << 10, "{}: {kib} KiB", &body[..40]);
    }
}

#[tokio::test]
async fn slow_callers_end() {
    let config = "handshake_timeout = '1s'\nmessage_timeout = '1s'";
    let server = start!(setup().guest("echo").config(config));
    // Nothing, half of a head, and nothing more after an answer.
    let mut silent = Http::connect(&server).await;
    let mut slow = Http::connect(&server).await;
    slow.send(b"POST / HTTP/1.1\r\nhost").await;
    let mut idle = Http::connect(&server).await;
    idle.call(RUN_TEXT, r#"{"model": "echo", "text": "a"}"#).await;
    for http in [&mut silent, &mut slow, &mut idle] {
        // Some are told that it took too long.
        if let Some(answer) = http.try_answer().await {
            assert_eq!(answer.code, 408);
        }
    }
    until("all are closed", async || metric(&server, "tms_connections", &[]) == 0.0).await;
    // A body that does not come.
    let mut http = Http::connect(&server).await;
    let head =
        format!("POST {RUN_TEXT} HTTP/1.1\r\nhost: a\r\n{JSON}\r\ncontent-length: 100\r\n\r\n{{");
    http.send(head.as_bytes()).await;
    let answer = http.answer().await;
    assert_eq!((answer.code, answer.error().0.as_str()), (504, "deadline_exceeded"));
    until("it is closed", async || metric(&server, "tms_connections", &[]) == 0.0).await;
    assert_eq!(metric(&server, "tms_memory_bytes", &[r#"account="messages""#]), 0.0);
}

#[tokio::test]
async fn a_reply_that_nobody_takes_is_given_up() {
    let server = start!(setup().guest("faults").config("reply_timeout = '1s'"));
    let mut http = Http::connect(&server).await;
    let reply = fault(json!({ "do": "reply", "bytes": 32 << 20 })).to_string();
    http.post(RUN_TEXT, &[JSON], reply.as_bytes()).await;
    until("it is given up", async || metric(&server, "tms_replies_untaken_total", &[]) == 1.0)
        .await;
    until("it is closed", async || {
        metric(&server, "tms_connections_closed_total", &[r#"reason="untaken""#]) == 1.0
    })
    .await;
    assert_eq!(metric(&server, "tms_memory_bytes", &[r#"account="replies""#]), 0.0);
}

#[tokio::test]
async fn a_caller_who_leaves_takes_the_call_back() {
    let server = start!(setup().guest("faults"));
    let mut http = Http::connect(&server).await;
    let sleep = fault(json!({ "do": "sleep", "ms": 600000 })).to_string();
    http.post(RUN_TEXT, &[JSON], sleep.as_bytes()).await;
    until("it runs", async || metric(&server, "tms_calls_in_flight", &[]) == 1.0).await;
    drop(http);
    until("it is over", async || metric(&server, "tms_calls_in_flight", &[]) == 0.0).await;
    assert_eq!(metric(&server, "tms_calls_total", &[r#"outcome="cancelled""#]), 1.0);
}

#[tokio::test]
async fn a_drain_answers_what_is_under_way() {
    let mut server = start!(setup().guest("faults").config("drain_timeout = '1m'"));
    let _idle = Http::connect(&server).await;
    let mut half = Http::connect(&server).await;
    half.send(b"POST /serv").await;
    let mut http = Http::connect(&server).await;
    let sleep = fault(json!({ "do": "sleep", "ms": 1000 })).to_string();
    http.post(RUN_TEXT, &[JSON], sleep.as_bytes()).await;
    until("it runs", async || metric(&server, "tms_calls_in_flight", &[]) == 1.0).await;
    let began = Instant::now();
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(http.answer().await.code, 200);
    assert!(server.exit().await.success());
    assert!(began.elapsed().as_secs() < 30, "nobody waits for the others");
}

#[tokio::test]
async fn connections_count_with_all_others() {
    let server = start!(setup().guest("echo").config("max_address_connections = 2"));
    let _first = server.caller().await;
    let mut second = Http::connect(&server).await;
    assert_eq!(second.call(RUN_TEXT, r#"{"model": "echo"}"#).await.code, 200);
    let mut third = Http::connect(&server).await;
    assert!(third.try_answer().await.is_none());
    assert_eq!(metric(&server, "tms_connections_closed_total", &[r#"reason="address""#]), 1.0);
}

#[tokio::test]
async fn pages_call_where_their_origin_is_named() {
    let config = "cors = ['https://app.example', 'http://localhost:3000']";
    let server = start!(setup().guest("echo").config(config));
    let body = br#"{"model": "echo", "text": "a"}"#;
    let mut http = Http::connect(&server).await;
    for origin in ["https://app.example", "http://localhost:3000"] {
        let line = format!("origin: {origin}");
        http.post(RUN_TEXT, &[JSON, &line], body).await;
        let answer = http.answer().await;
        assert_eq!(answer.code, 200);
        assert_eq!(answer.headers["access-control-allow-origin"], origin);
        assert!(answer.headers["access-control-expose-headers"].contains("grpc-status"));
    }
    for origin in ["https://app.example.evil", "http://app.example", "null", ""] {
        let line = format!("origin: {origin}");
        http.post(RUN_TEXT, &[JSON, &line], body).await;
        let answer = http.answer().await;
        assert_eq!(
            (answer.code, answer.error().0.as_str()),
            (403, "permission_denied"),
            "{origin}"
        );
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    let both = ["origin: https://app.example", "origin: https://evil.example"];
    http.post(RUN_TEXT, &[JSON, both[0], both[1]], body).await;
    assert_eq!(http.answer().await.code, 403);
    http.send(
        b"OPTIONS /server.Server/RunText HTTP/1.1\r\nhost: a\r\norigin: https://app.example\r\n\
          access-control-request-method: POST\r\n\
          access-control-request-headers: content-type,x-grpc-web,authorization\r\n\r\n",
    )
    .await;
    let answer = http.answer().await;
    assert_eq!(answer.code, 200);
    assert_eq!(answer.headers["access-control-allow-origin"], "https://app.example");
    assert!(answer.headers["access-control-allow-headers"].contains("authorization"));
}

#[tokio::test]
async fn pages_do_not_call_where_nothing_is_said() {
    let server = start!(setup().guest("echo"));
    let mut http = Http::connect(&server).await;
    http.post(RUN_TEXT, &[JSON, "origin: http://127.0.0.1"], b"{}").await;
    assert_eq!(http.answer().await.code, 403);
    let server = start!(setup().guest("echo").config("cors = '*'"));
    let mut http = Http::connect(&server).await;
    http.post(RUN_TEXT, &[JSON, "origin: https://any.example"], br#"{"model": "echo"}"#).await;
    let answer = http.answer().await;
    assert_eq!((answer.code, answer.headers["access-control-allow-origin"].as_str()), (200, "*"));
}

/// A message in gRPC's frame.
fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat()
}

/// The frames of gRPC-Web: messages, and the text of the trailers.
fn frames(mut body: &[u8]) -> (Vec<Response>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while let Some(([flag, length @ ..], rest)) = body.split_first_chunk::<5>() {
        let (content, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        match flag {
            0 => messages.push(Response::decode(content).unwrap()),
            0x80 => trailers = String::from_utf8(content.to_vec()).unwrap(),
            other => panic!("a frame of kind {other}"),
        }
        body = rest;
    }
    (messages, trailers)
}

#[tokio::test]
async fn grpc_web() {
    let server = start!(setup().guest("commands").example("example_text"));
    let mut http = Http::connect(&server).await;
    let text = TextArgs { text: "a".into(), model: "example_text".into(), ..TextArgs::default() };
    http.post(RUN_TEXT, &["content-type: application/grpc-web+proto"], &frame(&text)).await;
    let answer = http.answer().await;
    assert_eq!(
        (answer.code, answer.headers["content-type"].as_str()),
        (200, "application/grpc-web+proto")
    );
    let (messages, trailers) = frames(&answer.body);
    assert_eq!(messages[0].data, "\"a_processed\"");
    assert!(trailers.contains("grpc-status:0"), "{trailers}");

    // In base64, for browsers that know nothing else.
    let sent = BASE64_STANDARD.encode(frame(&text));
    let kind = "application/grpc-web-text";
    let lines = [format!("content-type: {kind}"), format!("accept: {kind}")];
    http.post(RUN_TEXT, &[&lines[0], &lines[1]], sent.as_bytes()).await;
    let answer = http.answer().await;
    // Each part of the answer is encoded by itself.
    let parts = String::from_utf8(answer.body).unwrap();
    let body: Vec<u8> =
        parts.as_bytes().chunks(4).flat_map(|four| BASE64_STANDARD.decode(four).unwrap()).collect();
    assert_eq!(frames(&body).0[0].data, "\"a_processed\"");

    // Results in parts.
    let run = RunArgs {
        model: "commands".into(),
        input: Some(Input::Text("emit:3".into())),
        ..RunArgs::default()
    };
    http.post("/server.Server/RunStream", &["content-type: application/grpc-web"], &frame(&run))
        .await;
    let answer = http.answer().await;
    let (messages, trailers) = frames(&answer.body);
    assert!(messages.len() > 1, "{messages:?} {trailers}");
    assert!(trailers.contains("grpc-status:0"), "{trailers}");

    let text = TextArgs { model: "nothing".into(), ..text };
    http.post(RUN_TEXT, &["content-type: application/grpc-web"], &frame(&text)).await;
    let answer = http.answer().await;
    assert_eq!((answer.code, answer.headers["grpc-status"].as_str()), (200, "5"));
}
