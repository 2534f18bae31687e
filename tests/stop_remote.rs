//! StopServer, and who may call it: `--stop-server`, and the default of a server that listens beyond this
//! machine.

use std::net::{IpAddr, UdpSocket};

use rustix::process::Signal;
use serde_json::json;
use tonic::{Code, transport::Endpoint};

use crate::harness::{Server, Setup, assert_refused, client::Answer, json, skip_here};
use tms::grpc::proto::server::{EmptyArgs, server_client::ServerClient};

/// What a caller is told who may not stop the server.
const HINT: &str = ": whoever runs the server can stop it with a signal, or let others stop it with \
                    --stop-server, TMS_STOP_SERVER or stop_server in tms.toml";

#[track_caller]
fn assert_switched_off(answer: Answer) {
    let message = format!("StopServer is switched off on this server (never){HINT}");
    assert_refused(answer, Code::PermissionDenied, &message);
}

#[track_caller]
fn assert_for_this_machine(answer: Answer) {
    let message = format!("StopServer is for callers on the server's machine (local){HINT}");
    assert_refused(answer, Code::PermissionDenied, &message);
}

/// It takes calls still, and ends with a signal.
async fn assert_serves_on(mut server: Server) {
    assert_eq!(server.caller().await.text("echo", "hi", "").await.unwrap(), "hi");
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
}

/// It was told to stop, and does.
async fn assert_stops(mut server: Server, answer: Answer) {
    assert_eq!(answer.unwrap(), json!({"stopping": true}));
    assert_eq!(server.exit().await.code(), Some(0));
}

/// A server on all addresses, not only this machine's own.
fn open() -> Setup {
    Setup::new().guest("echo").arg("--host").arg("0.0.0.0")
}

#[tokio::test]
async fn beyond_this_machine_nobody_may_stop_the_server() {
    let server = start!(open());
    // A proxy on the same machine makes every caller look as this one does.
    assert_switched_off(server.caller().await.stop().await);
    assert_serves_on(server).await;
}

#[tokio::test]
async fn never_is_for_servers_behind_a_proxy_on_their_machine() {
    for setup in [
        Setup::new().arg("--stop-server").arg("never"),
        Setup::new().env("TMS_STOP_SERVER", "never"),
        Setup::new().config("stop_server = 'never'"),
    ] {
        let server = start!(setup.guest("echo"));
        assert_switched_off(server.caller().await.stop().await);
        assert_serves_on(server).await;
    }
}

#[tokio::test]
async fn callers_on_the_machine_may_be_allowed_again() {
    let server = start!(open().arg("--stop-server").arg("local"));
    let answer = server.caller().await.stop().await;
    assert_stops(server, answer).await;
}

/// An address of this machine that is not the loopback's: a caller on it looks remote.
fn own_address() -> Option<IpAddr> {
    // Connecting a UDP socket sends nothing; it only chooses the address to send from.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// StopServer by a caller that is not on the loopback; None where this machine has no way to be one.
async fn stop_from_elsewhere(server: &Server) -> Option<Answer> {
    let Some(address) = own_address() else {
        skip_here("StopServer from elsewhere: this machine has no address but the loopback's");
        return None;
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}:{}", server.port)).unwrap();
    let Ok(channel) = endpoint.connect().await else {
        skip_here("StopServer from elsewhere: this machine cannot reach its own address");
        return None;
    };
    Some(json(ServerClient::new(channel).stop_server(EmptyArgs {}).await))
}

#[tokio::test]
async fn local_is_not_for_callers_elsewhere() {
    let server = start!(open().arg("--stop-server").arg("local"));
    let Some(answer) = stop_from_elsewhere(&server).await else { return };
    assert_for_this_machine(answer);
    assert_serves_on(server).await;
}

#[tokio::test]
async fn anyone_is_anyone_by_its_old_name_too() {
    for setup in [open().arg("--stop-server").arg("anyone"), open().arg("--allow-remote-stop")] {
        let server = start!(setup);
        let Some(answer) = stop_from_elsewhere(&server).await else { return };
        assert_stops(server, answer).await;
    }
}
