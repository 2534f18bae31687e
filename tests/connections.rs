//! Connections: slow, silent and flooding callers lose theirs, whoever is beside them keeps his, and each
//! bound is exceeded.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use prost::Message;
use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use tms::grpc::proto::server::{EmptyArgs, TextArgs};
use tokio::{net::TcpStream, task::spawn_blocking, time::sleep};

use crate::harness::{
    Caller, LONG, Server, Setup,
    frames::{self, *},
    metrics::metric,
    until,
};

const GET_PID: &str = "/server.Server/GetPID";

/// A server with this in its tms.toml.
fn setup(config: &str) -> Setup {
    Setup::new().guest("echo").metrics().config(config)
}

/// How many connections have ended for this reason.
fn ended(server: &Server, reason: &str) -> f64 {
    metric(server, "tms_connections_closed_total", &[&format!("reason=\"{reason}\"")])
}

/// A call of a neighbour, answered.
async fn assert_answered(caller: &Caller) {
    assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
}

/// Both ends of thousands of connections are this machine's.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test]
async fn thousands_of_silent_connections_leave_again() {
    let times = "handshake_timeout = '2s'\nkeepalive = '1s'\nkeepalive_timeout = '1s'";
    let server = start!(setup(times));
    raise_open_files();
    let caller = server.caller().await;
    let port = server.port;
    let opened = spawn_blocking(move || {
        let nothing = (0..1000).map(|_| Wire::silent(port)).collect::<Vec<_>>();
        let preface = (0..1000).map(|_| {
            let mut wire = Wire::silent(port);
            wire.write(PREFACE).unwrap();
            wire
        });
        let preface = preface.collect::<Vec<_>>();
        // They do not answer pings.
        let begun = (0..1000).map(|_| Wire::begun(port, &[])).collect::<Vec<_>>();
        [nothing, preface, begun]
    });
    while !opened.is_finished() {
        assert_answered(&caller).await;
    }
    let silent = opened.await.unwrap();
    until("all have left", async || {
        assert_answered(&caller).await;
        metric(&server, "tms_connections", &[]) == 1.0
    })
    .await;
    assert_eq!((ended(&server, "slow"), ended(&server, "silent")), (2000.0, 1000.0));
    drop(silent);
}

#[tokio::test]
async fn headers_that_trickle() {
    let server = start!(setup("handshake_timeout = '500ms'"));
    let port = server.port;
    let begun = Instant::now();
    spawn_blocking(move || {
        let mut wire = Wire::begun(port, &[]);
        let block = frames::headers(GET_PID);
        wire.send(HEADERS, 0, 1, &block[..5]).unwrap();
        // Each byte comes in time, and all of them do not.
        while !wire.is_closed_within(Duration::from_millis(100)) {
            assert!(begun.elapsed() < LONG, "it goes on");
            let _ = wire.send(CONTINUATION, 0, 1, &block[5..6]);
        }
        // The same within one frame.
        let mut wire = Wire::begun(port, &[]);
        let whole = frame(HEADERS, END_HEADERS, 1, &block);
        wire.write(&whole[..12]).unwrap();
        assert!(wire.is_closed_within(LONG));
    })
    .await
    .unwrap();
    until("both are counted", async || ended(&server, "slow") == 2.0).await;
}

#[tokio::test]
async fn a_frame_that_never_ends() {
    let server = start!(setup("frame_timeout = '500ms'"));
    let port = server.port;
    spawn_blocking(move || {
        let mut wire = Wire::begun(port, &[]);
        wire.call(1, GET_PID).unwrap();
        wire.write(&frame(DATA, END_STREAM, 1, &[0; 10_000])[..5000]).unwrap();
        assert!(wire.is_closed_within(LONG));
    })
    .await
    .unwrap();
    until("it is counted", async || ended(&server, "slow") == 1.0).await;
}

