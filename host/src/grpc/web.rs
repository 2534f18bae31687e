//! The listener for curl and browsers: HTTP/1.1 with JSON (`connect`) and gRPC-Web, to the same calls. Pages
//! may call where the operator names their origin.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{self, CONTENT_TYPE, ORIGIN},
};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tonic_web::GrpcWebLayer;
use tower::{Layer, ServiceExt, service_fn as tower_service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use super::{
    connect::{Connect, Form, Refusal},
    connection::Linger,
    connections::End,
    inbox,
    peer::Peer,
    serve::PeerCalls,
};

/// What of a request's headers is kept: as much as they may be.
const HEADERS: usize = 64 << 10;
/// What a connection takes beside what each takes: that buffer, and one for replies.
pub const OPEN: usize = 3 * HEADERS;
/// The types of gRPC-Web's requests.
const GRPC_WEB: [&[u8]; 4] = [
    b"application/grpc-web",
    b"application/grpc-web+proto",
    b"application/grpc-web-text",
    b"application/grpc-web-text+proto",
];
/// How long browsers may remember what a page may do.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Web pages that may call.
#[derive(Clone, Debug, Default)]
pub enum Origins {
    /// None.
    #[default]
    Nobody,
    /// Of these origins.
    Some(Arc<[HeaderValue]>),
    Anybody,
}

impl<'a> FromIterator<&'a str> for Origins {
    /// As the operator writes them: `*` is anybody.
    fn from_iter<T: IntoIterator<Item = &'a str>>(origins: T) -> Self {
        let mut some = Vec::new();
        for origin in origins {
            match HeaderValue::from_str(origin) {
                Ok(any) if any == "*" => return Self::Anybody,
                Ok(one) => some.push(one),
                // No browser could say it.
                Err(_) => {}
            }
        }
        if some.is_empty() { Self::Nobody } else { Self::Some(some.into()) }
    }
}

impl Origins {
    fn lets_in(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Nobody => false,
            Self::Some(origins) => origins.contains(origin),
            Self::Anybody => true,
        }
    }

    /// What pages are told; None where there are none.
    fn layer(&self) -> Option<CorsLayer> {
        let exposed = ["grpc-status", "grpc-message", "grpc-status-details-bin", "tms-batch-size"]
            .map(HeaderName::from_static);
        let layer = CorsLayer::new()
            .allow_methods([Method::POST])
            // Metadata has any name.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(exposed)
            .max_age(REMEMBERED);
        match self {
            Self::Nobody => None,
            Self::Some(origins) => {
                Some(layer.allow_origin(AllowOrigin::list(origins.iter().cloned())))
            }
            Self::Anybody => Some(layer.allow_origin(Any)),
        }
    }
}

/// What all connections share.
pub struct Web {
    connect: Connect,
    origins: Origins,
    /// What pages are told; None where there are none.
    cors: Option<CorsLayer>,
}

impl Web {
    pub fn new(connect: Connect, origins: Origins) -> Self {
        let cors = origins.layer();
        Self { connect, origins, cors }
    }

