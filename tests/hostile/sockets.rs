//! Connects, listens and looks up names: stopped by what is granted, INTERNAL.

use super::*;

/// Not with the standard library, which not every toolchain gives sockets.
#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    use wasi::sockets::{
        instance_network::instance_network,
        ip_name_lookup::resolve_addresses,
        network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress},
        tcp_create_socket::create_tcp_socket,
        udp_create_socket::create_udp_socket,
    };

    let port = request.args["port"].as_u64().unwrap_or_default() as u16;
    let address = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
    let network = instance_network();
    let tried = match request.text("do") {
        "name" => resolve_addresses(&network, "localhost").map(drop),
        "datagram" => create_udp_socket(IpAddressFamily::Ipv4)
            .and_then(|socket| socket.start_bind(&network, address)),
        what => create_tcp_socket(IpAddressFamily::Ipv4).and_then(|socket| {
            if what == "listen" {
                return socket.start_bind(&network, address);
            }
            socket.start_connect(&network, address)?;
            loop {
                match socket.finish_connect() {
                    Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
                    connected => return connected.map(drop),
                }
            }
        }),
    };
    tried.map_err(refused)?;
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn sockets() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let granted = listener.local_addr().unwrap().port();
    let refused = async |server: &Server, what: &str, port: u16| {
        let answer = attack(server, "sockets", &json!({"do": what, "port": port})).await;
        assert_stopped(answer, Code::Internal, "access-denied");
    };
    under_attack(hostile(""), async |server| {
        refused(server, "connect", granted).await;
        refused(server, "connect", server.port).await;
        refused(server, "listen", 0).await;
        refused(server, "datagram", 0).await;
        refused(server, "name", 0).await;
        assert_serves(server).await;
    })
    .await;
    let setup = hostile("")
        .file("hostile/model.toml", format!("[asks]\nhosts = ['127.0.0.1:{granted}']"))
        .config(&format!("[model.hostile.grants]\nhosts = ['127.0.0.1:{granted}']"));
    under_attack(setup, async |server| {
        let args = json!({"do": "connect", "port": granted});
        assert_eq!(attack(server, "sockets", &args).await.unwrap(), "done");
        // Nothing else comes with it.
        refused(server, "connect", server.port).await;
        refused(server, "listen", 0).await;
        refused(server, "datagram", 0).await;
    })
    .await;
}