#[tokio::test]
async fn large_frames_are_charged() {
    let server = start!(setup(""));
    let port = server.port;
    let wire = spawn_blocking(move || {
        let mut wire = Wire::begun(port, &[]);
        wire.call(1, GET_PID).unwrap();
        let data = frame(DATA, END_STREAM, 1, &[0; 256 << 10]);
        wire.write(&data[..data.len() - 1]).unwrap();
        wire
    });
    let wire = wire.await.unwrap();
    let messages = || metric(&server, "tms_memory_bytes", &[r#"account="messages""#]);
    until("it is charged", async || messages() >= f64::from(240 << 10)).await;
    drop(wire);
    until("it is given back", async || messages() == 0.0).await;
}

/// Watches the server's memory while `count` connections send these bytes and stay, beside calls that are
/// answered all the while. The most that was seen.
async fn crowd(server: &Server, count: usize, bytes: Vec<u8>) -> u64 {
    let port = server.port;
    let sends = spawn_blocking(move || {
        let wires: Vec<_> = (0..count)
            .map(|_| {
                let mut wire = Wire::deaf(port);
                // What is left unread waits in the kernel.
                let _ = wire.write(&bytes);
                wire
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        drop(wires);
    });
    let caller = server.caller().await;
    let mut most = 0;
    // To the end of the last of them: what the kernel has of theirs is read then.
    while !sends.is_finished() || metric(server, "tms_connections", &[]) > 1.0 {
        assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
        most = most.max(server.memory());
        sleep(Duration::from_millis(5)).await;
    }
    sends.await.unwrap();
    most
}

/// Many fields of a few bytes, which become 140 each.
fn tiny_fields(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| [0, 2, b'a' + (n % 26) as u8, b'a' + (n / 26 % 26) as u8, 1, b'x'])
        .collect()
}

#[tokio::test]
async fn headers_that_never_end_stay_within_the_memory() {
    let memory: u64 = 192 << 20;
    let config = "memory = '192 MiB'\nhandshake_timeout = '30s'";
    let server = start!(setup(config));
    let mut block = frame(HEADERS, 0, 1, &[headers(GET_PID), tiny_fields(2600)].concat());
    block.extend(frame(CONTINUATION, 0, 1, &tiny_fields(1200)));
    let most = crowd(&server, 700, block).await;
    assert!(most < memory, "{most} bytes");
}

#[tokio::test]
async fn frames_that_never_end_stay_within_the_memory() {
    let memory: u64 = 192 << 20;
    let config = "memory = '192 MiB'\nframe_timeout = '30s'";
    let server = start!(setup(config));
    let mut bytes = frame(HEADERS, END_HEADERS, 1, &headers(GET_PID));
    bytes.extend(frame(DATA, 0, 1, &[0; 250 << 10]));
    bytes.truncate(bytes.len() - 1);
    let most = crowd(&server, 1500, bytes).await;
    assert!(most < memory, "{most} bytes");
}

#[tokio::test]
async fn errors_that_nobody_takes_stay_within_the_memory() {
    let memory: u64 = 192 << 20;
    let server = start!(setup("memory = '192 MiB'"));
    let request = TextArgs { text: "x".into(), ..TextArgs::default() }.encode_to_vec();
    let call = |n: u32| frames::call(2 * n + 1, "/server.Server/RunText", &request);
    let bytes = (0..1500).flat_map(call).collect();
    let most = crowd(&server, 1500, bytes).await;
    assert!(most < memory, "{most} bytes");
}

#[tokio::test]
async fn a_connection_without_calls() {
    let server = start!(setup("idle_timeout = '1s'").guest("faults"));
    let port = server.port;
    // One call takes longer than a connection may be idle.
    let busy = server.caller().await;
    let long = tokio::spawn(async move { busy.fault(r#""do": "sleep", "ms": 3000"#).await });
    let idle = spawn_blocking(move || {
        let mut wire = Wire::begun(port, &[]);
        let away = wire.next(GOAWAY).expect("it is told to go");
        assert_eq!(away.payload[4..8], [0; 4], "NO_ERROR");
        // It does as libraries do: answers the ping that comes with it, and ends.
        let ping = wire.next(PING).unwrap();
        wire.send(PING, ACK, 0, &ping.payload).unwrap();
        assert!(wire.is_closed_within(LONG));
    });
    idle.await.unwrap();
    until("it is counted", async || ended(&server, "idle") >= 1.0).await;
    assert_eq!(long.await.unwrap().unwrap(), "done", "a call is under way there");
}

#[tokio::test]
async fn more_connections_than_there_may_be() {
    let server = start!(setup("max_connections = 3"));
    let [first, second, third] =
        [server.caller().await, server.caller().await, server.caller().await];
    let port = server.port;
    let refused = spawn_blocking(move || Wire::silent(port).is_closed_within(LONG));
    assert!(refused.await.unwrap(), "at once");
    assert_eq!(ended(&server, "full"), 1.0);
    server.logged("was refused: 3 are open (max_connections;").await;
    for caller in [&first, &second, &third] {
        assert_answered(caller).await;
    }
    drop(third);
    until("there is room", async || metric(&server, "tms_connections", &[]) == 2.0).await;
    assert_answered(&server.caller().await).await;
}

#[tokio::test]
async fn more_connections_than_an_address_may_have() {
    let server = start!(setup("max_address_connections = 1"));
    let caller = server.caller().await;
    let port = server.port;
    let refused = spawn_blocking(move || Wire::silent(port).is_closed_within(LONG));
    assert!(refused.await.unwrap(), "at once");
    assert_eq!(ended(&server, "address"), 1.0);
    assert_answered(&caller).await;
}

#[tokio::test]
async fn more_calls_than_a_connection_may_have() {
    let server = start!(setup("max_streams = 2"));
    let port = server.port;
    spawn_blocking(move || {
        let mut wire = Wire::begun(port, &[]);
        for stream in [1, 3, 5] {
            wire.call(stream, GET_PID).unwrap();
        }
        let reset = wire.next(RST_STREAM).unwrap();
        assert_eq!((reset.stream, reset.payload[3]), (5, 7), "REFUSED_STREAM");
        // The others go on.
        let message = message(&EmptyArgs {}.encode_to_vec());
        wire.send(DATA, END_STREAM, 1, &message).unwrap();
        assert_eq!(wire.next(DATA).unwrap().stream, 1);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn floods_lose_their_connection() {
    let server = start!(setup(""));
    let caller = server.caller().await;
    let port = server.port;
    let frames = [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, 0, 0, &[]),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        frame(DATA, 0, 1, &[]),
        frame(100, 0, 0, &[]),
    ];
    let floods = frames.len() as f64;
    for frame in frames {
        let flood = spawn_blocking(move || {
            let mut wire = Wire::begun(port, &[]);
            wire.call(1, "/server.Server/RunText").unwrap();
            let reader = wire.0.try_clone().unwrap();
            let reading = std::thread::spawn(move || Wire(reader).is_closed_within(LONG));
            let many = frame.repeat(100);
            // The sockets' buffers take some after the end.
            let _ = (0..10_000).try_for_each(|_| wire.write(&many));
            assert!(reading.join().unwrap(), "a million frames {frame:?} were taken");
        });
        flood.await.unwrap();
        assert_answered(&caller).await;
    }
    until("all are counted", async || ended(&server, "flood") == floods).await;
}

#[tokio::test]
async fn rapid_resets_lose_their_connection() {
    let server = start!(setup(""));
    let caller = server.caller().await;
    let port = server.port;
    let attack = spawn_blocking(move || {
        let mut wire = Wire::begun(port, &[]);
        let reader = wire.0.try_clone().unwrap();
        let reading = std::thread::spawn(move || Wire(reader).is_closed_within(LONG));
        let block = frames::headers("/server.Server/RunText");
        let _ = (0..100_000).try_for_each(|n| {
            let stream = 2 * n + 1;
            let call = frame(HEADERS, END_HEADERS, stream, &block);
            wire.write(&[call, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat())
        });
        reading.join().unwrap()
    });
    let mut answers = 0;
    while !attack.is_finished() {
        assert_answered(&caller).await;
        answers += 1;
    }
    assert!(attack.await.unwrap(), "a hundred thousand were taken");
    assert!(answers > 0);
    until("it is counted", async || {
        // The library has a bound of its own, for those that come in one go.
        ended(&server, "resets") + ended(&server, "flood") == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_proxy_whose_callers_leave_at_once_keeps_its_connection() {
    let config = "[model.faults.limits]\ntimeout = '10m'\nmax_queue = 5000";
    let server = start!(setup(config).guest("faults"));
    let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let text = |model: &str, args: &str| {
        let (model, args) = (model.into(), args.into());
        let request = TextArgs { text: "hi".into(), model, args, ..TextArgs::default() };
        Bytes::from(message(&request.encode_to_vec()))
    };
    // A call's answer, which is waited for by whoever wants it.
    let call = async |data: Bytes| {
        let request = Request::post("http://localhost/server.Server/RunText")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let mut client = client.clone().ready().await.unwrap();
        let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(data, true).unwrap();
        (answer, body)
    };
    for _ in 0..2 {
        let long = text("faults", r#"{"do": "sleep", "ms": 600000}"#);
        let calls = (0..1000).map(|_| call(long.clone()));
        let calls = join_all(calls).await;
        let waiting = || {
            ["tms_calls_waiting", "tms_calls_in_flight"]
                .map(|name| metric(&server, name, &[r#"model="faults""#]))
                .iter()
                .sum::<f64>()
        };
        until("all have come", async || waiting() >= 900.0).await;
        drop(calls);
        until("all have left", async || waiting() == 0.0).await;
        let (answer, _body) = call(text("echo", "")).await;
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    assert!(!driver.is_finished());
    assert_eq!(ended(&server, "resets"), 0.0);
}

#[tokio::test]
async fn calls_whose_messages_never_come_are_charged() {
    let server = start!(setup(""));
    let port = server.port;
    let wire = spawn_blocking(move || {
        let mut wire = Wire::begun(port, &[]);
        (0..1000).for_each(|n| wire.call(2 * n + 1, GET_PID).unwrap());
        wire
    });
    let wire = wire.await.unwrap();
    let messages = || metric(&server, "tms_memory_bytes", &[r#"account="messages""#]);
    until("they are charged", async || messages() >= 990.0 * 8192.0).await;
    drop(wire);
    until("it is given back", async || messages() == 0.0).await;
}

#[tokio::test]
async fn more_calls_of_reflection_than_there_may_be() {
    let server = start!(setup(""));
    let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let call = async || {
        let path = "http://localhost/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let request = Request::post(path).header("content-type", "application/grpc");
        let mut client = client.clone().ready().await.unwrap();
        // Its requests never come.
        client.send_request(request.body(()).unwrap(), false).unwrap()
    };
    let mut calls = Vec::new();
    for _ in 0..32 {
        calls.push(call().await);
    }
    let (refused, _body) = call().await;
    let refused = refused.await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "8", "RESOURCE_EXHAUSTED");
    drop(calls);
    until("there is room", async || {
        let (answer, body) = call().await;
        drop(body);
        // Without a status in its headers it has begun.
        answer.await.is_ok_and(|answer| !answer.headers().contains_key("grpc-status"))
    })
    .await;
}

#[tokio::test]
async fn the_drain_does_not_wait_for_silent_connections() {
    let mut server = start!(setup("handshake_timeout = '10m'\ndrain_timeout = '10m'"));
    let port = server.port;
    let silent = spawn_blocking(move || [Wire::silent(port), Wire::begun(port, &[])]);
    let _silent = silent.await.unwrap();
    until("both are there", async || metric(&server, "tms_connections", &[]) == 2.0).await;
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
}
