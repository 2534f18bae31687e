//! The layer that every call passes, whichever service answers it: it notes the arrival, answers where
//! the caller's deadline passes first, sees to the text of errors, and counts the calls in flight.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt, future::BoxFuture};
use http::{Request, Response};
use http_body_util::{BodyStream, StreamBody};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, service::Routes};
use tower::Service;

use crate::schedule::WorkerId;

use super::{
    context::Arrived,
    error_text,
    inflate::{self, Encoding},
    peer::PeerCall,
    receive::{self, Inbox},
    reply::{InFlight, ReplyBody},
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
        (Some(InFlight::count(&self.in_flight)), request)
    }
}

/// The layer for the connections of one worker.
#[derive(Clone)]
pub struct CallLayer {
    pub calls: Calls,
    pub worker: WorkerId,
    pub inbox: Arc<Inbox>,
}

/// All services, with the layer around them.
pub struct CallService {
    routes: Routes,
    layer: CallLayer,
}

/// How a call is answered.
pub type Answer = BoxFuture<'static, Result<Response<ReplyBody>, Infallible>>;

impl CallService {
    pub fn new(routes: Routes, layer: CallLayer) -> Self {
        Self { routes, layer }
    }

    pub fn call(&self, request: Request<Body>, peer: PeerCall) -> Answer {
        let CallLayer { calls, worker, inbox } = &self.layer;
        let (in_flight, request) = calls.bind(request);
        let (arrived, request) = Arrived::mark(request, *worker, peer.peer().ip);
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
            Ok(ReplyBody::answer(response, peer, in_flight))
        })
    }
}
