//! One connection's task: HTTP/2 on it, its calls, and its end, which may be one of its bounds.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{Ready, ready},
};
use http::{Request, Response};
use hyper::{
    body::{Body as HttpBody, Incoming},
    rt::Executor,
    server::conn::http2::Builder,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, time::sleep_until};
use tokio_rustls::server::TlsStream;
use tokio_util::{either::Either, sync::CancellationToken};

use super::{
    connection::Connection,
    connections::{Bounds, Connections, End, Place},
    inbox::BoxError,
    layer::{Answer, CallService},
    load::InFlight,
    origin::Origin,
    peer::{Arriving, Peer},
    reply::{self, ReplyBody},
    sockets::{Accepted, Plain, Stream},
    tls::{Inside, Tls},
    web::{self, Web},
};

/// The largest HTTP/2 frame that callers may send. Those that do, as gRPC's own libraries, save most of
/// the system calls of a large message.
const FRAME: u32 = 256 << 10;
/// A call's headers: 64 KiB of metadata, and as much again for what HTTP/2 counts beside it, 32 bytes a
/// field.
const HEADERS: u32 = 128 << 10;
/// What a connection's callers may send ahead, together.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// How long a connection that is told to end may take.
const GRACE: Duration = Duration::from_secs(5);

/// What the connections of one worker share.
pub struct Server {
    http2: Builder<Calls>,
    calls: CallService,
    connections: Arc<Connections>,
    /// On connections by TCP.
    tls: Option<Arc<Tls>>,
    /// Where there is an address for curl and browsers.
    web: Option<Arc<Web>>,
    drained: CancellationToken,
}

/// What TLS takes for a connection: a record each way, and its keys.
const TLS: usize = 48 << 10;

impl Server {
    /// `window`: bytes of a call that may be under way.
    pub fn new(
        calls: CallService,
        connections: Arc<Connections>,
        tls: Option<Arc<Tls>>,
        web: Option<Arc<Web>>,
        drained: CancellationToken,
        window: u32,
    ) -> Self {
        let Bounds { streams, keepalive, keepalive_answer, .. } = connections.bounds;
        let mut http2 = Builder::new(Calls(connections.clone()));
        http2
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(window.max(CONNECTION_WINDOW))
            .max_frame_size(FRAME)
            .max_header_list_size(HEADERS)
            .max_concurrent_streams(streams)
            // All calls of a connection may be cancelled at once, by a proxy whose callers leave, and
            // once more before the server has seen that; how many are cancelled in a while is metered.
            .max_pending_accept_reset_streams(2 * streams as usize)
            .keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive_answer);
        Self { http2, calls, connections, tls, web, drained }
    }

    /// Serves a connection until its end.
    pub fn serve(&self, accepted: Accepted) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let Accepted { stream, origin, place } = accepted;
        let (connections, drained) = (self.connections.clone(), self.drained.clone());
        let opened = Opened { place, origin, connections, drained };
        let (stream, tls) = (stream.ends()?, self.tls.clone());
        let (http2, calls) = (self.http2.clone(), self.calls.clone());
        let begin = move |stream, peer: Arc<Peer>| {
            let service = PeerCalls { calls, peer: peer.clone() };
            let io = TokioIo::new(Connection::new(stream, peer));
            // It is large, and would be in the task once for each place that it passes.
            Box::pin(http2.serve_connection(io, service))
        };
        // Those that are boxed are larger than the others.
        let web = self.web.clone().filter(|_| matches!(origin, Origin::Web(_)));
        Ok(match (stream, tls, web) {
            (stream, tls, Some(web)) => {
                let calls = self.calls.clone();
                Either::Left(opened.serve_web(stream, tls, web, calls).boxed())
            }
            (Either::Left(tcp), Some(tls), None) => {
                Either::Left(opened.serve_tls(tcp, tls, begin).boxed())
            }
            (stream, _, None) => Either::Right(async move {
                let peer = opened.peer();
                let connection = begin(Either::Left(stream), peer.clone());
                let end = run(connection, &peer, &opened.drained).await;
                peer.connections.count(end);
            }),
        })
    }
}

/// A connection that is to be served.
struct Opened {
    place: Place,
    origin: Origin,
    connections: Arc<Connections>,
    drained: CancellationToken,
}