    /// Serves a connection until its end.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
        self: Arc<Self>,
        stream: S,
        calls: PeerCalls,
        drained: &CancellationToken,
    ) -> End {
        let peer = calls.peer().clone();
        let bounds = peer.connections.bounds;
        let busy = Arc::<Underway>::default();
        let answer = {
            let busy = busy.clone();
            service_fn(move |request| {
                let (web, calls, busy) = (self.clone(), calls.clone(), busy.clone());
                async move {
                    // Those that follow each other on one connection leave others their turn.
                    tokio::task::yield_now().await;
                    let response = web.answer(calls, request).await;
                    Ok::<_, Infallible>(response.map(|body| Busy { body, _busy: busy }))
                }
            })
        };
        let io = TokioIo::new(Patient::new(stream, bounds.reply, peer.clone(), busy.clone()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // It counts between two requests, too.
            .header_read_timeout(bounds.handshake)
            .max_buf_size(HEADERS)
            .serve_connection(io, answer);
        let mut connection = Box::pin(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = drained.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    _ = connection => {}
                    // A request that has not come is not waited for.
                    () = idle(&busy) => {}
                }
                return End::Drained;
            }
        };
        match result {
            Ok(()) => peer.end().unwrap_or(End::Caller),
            Err(e) if e.is_timeout() => End::Slow,
            Err(_) => peer.end().unwrap_or(End::Caller),
        }
    }

    async fn answer(
        self: Arc<Self>,
        calls: PeerCalls,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let headers = request.headers();
        if request.version() == Version::HTTP_11 && !headers.contains_key(header::HOST) {
            let text = "a request of HTTP/1.1 names the host";
            return Refusal::from(Status::invalid_argument(text)).response();
        }
        if !headers.get_all(ORIGIN).iter().all(|origin| self.origins.lets_in(origin)) {
            let text =
                "this page's origin may not call here: the operator names those that may (cors)";
            inbox::discard(request.into_body()).await;
            return Refusal::from(Status::permission_denied(text)).response();
        }
        let Some(layer) = self.cors.clone() else { return self.called(calls, request).await };
        let inner = tower_service_fn(move |request| {
            let (web, calls) = (self.clone(), calls.clone());
            async move { Ok::<_, Infallible>(web.called(calls, request).await) }
        });
        let Ok(response) = layer.layer(inner).oneshot(request).await;
        response
    }

    async fn called(&self, calls: PeerCalls, request: Request<Incoming>) -> Response<Body> {
        let kind = request.headers().get(CONTENT_TYPE);
        if kind.is_some_and(|kind| GRPC_WEB.contains(&kind.as_bytes())) {
            let inner = tower_service_fn(move |request| {
                let calls = calls.clone();
                async move { calls.call::<Body>(request).await }
            });
            let Ok(response) = GrpcWebLayer::new().layer(inner).oneshot(request).await;
            return response;
        }
        let is_post = request.method() == Method::POST;
        let refused = match Form::of(kind).filter(|_| is_post) {
            Some(form) => {
                let answered = self.connect.answer(&calls, form, request).await;
                return answered.unwrap_or_else(|refused| refused.response());
            }
            None if is_post => {
                let text = "the content-type may be application/json, application/proto or \
                            application/grpc-web";
                Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Status::unimplemented(text))
                    .response()
            }
            None => {
                let text = "calls are made by POST /package.Service/Method, such as \
                            POST /server.Server/RunText with {\"model\": \"…\", \"text\": \"…\"}";
                let mut response =
                    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Status::unimplemented(text))
                        .response();
                let allowed = HeaderValue::from_static("POST, OPTIONS");
                response.headers_mut().insert(header::ALLOW, allowed);
                response
            }
        };
        inbox::discard(request.into_body()).await;
        refused
    }
}

/// What a connection has under way. Each request that is answered has it, and each answer.
#[derive(Default)]
struct Underway {
    /// The socket takes nothing more for now.
    full: AtomicBool,
}

/// Until nothing is answered, and no answer is on its way; for a little longer, as its end may still be in a
/// buffer.
async fn idle(busy: &Arc<Underway>) {
    const LOOK: Duration = Duration::from_millis(50);
    /// Who serves the connection, its service and its bytes.
    const NOBODY: usize = 3;
    let mut looks = 0;
    while looks < 2 {
        sleep(LOOK).await;
        let is_idle = Arc::strong_count(busy) == NOBODY && !busy.full.load(Ordering::Relaxed);
        looks = if is_idle { looks + 1 } else { 0 };
    }
}

/// An answer on its way.
struct Busy {
    body: Body,
    _busy: Arc<Underway>,
}

impl HttpBody for Busy {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection's bytes, whose caller must take what is sent, and loses nothing of it at the end.
struct Patient<S> {
    stream: S,
    linger: Linger,
    /// How long it may take nothing.
    patience: Duration,
    /// From the moment on that the socket has taken nothing more.
    waits: Option<Pin<Box<Sleep>>>,
    peer: Arc<Peer>,
    underway: Arc<Underway>,
}

impl<S> Patient<S> {
    fn new(stream: S, patience: Duration, peer: Arc<Peer>, underway: Arc<Underway>) -> Self {
        Self { stream, linger: Linger::default(), patience, waits: None, peer, underway }
    }

    /// What became of something to write.
    fn wrote<T>(
        &mut self,
        wrote: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        self.underway.full.store(wrote.is_pending(), Ordering::Relaxed);
        if wrote.is_ready() {
            self.waits = None;
            return wrote;
        }
        let patience = self.patience;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waits.as_mut().poll(context));
        waits.as_mut().reset(Instant::now() + patience);
        self.peer.ends(End::Untaken);
        self.peer.connections.count_untaken();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(wrote, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.wrote(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.linger.poll_shutdown(&mut this.stream, context)
    }
}
