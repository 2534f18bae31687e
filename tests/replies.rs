//! Replies that their callers do not take: they are charged, given up, and nobody waits for them.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use prost::Message;
use rustix::process::Signal;
use serde_json::json;
use tms::grpc::proto::server::TextArgs;
use tokio::{net::TcpStream, task::spawn_blocking, time::sleep};
use tonic::Code;

use crate::harness::{
    LONG, Server, Setup,
    frames::{self, DATA, END_STREAM, Wire, message},
    metrics::metric,
    until,
};

const RUN_TEXT: &str = "/server.Server/RunText";

fn setup(config: &str) -> Setup {
    let setup = Setup::new().guest("faults").guest("echo").workers(1);
    setup.metrics().config(config)
}

/// A request whose reply has `bytes` bytes.
fn request(bytes: usize) -> Vec<u8> {
    let args = json!({"do": "reply", "bytes": bytes}).to_string();
    let request =
        TextArgs { text: String::new(), model: "faults".into(), args, ..TextArgs::default() };
    message(&request.encode_to_vec())
}

/// What is charged for replies.
fn charged(server: &Server) -> f64 {
    metric(server, "tms_memory_bytes", &[r#"account="replies""#])
}

fn untaken(server: &Server) -> f64 {
    metric(server, "tms_replies_untaken_total", &[])
}

/// A connection whose library takes what comes only as it is told, and its driver.
async fn connected(server: &Server) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A call whose reply has `bytes` bytes, once its headers have come.
async fn called(client: &h2::client::SendRequest<Bytes>, bytes: usize) -> h2::RecvStream {
    let call = Request::post(format!("http://localhost{RUN_TEXT}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let mut client = client.clone().ready().await.unwrap();
    let (response, mut body) = client.send_request(call.body(()).unwrap(), false).unwrap();
    body.send_data(request(bytes).into(), true).unwrap();
    response.await.unwrap().into_body()
}

#[tokio::test]
async fn a_reply_that_nobody_takes_is_reset_alone() {
    let server = start!(setup("reply_timeout = '2s'"));
    let client = connected(&server).await;
    // The first windows are all that ever comes.
    let mut body = called(&client, 4 << 20).await;
    until("it is charged", async || charged(&server) >= f64::from(4 << 20)).await;
    let mut taken = 0;
    let reset = loop {
        match body.data().await.expect("its end does not come") {
            Ok(data) => taken += data.len(),
            Err(reset) => break reset,
        }
    };
    assert!(reset.is_reset(), "{reset}");
    assert!(taken < 100_000, "{taken}");
    assert_eq!(untaken(&server), 1.0);
    until("it is given back", async || charged(&server) == 0.0).await;
    // What came counts against the connection's window, until this says that it is read.
    body.flow_control().release_capacity(taken).unwrap();
    let mut other = called(&client, 1000).await;
    assert!(other.data().await.unwrap().is_ok(), "the connection goes on");
}

#[tokio::test]
async fn a_reply_without_any_window_is_reset_too() {
    let server = start!(setup("reply_timeout = '2s'"));
    let port = server.port;
    spawn_blocking(move || {
        // No bytes of any stream are taken: the initial window is 0.
        let mut wire = Wire::begun(port, &[(4, 0)]);
        for (stream, bytes) in [(1, 100), (3, 20_000), (5, 1 << 20)] {
            wire.call(stream, RUN_TEXT).unwrap();
            wire.send(DATA, END_STREAM, stream, &request(bytes)).unwrap();
        }
        let mut reset: Vec<_> =
            (0..3).map(|_| wire.next(frames::RST_STREAM).unwrap().stream).collect();
        reset.sort();
        assert_eq!(reset, [1, 3, 5]);
    })
    .await
    .unwrap();
    assert_eq!((untaken(&server), charged(&server)), (3.0, 0.0));
}

#[tokio::test]
async fn a_caller_who_reads_nothing_loses_the_connection() {
    let server = start!(setup("reply_timeout = '1s'"));
    let port = server.port;
    let calls = spawn_blocking(move || {
        // Windows without end, and nobody who reads: the sockets' buffers are soon full.
        let mut wire = Wire::begun(port, &[(4, i32::MAX as u32)]);
        wire.send(frames::WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()).unwrap();
        wire.call(1, RUN_TEXT).unwrap();
        wire.send(DATA, END_STREAM, 1, &request(32 << 20)).unwrap();
        wire
    });
    let _wire = calls.await.unwrap();
    until("it is charged", async || charged(&server) >= f64::from(32 << 20)).await;
    until("it is given back", async || charged(&server) == 0.0).await;
    until("it is closed", async || {
        metric(&server, "tms_connections_closed_total", &[r#"reason="untaken""#]) == 1.0
    })
    .await;
}

#[tokio::test]
async fn errors_that_nobody_takes_are_charged_and_hold_their_caller_back() {
    let server = start!(setup(""));
    let port = server.port;
    let fails = TextArgs { model: "none".into(), ..TextArgs::default() }.encode_to_vec();
    let calls = spawn_blocking(move || {
        let mut wire = Wire::deaf(port);
        // Nothing is read for so long only where nothing is to be read.
        wire.0.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let stopped = (0..).find_map(|n| {
            let error = wire.write(&frames::call(2 * n + 1, RUN_TEXT, &fails)).err()?;
            Some((n, error.kind()))
        });
        (wire, stopped.unwrap())
    });
    let mut most = 0.0_f64;
    while !calls.is_finished() {
        most = most.max(charged(&server));
    }
    let (wire, (sent, error)) = calls.await.unwrap();
    assert_eq!(error, ErrorKind::WouldBlock, "after {sent} calls");
    // As many as may wait, and what came before that was seen.
    assert!((10e3..1e6).contains(&most), "{most}");
    drop(wire);
    until("it is given back", async || charged(&server) == 0.0).await;
}

#[tokio::test]
async fn who_reads_slowly_gets_all_of_it() {
    let server = start!(setup("reply_timeout = '1s'"));
    let client = connected(&server).await;
    let begun = Instant::now();
    let (bytes, mut taken) = (2 << 20, 0);
    let mut body = called(&client, bytes).await;
    while let Some(data) = body.data().await {
        let data = data.expect("it is not given up");
        taken += data.len();
        sleep(Duration::from_millis(20)).await;
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert!(taken > bytes, "{taken}");
    assert!(begun.elapsed() > Duration::from_secs(2), "slower than a reply may stand still");
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(untaken(&server), 0.0);
}

#[tokio::test]
async fn two_hundred_replies_that_nobody_takes() {
    let memory: u64 = 512 << 20;
    let config = "reply_timeout = '5s'\nmemory = '512 MiB'\n[limits]\nmax_instances = 1";
    let server = start!(setup(config));
    let server = &server;
    let clients = join_all((0..20).map(|_| connected(server))).await;
    let ten = |client| join_all((0..10).map(move |_| called(client, 16 << 20)));
    let replies = join_all(clients.iter().map(ten));
    let mut most = 0;
    let watch = async {
        loop {
            most = most.max(server.memory());
            sleep(Duration::from_millis(20)).await;
        }
    };
    // Small calls find room all the while.
    let caller = server.caller().await;
    let mut answered = 0;
    let small = async {
        loop {
            assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
            answered += 1;
            sleep(Duration::from_millis(5)).await;
        }
    };
    let come_and_go = async {
        let replies = replies.await;
        until("they are gone", async || charged(server) == 0.0).await;
        drop(replies);
    };
    tokio::select! {
        () = come_and_go => {}
        () = watch => unreachable!("it goes on"),
        () = small => unreachable!("it goes on"),
    };
    // Some had no room, and were told so.
    let refused = metric(server, "tms_memory_refused_total", &[]);
    assert!(refused > 0.0);
    assert!(most < memory, "{most} bytes");
    assert!(answered > 100, "{answered}");
}

#[tokio::test]
async fn a_reply_without_room_is_refused() {
    let limits = "[limits]\nmemory = '1 GiB'\nmax_reply = '100 MiB'";
    let config = format!("memory = '128 MiB'\nmax_message = '100 MiB'\n{limits}");
    let server = start!(setup(&config));
    let args = json!({"do": "reply", "bytes": 80 << 20}).to_string();
    let refused = server.caller().await.text("faults", "", &args).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
}

#[tokio::test]
async fn the_drain_does_not_wait_for_a_reply_that_nobody_takes() {
    let config = "reply_timeout = '1s'\ndrain_timeout = '10m'";
    let mut server = start!(setup(config));
    let client = connected(&server).await;
    let _body = called(&client, 4 << 20).await;
    server.signal(Signal::TERM);
    let exit = tokio::time::timeout(LONG, server.exit()).await.expect("it ends");
    assert_eq!(exit.code(), Some(0), "{}", server.log());
}