impl Opened {
    fn peer(&self) -> Arc<Peer> {
        Peer::new(self.connections.clone(), self.origin)
    }

    /// Serves it with TLS.
    async fn serve_tls(
        mut self,
        tcp: TcpStream,
        tls: Arc<Tls>,
        begin: impl FnOnce(Stream, Arc<Peer>) -> Pin<Box<Http2>>,
    ) {
        let end = match self.place.takes(TLS) {
            Err(end) => end,
            Ok(()) => {
                let serve = async |stream| {
                    let peer = self.peer();
                    let connection = begin(Either::Right(Box::new(stream)), peer.clone());
                    run(connection, &peer, &self.drained).await
                };
                self.within_tls(tcp, &tls, Inside::Http2, serve).await
            }
        };
        self.connections.count(end);
    }

    /// Serves curl or a browser.
    async fn serve_web(
        mut self,
        stream: Plain,
        tls: Option<Arc<Tls>>,
        web: Arc<Web>,
        calls: CallService,
    ) {
        let more = if tls.is_some() { web::OPEN + TLS } else { web::OPEN };
        let calls = PeerCalls { calls, peer: self.peer() };
        let end = match (self.place.takes(more), stream, tls) {
            (Err(end), ..) => end,
            (Ok(()), Either::Left(tcp), Some(tls)) => {
                let serve = async |stream| web.serve(stream, calls, &self.drained).await;
                self.within_tls(tcp, &tls, Inside::Http1, serve).await
            }
            (Ok(()), stream, _) => web.serve(stream, calls, &self.drained).await,
        };
        self.connections.count(end);
    }

    /// Shakes hands, serves what is inside, and ends it when the caller's certificate is no longer let in.
    async fn within_tls(
        &self,
        tcp: TcpStream,
        tls: &Tls,
        inside: Inside,
        serve: impl AsyncFnOnce(TlsStream<TcpStream>) -> End,
    ) -> End {
        let handshake = self.connections.bounds.handshake;
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(handshake, tls.accept(tcp, inside)) => shaken,
            () = self.drained.cancelled() => return End::Drained,
        };
        let (stream, certificate) = match shaken {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(e)) => {
                tracing::debug!("{} did not shake hands: {e}", self.origin);
                return End::Handshake;
            }
            Err(_) => return End::Slow,
        };
        let served = serve(stream);
        match &certificate {
            None => served.await,
            Some(certificate) => tokio::select! {
                end = served => end,
                () = tls.revoked(certificate) => End::Revoked,
            },
        }
    }
}

type Http2 = hyper::server::conn::http2::Connection<TokioIo<Connection>, PeerCalls, Calls>;

/// Runs a connection until its end.
async fn run(mut connection: Pin<Box<Http2>>, peer: &Peer, drained: &CancellationToken) -> End {
    let mut drained = pin!(drained.cancelled());
    // The first poll registers it; later it is polled only when it has happened.
    let mut registered = false;
    let mut clock = Clock::new(peer);
    let mut timer = pin!(sleep_until(clock.next.into()));
    poll_fn(|context| {
        peer.runs();
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(context) {
                return Poll::Ready(peer.end().unwrap_or_else(|| clock.end_of(result)));
            }
            let draining = !registered || peer.connections.draining.load(Ordering::Acquire);
            if clock.closing.is_none() && draining {
                registered = true;
                if drained.as_mut().poll(context).is_ready() {
                    if !peer.has_begun() {
                        // It would be waited for.
                        return Poll::Ready(End::Drained);
                    }
                    clock.closes(End::Drained, Instant::now());
                    timer.as_mut().reset(clock.next.into());
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
            }
            let rings = timer.as_mut().poll(context).is_ready();
            if !rings && (clock.soon || !peer.is_watched()) {
                return Poll::Pending;
            }
            match clock.look(Instant::now(), peer) {
                Verdict::Stays => {}
                Verdict::Goes => connection.as_mut().graceful_shutdown(),
                Verdict::Ends(end) => return Poll::Ready(end),
            }
            timer.as_mut().reset(clock.next.into());
        }
    })
    .await
}

/// What becomes of a connection.
enum Verdict {
    Stays,
    /// Its caller is told to go.
    Goes,
    Ends(End),
}

