//! The layer that every call passes, whichever service answers it: it notes the arrival, answers where
//! the caller's deadline passes first, sees to the text of errors, and counts the calls in flight.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture};
use http::{Request, Response};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, service::Routes};
use tower::{Layer, Service};

use crate::schedule::WorkerId;

use super::{
    context::Arrived,
    error_text,
    inflate::{self, Encoding},
    receive::{self, Inbox},
};

/// The calls of all connections, and how they and the end of the server are bound to each other.
#[derive(Clone, Default)]
pub struct Calls {
    in_flight: Arc<AtomicUsize>,
    /// Cancelled when the drain begins.
    pub drained: CancellationToken,
}

impl Calls {
    /// Calls of either protocol that have not been answered to their end.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Binds a call to the end of the server. Calls of either protocol are counted until they are
    /// answered: the drain waits for them. Of the others only reflection's take as long as the caller
    /// likes, so they hear nothing more from it when the drain begins; health ends its watches itself.
    fn bind(&self, request: Request<Body>) -> (Option<InFlight>, Request<Body>) {
        let path = request.uri().path();
        if path.starts_with("/grpc.reflection.") {
            let drained = self.drained.clone().cancelled_owned();
            let ends = |body| StreamBody::new(BodyStream::new(body).take_until(drained));
            return (None, request.map(|body| Body::new(ends(body))));
        }
        if path.starts_with("/grpc.health.") {
            return (None, request);
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        (Some(InFlight(self.in_flight.clone())), request)
    }
}

/// The layer for the connections of one worker.
#[derive(Clone)]
pub struct CallLayer {
    pub calls: Calls,
    pub worker: WorkerId,
    pub inbox: Arc<Inbox>,
}

impl Layer<Routes> for CallLayer {
    type Service = CallService;

    fn layer(&self, routes: Routes) -> CallService {
        CallService { routes, layer: self.clone() }
    }
}

/// All services, with the layer around them.
#[derive(Clone)]
pub struct CallService {
    routes: Routes,
    layer: CallLayer,
}

impl Service<Request<Body>> for CallService {
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let CallLayer { calls, worker, inbox } = &self.layer;
        let (in_flight, request) = calls.bind(request);
        let (arrived, request) = Arrived::mark(request, *worker);
        let (inbox, mut routes) = (inbox.clone(), self.routes.clone());
        Box::pin(async move {
            let encoding = request.headers().get(receive::ENCODING).map(Encoding::of);
            // In its place, as it is large.
            let mut answer = pin!(async {
                match inbox.receive(request, encoding).await {
                    // What the request has become is charged until it is answered.
                    Ok((request, _charge)) => routes.call(request).await,
                    Err(refused) => Ok(refused.into_http()),
                }
            });
            let mut response = match arrived.deadline() {
                None => answer.as_mut().await?,
                Some(deadline) => match timeout_at(deadline.into(), answer.as_mut()).await {
                    Ok(answer) => answer?,
                    Err(_) => arrived.too_late().into_http(),
                },
            };
            if encoding.is_some() {
                response.headers_mut().insert(receive::ACCEPT_ENCODING, inflate::ACCEPTED);
            }
            error_text::fit(response.headers_mut());
            Ok(response.map(|body| ReplyBody { body, _in_flight: in_flight }))
        })
    }
}

/// One call of those in flight.
struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reply's messages, and its trailers with a text that fits.
pub struct ReplyBody {
    body: Body,
    _in_flight: Option<InFlight>,
}

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                error_text::fit(trailers);
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
