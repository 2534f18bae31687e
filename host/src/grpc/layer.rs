//! The layer that every call passes, whichever service answers it: it notes the arrival, answers where
//! the caller's deadline passes first, and counts the calls in flight.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::Body as HttpBody;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, service::Routes};
use tower::Service;

use crate::schedule::WorkerId;

use super::{
    app::App,
    context::Arrived,
    data_calls::{self, Answered, DataCall},
    inbox::{BoxError, RequestBody},
    inflate::{self, Encoding},
    load::{InFlight, Load, Totals, Traffic},
    peer::PeerCall,
    receive::{self, Inbox},
    reply::ReplyBody,
};

/// The calls of all connections, and how they and the end of the server are bound to each other.
#[derive(Clone, Default)]
pub struct Calls {
    /// Those of each worker.
    workers: Arc<Mutex<Vec<Arc<Traffic>>>>,
    /// Cancelled when the drain begins.
    pub drained: CancellationToken,
}

impl Calls {
    /// The calls of one more worker. `load`: where their answers carry reports.
    pub fn of_worker(&self, load: Option<Arc<Load>>) -> Arc<Traffic> {
        let traffic = Arc::new(Traffic::new(load));
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(traffic.clone());
        traffic
    }

    /// Calls of either protocol, of all workers.
    pub fn totals(&self) -> Totals {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        Totals::of(workers.iter().map(|worker| &**worker))
    }

    /// Binds a call to the end of the server. Calls of either protocol are counted until they are
    /// answered: the drain waits for them. Of the others only reflection's take as long as the caller
    /// likes, so they hear nothing more from it when the drain begins; health ends its watches itself, and so
    /// do load reports.
    fn bind(
        &self,
        traffic: &Arc<Traffic>,
        request: Request<Body>,
    ) -> (Option<InFlight>, Request<Body>) {
        let path = request.uri().path();
        if path.starts_with("/grpc.reflection.") {
            let drained = self.drained.clone().cancelled_owned();
            let ends = |body| StreamBody::new(BodyStream::new(body).take_until(drained));
            return (None, request.map(|body| Body::new(ends(body))));
        }
        if path.starts_with("/grpc.health.") || path.starts_with(ORCA) {
            return (None, request);
        }
        (Some(InFlight::count(traffic)), request)
    }
}

/// The layer for the connections of one worker.
pub struct CallLayer {
    pub calls: Calls,
    pub traffic: Arc<Traffic>,
    pub worker: WorkerId,
    pub inbox: Arc<Inbox>,
    pub app: Arc<App>,
    /// What a caller may send of a call that is not read, in bytes.
    pub window: usize,
}

/// All services, with the layer around them.
#[derive(Clone)]
pub struct CallService {
    routes: Routes,
    layer: Arc<CallLayer>,
}

/// How a call is answered.
pub type Answer = BoxFuture<'static, Result<Response<ReplyBody>, Infallible>>;

impl CallService {
    pub fn new(routes: Routes, layer: Arc<CallLayer>) -> Self {
        Self { routes, layer }
    }

    /// Counts a call that is not one of gRPC's yet, or any more.
    pub fn in_flight(&self) -> InFlight {
        InFlight::count(&self.layer.traffic)
    }

    pub fn call<B>(&self, request: Request<B>, peer: PeerCall) -> Answer
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let layer = self.layer.clone();
        let arrived = Arrived::now(request.headers(), layer.worker, peer.peer().origin);
        let encoding = request.headers().get(receive::ENCODING).map(Encoding::of);
        match DataCall::of(request.uri().path()) {
            // tonic refuses the encoding.
            Some(call) if encoding != Some(Encoding::Unknown) => {
                let (head, body) = request.into_parts();
                Box::pin(layer.answer(call, head.headers, body, arrived, encoding, peer))
            }
            _ => {
                let routes = self.routes.clone();
                let request = request.map(Body::new);
                Box::pin(layer.pass(routes, request, arrived, encoding, peer))
            }
        }
    }
}

impl CallLayer {
    /// Answers a call with data.
    async fn answer<B: RequestBody + Send + 'static>(
        self: Arc<Self>,
        call: DataCall,
        headers: HeaderMap,
        body: B,
        arrived: Arrived,
        encoding: Option<Encoding>,
        peer: PeerCall,
    ) -> Result<Response<ReplyBody>, Infallible> {
        let in_flight = InFlight::count(&self.traffic);
        let (app, inbox, window) = (&self.app, &self.inbox, self.window);
        let request = data_calls::Request { app, inbox, arrived, headers, body, encoding, window };
        // In its place, as it is large.
        let mut answer = pin!(call.answer(request));
        let reply = match arrived.deadline() {
            None => answer.as_mut().await,
            Some(deadline) => timeout_at(deadline.into(), answer.as_mut())
                .await
                .unwrap_or_else(|_| Err(arrived.too_late())),
        };
        let response = match reply {
            Ok(Answered::One(reply)) => ReplyBody::answer(reply, peer, in_flight),
            Ok(Answered::Several(replies)) => ReplyBody::stream(replies, peer, in_flight),
            Err(status) => ReplyBody::of_service(status.into_http(), peer, Some(in_flight)),
        };
        Ok(with_encodings(response, encoding))
    }

    /// Has one of tonic's services answer a call.
    async fn pass(
        self: Arc<Self>,
        mut routes: Routes,
        request: Request<Body>,
        arrived: Arrived,
        encoding: Option<Encoding>,
        peer: PeerCall,
    ) -> Result<Response<ReplyBody>, Infallible> {
        let (in_flight, mut request) = self.calls.bind(&self.traffic, request);
        request.extensions_mut().insert(arrived);
        let is_small = is_small(request.uri().path()) && encoding != Some(Encoding::Unknown);
        let mut answer = pin!(async {
            // What the request takes is charged until it is answered.
            let (request, _charge) = match is_small {
                true => match self.inbox.receive_small(request, encoding).await {
                    Ok((request, charge)) => (request, Some(charge)),
                    Err(refused) => return Ok(refused.into_http()),
                },
                false => (request, None),
            };
            routes.call(request).await
        });
        let response = match arrived.deadline() {
            None => answer.as_mut().await?,
            Some(deadline) => match timeout_at(deadline.into(), answer.as_mut()).await {
                Ok(answer) => answer?,
                Err(_) => arrived.too_late().into_http(),
            },
        };
        Ok(with_encodings(ReplyBody::of_service(response, peer, in_flight), encoding))
    }
}

/// Load reports.
const ORCA: &str = "/xds.service.orca.v3.OpenRcaService/";

/// Whether it is a call of one small message.
fn is_small(path: &str) -> bool {
    ["/server.Server/", "/inference.GRPCInferenceService/", "/grpc.health.v1.Health/", ORCA]
        .iter()
        .any(|service| path.starts_with(service))
}

/// A reply whose headers say which encodings are read.
fn with_encodings(
    mut response: Response<ReplyBody>,
    encoding: Option<Encoding>,
) -> Response<ReplyBody> {
    if encoding.is_some() {
        response.headers_mut().insert(receive::ACCEPT_ENCODING, inflate::ACCEPTED);
    }
    response
}