/// The times that a connection is held to.
struct Clock {
    /// When they are looked at next.
    next: Instant,
    /// That is for something that is under way.
    soon: bool,
    /// When the parts of replies that are under way begin another turn.
    turn: Option<Instant>,
    /// It has been told to end, for this reason, and must until then if it has no calls.
    closing: Option<(End, Instant)>,
}

impl Clock {
    fn new(peer: &Peer) -> Self {
        let mut clock = Self { next: Instant::now(), soon: false, turn: None, closing: None };
        clock.look(clock.next, peer);
        clock
    }

    /// Looks at all of them, and when to look again.
    fn look(&mut self, now: Instant, peer: &Peer) -> Verdict {
        let Bounds { handshake, frame, idle, reply, .. } = peer.connections.bounds;
        let arrives_by = match peer.arriving() {
            Arriving::Nothing => None,
            Arriving::Headers(since) => Some(since + handshake),
            Arriving::Frame(since) => Some(since + frame),
        };
        if arrives_by.is_some_and(|by| by <= now) {
            return Verdict::Ends(End::Slow);
        }
        if !peer.is_sending() {
            self.turn = None;
        } else {
            // Longer than a reply's own time, which resets its stream alone.
            let turn = reply + reply / 4;
            let at = self.turn.get_or_insert(now + turn);
            if *at <= now {
                *at = now + turn;
                if peer.next_turn() {
                    return Verdict::Ends(End::Untaken);
                }
            }
        }
        let mut verdict = Verdict::Stays;
        let idle_by = match self.closing {
            None if peer.calls() > 0 => now + idle,
            None => {
                let by = peer.idle_since() + idle;
                if by <= now {
                    verdict = Verdict::Goes;
                    self.closes(End::Idle, now)
                } else {
                    by
                }
            }
            Some((_, by)) if by > now => by,
            Some((end, _)) if peer.calls() == 0 => return Verdict::Ends(end),
            // Its calls are answered first.
            Some((end, _)) => self.closes(end, now),
        };
        let soonest = [arrives_by, self.turn].into_iter().flatten().min();
        self.soon = soonest.is_some();
        self.next = soonest.map_or(idle_by, |soonest| soonest.min(idle_by));
        verdict
    }

    /// It is told to end. Gives the time that it has.
    fn closes(&mut self, end: End, now: Instant) -> Instant {
        let by = now + GRACE;
        self.closing = Some((end, by));
        self.next = self.next.min(by);
        by
    }

    /// How a connection ended that HTTP/2 is done with.
    fn end_of(&self, result: hyper::Result<()>) -> End {
        match (result, self.closing) {
            (Err(e), _) if e.is_timeout() => End::Silent,
            (Err(e), _) if is_flood(&e) => End::Flood,
            (_, Some((end, _))) => end,
            (_, None) => End::Caller,
        }
    }
}

/// Whether the library ended the connection because of what its caller sent too much of.
fn is_flood(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let reason = source.and_then(|e| e.downcast_ref::<h2::Error>()?.reason());
    reason == Some(h2::Reason::ENHANCE_YOUR_CALM)
}

/// Starts calls' tasks.
#[derive(Clone)]
pub struct Calls(Arc<Connections>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Calls {
    fn execute(&self, call: F) {
        // Boxed: it is large, and would be moved several times.
        tokio::spawn(reply::watch(Box::pin(call), self.0.clone()));
    }
}

/// All services, as a connection has them.
#[derive(Clone)]
pub struct PeerCalls {
    calls: CallService,
    peer: Arc<Peer>,
}

/// A call's answer, or that it was not let in.
type Admitted =
    futures_util::future::Either<Answer, Ready<Result<Response<ReplyBody>, Infallible>>>;

impl PeerCalls {
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Counts a call that is not one of gRPC's yet, or any more.
    pub fn in_flight(&self) -> InFlight {
        self.calls.in_flight()
    }

    pub fn call<B>(&self, request: Request<B>) -> Admitted
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let mut call = self.peer.call();
        match call.admit(request.uri().path(), request.headers()) {
            Ok(()) => futures_util::future::Either::Left(self.calls.call(request, call)),
            Err(status) => {
                let refused = ReplyBody::of_service(status.into_http(), call, None);
                futures_util::future::Either::Right(ready(Ok(refused)))
            }
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for PeerCalls {
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Admitted;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Self::call(self, request)
    }
}
