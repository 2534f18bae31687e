//! Guests that fail: the caller hears whose fault it is in a short sentence, the log has the rest,
//! and the next call is fine.

use serde_json::json;
use tonic::Code;

use crate::harness::{
    Server, Setup, assert_refused,
    oip::{floats, infer, raw},
};

async fn faults() -> Option<Server> {
    Setup::new().guest("faults").guest("echo").workers(1).start().await
}

/// Nothing in it tells of the host.
#[track_caller]
fn assert_harmless(message: &str) {
    for word in ["/", "0x", ".rs", "backtrace", "wasm function"] {
        assert!(!message.contains(word), "`{message}` has `{word}`");
    }
    assert!(message.len() < 200 && !message.contains('\n'), "`{message}` is long");
}

#[tokio::test]
async fn a_trap_is_internal_and_the_next_call_is_fine() {
    let Some(server) = faults().await else { return };
    let caller = server.caller().await;
    for (what, reason) in [
        ("panic", "wasm `unreachable` instruction executed"),
        ("trap", "wasm `unreachable` instruction executed"),
        // Rust's own stack lies in the guest's memory, and ends first.
        ("recurse", "out of bounds memory access"),
    ] {
        let trapped = caller.fault(&format!(r#""do": "{what}""#)).await;
        let message = format!("model `faults`: the model trapped: {reason}");
        assert_harmless(&message);
        assert_refused(trapped, Code::Internal, &message);
        assert_eq!(caller.fault(r#""do": "nothing""#).await.unwrap(), "done");
    }
    // What the caller does not hear is in the log.
    let log = server.logged("asked to panic").await;
    // The whole backtrace on one line: functions' names cannot forge another.
    let whole = |line: &str| {
        line.contains("trapped: ")
            && line.contains("unreachable")
            && line.ends_with(" model=faults")
    };
    assert!(log.lines().any(whole), "{log}");
}

#[tokio::test]
async fn a_trap_costs_nobody_else_anything() {
    let Some(server) = faults().await else { return };
    let caller = server.caller().await;
    let calls: Vec<_> = (0..60)
        .map(|i| {
            let caller = caller.clone();
            tokio::spawn(async move {
                match i % 3 {
                    0 => {
                        let trapped = caller.fault(r#""do": "panic""#).await;
                        assert_eq!(trapped.unwrap_err().code(), Code::Internal);
                    }
                    1 => assert_eq!(caller.fault(r#""do": "nothing""#).await.unwrap(), "done"),
                    _ => assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi"),
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn errors_say_whose_fault_it_is() {
    let Some(server) = faults().await else { return };
    let caller = server.caller().await;
    for (what, code, message) in [
        ("caller_error", Code::InvalidArgument, "the caller is to blame"),
        ("model_error", Code::Internal, "the model is to blame"),
        ("server_error", Code::Unavailable, "the server is to blame"),
    ] {
        let refused = caller.fault(&format!(r#""do": "{what}""#)).await;
        assert_refused(refused, code, &format!("model `faults`: {message}"));
    }
}

#[tokio::test]
async fn an_error_keeps_the_instance_a_trap_does_not() {
    let setup = Setup::new().guest("counter").guest("nn_probe").workers(1);
    let server = start!(setup);
    let caller = server.caller().await;
    // `counter` takes everything, so it is `nn_probe` that traps; their instances are apart.
    assert_eq!(caller.text("counter", "", "").await.unwrap(), 1);
    let trapped = caller.text("nn_probe", "short tensor", "").await;
    assert_eq!(trapped.unwrap_err().code(), Code::Internal);
    assert_eq!(caller.text("counter", "", "").await.unwrap(), 2);
}

#[tokio::test]
async fn wasi_nn_runs_graphs_by_name_and_no_bytes() {
    let setup = Setup::new().guest("nn_probe").graph("two_inputs", "nn_probe");
    let server = start!(setup);
    let caller = server.caller().await;
    let (a, b) = (floats("a", &[1, 3], &[1., 2., 3.]), floats("b", &[1, 3], &[4., 5., 6.]));
    let reply = infer(&caller, raw("nn_probe", vec![a, b])).await.unwrap();
    assert_eq!(crate::harness::oip::to_floats(&reply, "sum"), [5., 7., 9.]);
    let loaded = caller.text("nn_probe", "load:some bytes", "").await.unwrap();
    assert_eq!(loaded["code"], "ErrorCode::UnsupportedOperation", "{loaded}");
    let graph = caller.text("nn_probe", "graph:model", "").await.unwrap();
    assert_eq!(graph["inputs"][0]["name"], "a", "{graph}");
    let tensor = caller.text("nn_probe", "tensor", "").await.unwrap();
    assert_eq!(tensor, json!({"dimensions": [2, 1], "shape": [2, 1], "same": true}));
    let empty = caller.text("nn_probe", "empty run:model", "").await.unwrap();
    assert_eq!(empty["data"], "input `a` is missing; the graph takes `a`, `b`");
}

#[tokio::test]
async fn the_log_has_a_models_lines_under_its_name() {
    let setup = Setup::new().guest("faults").env("TMS_LOG", "trace");
    let server = start!(setup);
    let caller = server.caller().await;
    caller.fault(r#""do": "log""#).await.unwrap();
    caller.fault(r#""do": "print""#).await.unwrap();
    let log = server.logged("a line on stderr").await;
    let lines = |level: &str, text: &str| {
        let is = |line: &&str| {
            line.contains(level) && line.contains(text) && line.contains("model=faults")
        };
        log.lines().filter(is).count()
    };
    assert_eq!(lines("TRACE", "a line at trace"), 1, "{log}");
    assert_eq!(lines("DEBUG", "a line at debug"), 1, "{log}");
    assert_eq!(lines("INFO", "a line at info"), 1, "{log}");
    assert_eq!(lines("WARN", "a line at warn"), 1, "{log}");
    // Line breaks and control characters cannot forge another line.
    let forged = r"a line at error\nwith a break and \u{1b}[31m a control character";
    assert_eq!(lines("ERROR", forged), 1, "{log}");
    assert_eq!(lines("INFO", "a line on stdout"), 1, "{log}");
    assert_eq!(lines("WARN", "a line on stderr"), 1, "{log}");
}
