//! gRPC over bare HTTP/2: for bytes that a client library would not send, and for the status that
//! the server itself gives where a library would answer first.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

/// What the server sent.
#[derive(Debug)]
pub struct Reply {
    /// gRPC's status: a number.
    pub status: String,
    /// As it travels: percent-encoded.
    pub message: String,
    /// The reply's message, without its frame.
    pub body: Bytes,
}

/// Calls `path`, such as `/server.Server/GetPID`, with the encoded `message`.
pub async fn call(port: u16, path: &str, headers: &[(&str, &str)], message: &[u8]) -> Reply {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    exchange(port, path, headers, frame.freeze(), true).await
}

/// Calls `path` with a message of which only the beginning ever comes.
pub async fn stuck(port: u16, path: &str, headers: &[(&str, &str)], beginning: &[u8]) -> Reply {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(beginning.len() as u32 + 1000);
    frame.put_slice(beginning);
    exchange(port, path, headers, frame.freeze(), false).await
}

/// Sends a request and reads what comes back. `whole`: that is all of the request's body.
async fn exchange(
    port: u16,
    path: &str,
    headers: &[(&str, &str)],
    data: Bytes,
    whole: bool,
) -> Reply {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = Request::post(format!("http://127.0.0.1:{port}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut client = client.ready().await.unwrap();
    let (response, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(data, whole).unwrap();

    let response = response.await.unwrap();
    // A call that fails at once has its status in the header.
    let mut trailers = response.headers().clone();
    let mut stream = response.into_body();
    let mut received = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        received.put_slice(&data);
    }
    if let Some(after) = stream.trailers().await.unwrap() {
        trailers.extend(after);
    }
    driver.abort();
    let header = |map: &HeaderMap, name| {
        let value = map.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default().to_owned()
    };
    Reply {
        status: header(&trailers, "grpc-status"),
        message: header(&trailers, "grpc-message"),
        // One byte and a length before the message.
        body: Bytes::copy_from_slice(received.get(5..).unwrap_or_default()),
    }
}
