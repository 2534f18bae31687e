//! Limits at their edge, deadlines and queues; that the server serves on meanwhile and afterwards.
//! What a hostile model does to its limits is in hostile/.

use prost::Message;
use serde_json::json;
use tms::grpc::proto::server::TextArgs;
use tonic::{Code, Status};

use crate::harness::{
    Caller, LONG, Server, Setup, assert_refused,
    oip::{self, floats, infer},
    pixels, raw, until,
};

/// `faults` and `echo` on one worker, `faults` under limits.
async fn limited(limits: &str) -> Option<Server> {
    let config = format!("[model.faults.limits]\n{limits}");
    let setup = Setup::new().guest("faults").guest("echo").workers(1).config(&config);
    setup.start().await
}

/// A call that does nothing, answered.
async fn assert_fine(server: &Server) {
    assert_eq!(server.caller().await.fault(r#""do": "nothing""#).await.unwrap(), "done");
}

#[tokio::test]
async fn memory_taken_by_a_request() {
    let setup = Setup::new().guest("echo").config("[limits]\nmemory = '4 MiB'");
    let server = start!(setup);
    let caller = server.caller().await;
    let refused = caller.image("echo", pixels(1080, 1920, 3)).await;
    let message = "model `echo`: the request is too large: a tensor of 6220800 bytes exceeds the \
                   memory limit of 4194304 bytes";
    assert_refused(refused, Code::InvalidArgument, message);
    assert!(caller.image("echo", pixels(200, 150, 3)).await.is_ok());
}

/// More calls than `max_failures`, each refused as the caller's fault, and the model still answers.
async fn assert_the_callers_fault(
    server: &Server,
    words: &str,
    call: impl AsyncFn(&Caller) -> Result<(), Status>,
) {
    let caller = server.caller().await;
    for _ in 0..12 {
        let status = call(&caller).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
    assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
}

#[tokio::test]
async fn a_batch_of_too_many_texts() {
    let server = start!(Setup::new().guest("echo").config("[limits]\nmemory = '8 MiB'"));
    let words = "model `echo`: the request is too large: with its results it takes about ";
    assert_the_callers_fault(&server, words, async |caller| {
        caller.texts("echo", &["as long as it may be"; 60_000], "").await.map(drop)
    })
    .await;
    // What is not refused is answered.
    let answer =
        server.caller().await.texts("echo", &["as long as it may be"; 20_000], "").await.unwrap();
    assert_eq!(answer.as_array().unwrap().len(), 20_000);
}

#[tokio::test]
async fn four_million_empty_texts() {
    let server = start!(Setup::new().guest("echo").workers(1));
    let texts = vec![""; 4_000_000];
    let refused = server.caller().await.texts("echo", &texts, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(server.caller().await.text("echo", "hi", "").await.unwrap(), "hi");
}

#[tokio::test]
async fn a_text_that_the_model_cannot_work_on() {
    let server = start!(Setup::new().guest("echo").config("[limits]\nmemory = '8 MiB'"));
    // It fits, but its copies do not.
    let text = "x".repeat(5 << 20);
    let words = "model `echo`: the request is too large: the model ran out of memory over its ";
    assert_the_callers_fault(&server, words, async |caller| {
        caller.text("echo", &text, "").await.map(drop)
    })
    .await;
    // Its answer is more than may be copied to the host at once, a quarter of the memory.
    let text = "x".repeat(5 << 19);
    assert_the_callers_fault(&server, words, async |caller| {
        caller.text("echo", &text, "").await.map(drop)
    })
    .await;
    let text = "x".repeat(9 << 20);
    let words = "model `echo`: the request is too large: with its results it takes about ";
    assert_the_callers_fault(&server, words, async |caller| {
        caller.text("echo", &text, "").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn more_tensors_than_a_model_may_hold() {
    let server = start!(Setup::new().guest("echo").config("[limits]\nhandles = 100"));
    let request = |count: usize| {
        let tensors = (0..count).map(|i| floats(&format!("t{i}"), &[1], &[1.]));
        oip::raw("echo", tensors.collect())
    };
    let words = "model `echo`: the request is too large: it has 51 tensors, and the model takes at \
                 most 50 at once";
    assert_the_callers_fault(&server, words, async |caller| {
        infer(caller, request(51)).await.map(drop)
    })
    .await;
    assert!(infer(&server.caller().await, request(50)).await.is_ok());
}

#[tokio::test]
async fn reply() {
    let Some(server) = limited("max_reply = '1 KiB'").await else {
        return;
    };
    let caller = server.caller().await;
    let fits = caller.fault(r#""do": "reply", "bytes": 1022"#).await.unwrap();
    assert_eq!(fits, "x".repeat(1022), "with its quotes exactly the limit");
    let refused = caller.fault(r#""do": "reply", "bytes": 1023"#).await;
    let message = "model `faults`: the model's result of 1025 bytes exceeds the limit of 1024 \
                   (max_reply)";
    assert_refused(refused, Code::Internal, message);
    assert_fine(&server).await;
}

#[tokio::test]
async fn reply_of_tensors() {
    let setup = Setup::new().guest("echo").config("[limits]\nmax_reply = '1 KiB'");
    let server = start!(setup);
    let caller = server.caller().await;
    assert!(caller.image("echo", pixels(32, 32, 1)).await.is_ok());
    let refused = caller.image("echo", pixels(32, 33, 1)).await;
    let message = "model `echo`: the model's result of 1056 bytes exceeds the limit of 1024 \
                   (max_reply)";
    assert_refused(refused, Code::Internal, message);
}

#[tokio::test]
async fn time_in_the_guest() {
    let Some(server) = limited("timeout = '700ms'").await else {
        return;
    };
    let (caller, other) = (server.caller().await, server.caller().await);
    let looping = tokio::spawn(async move { caller.fault(r#""do": "loop""#).await });
    // The only worker computes, and answers others all the same.
    let mut answers = 0;
    while !looping.is_finished() {
        assert_eq!(other.text("echo", "hi", "").await.unwrap(), "hi");
        answers += 1;
    }
    assert!(answers > 3, "{answers} answers meanwhile");
    let message = "model `faults`: the model did not answer within ";
    let late = looping.await.unwrap().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    assert!(late.message().starts_with(message), "{late}");
    assert_fine(&server).await;
}

#[tokio::test]
async fn a_callers_own_deadline() {
    let Some(server) = limited("timeout = '10m'\nmax_instances = 1\nmax_queue = 0").await else {
        return;
    };
    for what in ["\"loop\"", "\"sleep\", \"ms\": 600000"] {
        let message = TextArgs {
            model: "faults".into(),
            args: format!("{{\"do\": {what}}}"),
            ..TextArgs::default()
        };
        let (headers, message) = ([("grpc-timeout", "300m")], message.encode_to_vec());
        let reply = raw::call(server.port, "/server.Server/RunText", &headers, &message);
        let reply = tokio::time::timeout(LONG, reply).await.expect("an answer in time");
        assert_eq!(reply.status, "4", "DEADLINE_EXCEEDED: {reply:?}");
        // The only instance that there may be is free again, though its guest may hear a little later
        // than its caller that time is up.
        let caller = server.caller().await;
        until("the instance is free", async || caller.fault(r#""do": "nothing""#).await.is_ok())
            .await;
    }
}

#[tokio::test]
async fn queue() {
    let Some(server) = limited("max_instances = 1\nmax_queue = 1").await else {
        return;
    };
    let caller = server.caller().await;
    let call = || {
        let caller = caller.clone();
        tokio::spawn(async move { caller.fault(r#""do": "sleep", "ms": 2000"#).await })
    };
    // One runs, one waits, two are too many.
    let calls = [call(), call(), call(), call()];
    // Another model has a queue of its own.
    let echo = server.caller().await.text("echo", "hi", "").await;
    assert_eq!(echo.unwrap(), "hi");
    let mut answered = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => answered += 1,
            refused => {
                let message = "model `faults`: the model's queue is full: 1 calls wait (max_queue)";
                assert_refused(refused, Code::ResourceExhausted, message);
            }
        }
    }
    assert_eq!(answered, 2);
    assert_fine(&server).await;
}

#[tokio::test]
async fn a_deadline_while_waiting() {
    let Some(server) = limited("max_instances = 1\ntimeout = '10m'").await else {
        return;
    };
    let occupant = server.caller().await;
    let occupied =
        tokio::spawn(async move { occupant.fault(r#""do": "sleep", "ms": 600000"#).await });
    let message = TextArgs {
        model: "faults".into(),
        args: r#"{"do": "nothing"}"#.into(),
        ..TextArgs::default()
    };
    let message = message.encode_to_vec();
    until("a call that waits in vain", async || {
        let headers = [("grpc-timeout", "200m")];
        let reply = raw::call(server.port, "/server.Server/RunText", &headers, &message).await;
        assert!(["0", "4"].contains(&reply.status.as_str()), "{reply:?}");
        reply.message.contains("waited")
    })
    .await;
    occupied.abort();
}

#[tokio::test]
async fn a_dropped_connection_frees_the_instance() {
    let Some(server) = limited("timeout = '10m'\nmax_instances = 1\nmax_queue = 0").await else {
        return;
    };
    for what in [r#""do": "loop""#, r#""do": "sleep", "ms": 600000"#] {
        let call = server.occupy(what).await;
        // With the last handle on the channel its connection closes.
        call.abort();
        let other = server.caller().await;
        until("the instance is free", async || other.fault(r#""do": "nothing""#).await.is_ok())
            .await;
    }
}

#[tokio::test]
async fn a_model_may_lower_its_limits_and_not_raise_them() {
    let setup = Setup::new()
        .guest_as("faults", "lower")
        .file("lower/model.toml", "[limits]\nmax_reply = '100 B'")
        .guest_as("faults", "higher")
        .file("higher/model.toml", "[limits]\nmax_reply = '1 GiB'\nlog_lines = 1000000")
        .config("[limits]\nmax_reply = '1 KiB'");
    let server = start!(setup);
    let caller = server.caller().await;
    let reply = async |model: &str, bytes: usize| {
        let args = json!({"do": "reply", "bytes": bytes}).to_string();
        caller.text(model, "", &args).await.map(|_| ()).map_err(|e| e.message().to_owned())
    };
    assert_eq!(reply("lower", 98).await, Ok(()));
    let refused =
        "model `lower`: the model's result of 101 bytes exceeds the limit of 100 (max_reply)";
    assert_eq!(reply("lower", 99).await, Err(refused.into()));
    assert_eq!(reply("higher", 1022).await, Ok(()));
    let refused =
        "model `higher`: the model's result of 1025 bytes exceeds the limit of 1024 (max_reply)";
    assert_eq!(reply("higher", 1023).await, Err(refused.into()));
}
