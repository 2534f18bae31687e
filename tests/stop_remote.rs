//! StopServer from another machine: refused, unless the operator allows it.

use std::net::{IpAddr, UdpSocket};

use serde_json::json;
use tonic::{Code, transport::Endpoint};

use crate::harness::{Setup, assert_refused, json, skip_here};
use tms::grpc::proto::server::{EmptyArgs, server_client::ServerClient};

/// An address of this machine that is not the loopback's: a caller on it looks remote.
fn own_address() -> Option<IpAddr> {
    // Connecting a UDP socket sends nothing; it only chooses the address to send from.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn remote_callers_may_not_stop_the_server() {
    let Some(address) = own_address() else {
        return skip_here("StopServer from elsewhere: this machine has no other address");
    };
    for allowed in [false, true] {
        let mut setup = Setup::new().guest("echo").arg("--host").arg("0.0.0.0");
        if allowed {
            setup = setup.arg("--allow-remote-stop");
        }
        let mut server = start!(setup);
        let endpoint = Endpoint::from_shared(format!("http://{address}:{}", server.port)).unwrap();
        let Ok(channel) = endpoint.connect().await else {
            return skip_here(
                "StopServer from elsewhere: this machine cannot reach its own address",
            );
        };
        let answer = ServerClient::new(channel).stop_server(EmptyArgs {}).await;
        if allowed {
            assert_eq!(json(answer).unwrap(), json!({"stopping": true}));
        } else {
            let message = "StopServer is for callers on the server's machine: start it with \
                           --allow-remote-stop to change that";
            assert_refused(answer, Code::PermissionDenied, message);
            // This one is on the machine.
            assert_eq!(server.caller().await.stop().await.unwrap(), json!({"stopping": true}));
        }
        assert_eq!(server.exit().await.code(), Some(0));
    }
}
