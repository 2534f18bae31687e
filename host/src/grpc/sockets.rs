//! Addresses to listen on, and connections on their way to their home workers.

use std::{
    io,
    net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix,
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    sync::mpsc::UnboundedSender,
};
use tokio_rustls::server::TlsStream;
use tokio_util::{either::Either, sync::CancellationToken};

use crate::schedule::Workers;

use super::{
    connections::{Bounds, Connections, Place},
    origin::Origin,
    unix_socket::UnixSocket,
};

/// Connections that the kernel keeps until they are accepted.
pub(super) const BACKLOG: i32 = 1024;

/// What the kernel takes as a time of its keepalive, and as one for what is not acknowledged.
const LONGEST: Duration = Duration::from_secs(32767);
const MOST_LOST: Duration = Duration::from_secs(24 * 3600);

/// An address that cannot be listened on, in words that say what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BindError(String);

impl BindError {
    pub(super) fn new(message: String) -> Self {
        Self(message)
    }
}

/// Where calls are taken.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    /// For curl and browsers.
    Web(TcpListener),
    Unix(UnixSocket),
}

impl Listener {
    /// Where callers go.
    pub fn url(&self, tls: bool) -> Option<String> {
        let s = if tls { "s" } else { "" };
        match self {
            Self::Tcp(listener) => Some(format!("grpc{s}://{}", listener.local_addr().ok()?)),
            Self::Web(listener) => Some(format!("http{s}://{}", listener.local_addr().ok()?)),
            Self::Unix(socket) => Some(socket.url()),
        }
    }

    async fn accept(&self) -> io::Result<(Plain, Origin)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Either::Left(stream), address.ip().into()))
            }
            Self::Web(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Either::Left(stream), Origin::Web(address.ip())))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                Ok((Either::Right(stream), Origin::UnixSocket))
            }
        }
    }
}

/// A connection, as the kernel has it.
pub type Plain = Either<TcpStream, UnixStream>;

/// A connection's bytes.
pub type Stream = Either<Plain, Box<TlsStream<TcpStream>>>;

/// The same on its way to its worker, which has a runtime of its own.
pub struct Moving(Either<net::TcpStream, unix::net::UnixStream>);

impl Moving {
    fn begins(stream: Plain) -> io::Result<Self> {
        Ok(Self(match stream {
            Either::Left(stream) => {
                // Without this, small replies wait for the peer's acknowledgements.
                stream.set_nodelay(true)?;
                Either::Left(stream.into_std()?)
            }
            Either::Right(stream) => Either::Right(stream.into_std()?),
        }))
    }

    pub fn ends(self) -> io::Result<Plain> {
        Ok(match self.0 {
            Either::Left(stream) => Either::Left(TcpStream::from_std(stream)?),
            Either::Right(stream) => Either::Right(UnixStream::from_std(stream)?),
        })
    }
}

/// Listens on `hosts`, or on this machine's own addresses of both families where there are none.
/// Port 0 takes a free port, the same for all. `setting` is the flag that chooses another one.
pub fn bind(hosts: &[IpAddr], port: u16, setting: &str) -> Result<Vec<TcpListener>, BindError> {
    const LOCAL: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let chosen = if hosts.is_empty() { &LOCAL } else { hosts };
    let mut port = port;
    let mut listeners: Vec<TcpListener> = Vec::new();
    for ip in chosen {
        let alone = chosen.len() == 1;
        match listen(SocketAddr::new(*ip, port), alone) {
            Ok(listener) => {
                port = listener.local_addr().map_or(port, |a| a.port());
                listeners.push(listener);
            }
            // Machines without IPv6 are many; nobody asked for it by name.
            Err(e) if hosts.is_empty() && !listeners.is_empty() && !taken(&e) => {
                tracing::debug!("not listening on {ip}: {e}");
            }
            Err(e) if taken(&e) => {
                return Err(BindError(format!(
                    "port {port} of {ip} is taken: stop the program that has it, or choose another \
                     port with {setting}"
                )));
            }
            Err(e) => {
                return Err(BindError(format!("cannot listen on {ip} port {port}: {e}")));
            }
        }
    }
    Ok(listeners)
}

fn taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn listen(address: SocketAddr, alone: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A server that was just stopped leaves connections behind that would keep the port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `--host ::` alone takes both families; beside 0.0.0.0 it must leave IPv4 to it.
        socket.set_only_v6(!alone)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// A connection that was accepted.
pub struct Accepted {
    pub stream: Moving,
    pub origin: Origin,
    pub place: Place,
}

/// Accepts on all listeners until `stop` and hands connections to their homes in turn; closes the
/// listeners before it ends.
pub async fn accept(
    listeners: Vec<Listener>,
    connections: &Arc<Connections>,
    workers: &Workers,
    homes: Vec<UnboundedSender<Accepted>>,
    stop: &CancellationToken,
) {
    let each =
        listeners.into_iter().map(|listener| accept_on(listener, connections, workers, &homes));
    tokio::select! {
        () = stop.cancelled() => {}
        _ = futures_util::future::join_all(each) => {}
    }
}

async fn accept_on(
    listener: Listener,
    connections: &Arc<Connections>,
    workers: &Workers,
    homes: &[UnboundedSender<Accepted>],
) {
    if let Listener::Tcp(listener) | Listener::Web(listener) = &listener
        && let Err(e) = keep_alive(listener, &connections.bounds)
    {
        tracing::warn!("connections whose callers vanish are found late: {e}");
    }
    loop {
        let (stream, origin) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of file descriptors, mostly: others must close first.
                tracing::warn!("a connection was not accepted: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let place = match connections.admit(origin) {
            Ok(place) => place,
            Err(end) => {
                connections.refuse(end, origin);
                continue;
            }
        };
        match Moving::begins(stream) {
            Ok(stream) => {
                let accepted = Accepted { stream, origin, place };
                // The receiver is there until the listeners are closed.
                let _ = homes[workers.next_home().0].send(accepted);
            }
            Err(e) => tracing::debug!("a connection ended as it was accepted: {e}"),
        }
    }
}

/// Has the kernel end connections whose other end is gone, also while nothing, or not all, of what was sent
/// is taken there. What is set for a listener is so for its connections.
fn keep_alive(listener: &TcpListener, bounds: &Bounds) -> io::Result<()> {
    const PROBES: u32 = 4;
    // The kernel counts in seconds.
    let second = Duration::from_secs(1);
    let Bounds { keepalive, keepalive_answer, .. } = *bounds;
    let probes = TcpKeepalive::new()
        .with_time(keepalive.clamp(second, LONGEST))
        .with_interval((keepalive_answer / PROBES).clamp(second, LONGEST))
        .with_retries(PROBES);
    let socket = SockRef::from(listener);
    socket.set_tcp_keepalive(&probes)?;
    let lost = keepalive.saturating_add(keepalive_answer).clamp(second, MOST_LOST);
    socket.set_tcp_user_timeout(Some(lost))
}
