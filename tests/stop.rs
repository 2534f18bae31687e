//! The end of a server: SIGTERM, SIGINT and StopServer finish the calls in flight within the drain's
//! deadline, free the port at once and exit 0; calls that are lost make it 1.

use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::json;
use tonic::Code;

use crate::harness::{Caller, Setup, raw, until};

/// `faults` with one instance and no queue, so that a call in flight shows.
fn setup() -> Setup {
    Setup::new()
        .guest("faults")
        .workers(1)
        .config("[limits]\nmax_instances = 1\nmax_queue = 0\ntimeout = '10m'")
}

/// Waits until nobody listens any more.
async fn closed(port: u16) {
    until("the port is closed", async || {
        TcpStream::connect(("127.0.0.1", port)).is_err()
            && TcpStream::connect(("::1", port)).is_err()
    })
    .await;
}

#[tokio::test]
async fn a_signal_finishes_calls_and_exits_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = start!(setup());
        let idle = server.caller().await;
        let call = server.occupy(r#""do": "sleep", "ms": 1000"#).await;
        server.signal(signal);
        assert_eq!(call.await.unwrap().unwrap(), "done", "{signal:?}");
        assert_eq!(server.exit().await.code(), Some(0), "{signal:?}");
        // A connection that was open is told, in gRPC's words.
        let late = idle.fault(r#""do": "nothing""#).await.unwrap_err();
        assert_eq!(late.code(), Code::Unavailable, "{late}");
    }
}

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    // Longer than the test waits for the exit.
    let mut server = start!(setup().config("").arg("--drain-timeout").arg("10m"));
    // Connections that stay open do not keep it.
    let _idle = [server.caller().await, server.caller().await];
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn calls_that_the_drain_loses_are_an_error() {
    for what in [r#""do": "loop""#, r#""do": "sleep", "ms": 600000"#] {
        let mut server = start!(setup().config("").arg("--drain-timeout").arg("300ms"));
        let call = server.occupy(what).await;
        server.signal(Signal::TERM);
        // Far sooner than the call would end.
        assert_eq!(server.exit().await.code(), Some(1), "{what}");
        assert!(call.await.unwrap().is_err(), "{what}");
        let log = server.log();
        assert!(log.contains(LOST), "{log}");
    }
}

/// What a server says that ended with one call unanswered.
const LOST: &str = "tms: stopped with 1 calls unanswered, which took longer than 300ms: raise \
                    drain_timeout if calls take so long";

#[tokio::test]
async fn a_call_whose_message_still_arrives_is_lost_too() {
    let mut server = start!(setup().config("").arg("--drain-timeout").arg("300ms"));
    let port = server.port;
    let call = tokio::spawn(async move {
        raw::stuck(port, "/server.Server/RunText", &[], b"the beginning").await
    });
    // Its headers have come when the calls that followed them are answered.
    let stop = server.caller().await;
    for _ in 0..3 {
        stop.pid().await;
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(1));
    assert!(server.log().contains(LOST), "{}", server.log());
    assert!(call.await.is_err(), "there is no answer");
}

#[tokio::test]
async fn stop_server_answers_and_frees_the_port_while_it_drains() {
    let setup_one = setup().config("").arg("--drain-timeout").arg("20s");
    let mut server = start!(setup_one);
    let port = server.port;
    let call = server.occupy(r#""do": "sleep", "ms": 3000"#).await;
    let caller = server.caller().await;
    assert_eq!(caller.stop().await.unwrap(), json!({"stopping": true}));
    closed(port).await;
    // The next server has the port while the first one still works.
    let next = start!(Setup::new().guest("echo").arg("--port").arg(&port.to_string()));
    assert_eq!(next.port, port);
    assert!(!server.has_ended(), "the first is still draining");
    assert_eq!(next.caller().await.text("echo", "hi", "").await.unwrap(), "hi");
    assert_eq!(call.await.unwrap().unwrap(), "done");
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn the_port_is_free_before_a_caller_is_turned_away() {
    // As the original's tests do: stop, see UNAVAILABLE, start on the same port.
    for _ in 0..5 {
        let mut server = start!(Setup::new().guest("echo"));
        let caller = server.caller().await;
        caller.stop().await.unwrap();
        until("the caller is turned away", async || caller.text("echo", "", "").await.is_err())
            .await;
        let port = server.port.to_string();
        let next = start!(Setup::new().guest("echo").arg("--port").arg(&port));
        assert_eq!(Caller::connect(next.port).await.text("echo", "hi", "").await.unwrap(), "hi");
        assert_eq!(server.exit().await.code(), Some(0));
    }
}
