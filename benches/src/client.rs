//! A gRPC connection that knows no messages: it posts a frame and looks at the reply's status.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request, Uri};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// As in the host: no reply waits for the peer's updates.
const WINDOW: u32 = 16 << 20;
/// What is posted to learn who serves a connection.
const WHO: &str = "/server.Server/GetPID";
/// A frame with an empty message.
const EMPTY: Bytes = Bytes::from_static(&[0; 5]);

/// What is posted, and where to.
#[derive(Clone)]
pub struct Call {
    pub uri: Uri,
    pub frame: Bytes,
    /// The Unix socket to connect to, in place of the URL's address.
    pub socket: Option<PathBuf>,
}

impl Call {
    /// Opens a connection, and serves it in the background.
    async fn connect(&self) -> anyhow::Result<SendRequest<Bytes>> {
        if let Some(path) = &self.socket {
            return begin(UnixStream::connect(path).await?).await;
        }
        let stream = TcpStream::connect(self.address()?).await?;
        stream.set_nodelay(true)?;
        begin(stream).await
    }

    fn address(&self) -> anyhow::Result<SocketAddr> {
        let authority = self.uri.authority().context("the URL has no address")?;
        authority.as_str().parse().context("the URL's host is to be an IP address with a port")
    }

    /// Posts it as soon as the server takes one more call on this connection. The reply, once
    /// awaited, is its data; an error is the server's refusal too.
    pub async fn post(
        &self,
        connection: &mut SendRequest<Bytes>,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<Bytes>> + Send + use<>> {
        let request = Request::post(self.uri.clone())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        futures_util::future::poll_fn(|context| connection.poll_ready(context)).await?;
        let (reply, mut stream) = connection.send_request(request, false)?;
        stream.send_data(self.frame.clone(), true)?;
        Ok(async move {
            let (head, mut body) = reply.await?.into_parts();
            let mut data = Bytes::new();
            while let Some(chunk) = body.data().await {
                let chunk = chunk?;
                body.flow_control().release_capacity(chunk.len())?;
                // One chunk is the rule; what is compared is compared for short replies only.
                data = if data.is_empty() { chunk } else { [data, chunk].concat().into() };
            }
            let trailers = body.trailers().await?;
            served(trailers.as_ref().unwrap_or(&head.headers))?;
            Ok(data)
        })
    }
}

fn served(headers: &HeaderMap) -> anyhow::Result<()> {
    let status = headers.get("grpc-status").context("no status")?;
    ensure!(status == "0", "status {status:?}: {:?}", headers.get("grpc-message"));
    Ok(())
}

async fn begin<S>(stream: S) -> anyhow::Result<SendRequest<Bytes>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(stream)
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Connections that are spread evenly over the server's `homes`: workers, or processes. Where the
/// kernel deals them out it does so by chance; those too many for one home are closed again, as the
/// original's client does.
pub async fn connect_all(
    call: &Call,
    count: usize,
    homes: Option<usize>,
) -> anyhow::Result<Vec<SendRequest<Bytes>>> {
    let authority = call.uri.authority().context("the URL has no address")?;
    let uri = format!("http://{authority}{WHO}").parse()?;
    let who = Call { uri, frame: EMPTY, socket: call.socket.clone() };
    let mut connections = Vec::new();
    let mut seen: Vec<Bytes> = Vec::new();
    for _ in 0..count * 100 {
        let mut connection = call.connect().await?;
        if let Some(homes) = homes {
            let home = who.post(&mut connection).await?.await?;
            if seen.iter().filter(|other| **other == home).count() >= count.div_ceil(homes) {
                continue;
            }
            seen.push(home);
        }
        connections.push(connection);
        if connections.len() == count {
            return Ok(connections);
        }
    }
    bail!("the server does not have {homes:?} workers")
}
