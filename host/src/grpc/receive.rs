//! The request half of a call: its message is read, charged and decoded before a service sees the call. The
//! service finds what it asks for among the request's extensions, beside an empty message.

use std::{sync::Arc, thread, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Extensions, HeaderName, Request};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tonic::{Status, body::Body};

use crate::ledger::{Charge, Ledger};

use super::{
    decode::{self, Raw, Received},
    inbox::{self, Bounds},
    inflate::{Encoding, inflate},
    open_inference::Infer,
    original::{Run, RunBatch},
    proto::{
        inference::ModelInferRequest,
        server::{BatchImageArgs, BatchTextArgs, ImageArgs, TextArgs},
    },
};

pub const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// An empty message, in gRPC's frame.
static EMPTY: Bytes = Bytes::from_static(&[0; 5]);

/// Bytes of a message of the calls without data: names, at most.
pub const SMALL_MESSAGE: usize = 64 << 10;

/// What all calls' messages have in common.
pub struct Inbox {
    ledger: Arc<Ledger>,
    /// Of calls with data.
    bounds: Bounds,
    /// Messages that take long, of all workers: as many at once as there are cores.
    long: Arc<Semaphore>,
}

/// What a method's message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Text,
    Image,
    BatchText,
    BatchImage,
    Infer,
    /// Small, and decoded by tonic.
    Other,
}

impl Method {
    /// None where the caller sends several messages, or where there is no such service.
    fn of(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        match (service, method) {
            ("server.Server", "RunText") => Some(Self::Text),
            ("server.Server", "RunImage") => Some(Self::Image),
            ("server.Server", "RunBatchText") => Some(Self::BatchText),
            ("server.Server", "RunBatchImage") => Some(Self::BatchImage),
            ("inference.GRPCInferenceService", "ModelInfer") => Some(Self::Infer),
            ("server.Server" | "inference.GRPCInferenceService" | "grpc.health.v1.Health", _) => {
                Some(Self::Other)
            }
            _ => None,
        }
    }
}

impl Inbox {
    pub fn new(ledger: Arc<Ledger>, max_message: usize, message_timeout: Duration) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let bounds = Bounds { most: max_message, patience: message_timeout };
        Self { ledger, bounds, long: Arc::new(Semaphore::new(cores)) }
    }

    /// The request as a service takes it, and the charge for what it has become.
    pub async fn receive(
        &self,
        request: Request<Body>,
    ) -> Result<(Request<Body>, Option<Charge>), Status> {
        let Some(method) = Method::of(request.uri().path()) else {
            return Ok((request, None));
        };
        let (mut head, body) = request.into_parts();
        let encoding = match head.headers.get(ENCODING) {
            None => None,
            Some(name) if name == "identity" => None,
            Some(name) => match Encoding::of(name) {
                Some(encoding) => Some(encoding),
                // tonic refuses it.
                None => return Ok((Request::from_parts(head, body), None)),
            },
        };
        let most = match method {
            Method::Other => self.bounds.most.min(SMALL_MESSAGE),
            _ => self.bounds.most,
        };
        let bounds = Bounds { most, ..self.bounds };
        let arrival = inbox::read(body, bounds, &self.ledger).await?;
        let received = match (arrival.compressed, encoding) {
            (false, _) => arrival.received,
            (true, Some(encoding)) => {
                inflate(arrival.received, encoding, most, &self.ledger, &self.long).await?
            }
            // gRPC wants this status.
            (true, None) => {
                return Err(Status::internal(
                    "the message is compressed, but grpc-encoding does not say how",
                ));
            }
        };
        head.headers.remove(ENCODING);
        let extensions = &mut head.extensions;
        let charge = match method {
            Method::Text => self.hand_over::<TextArgs, Run>(received, extensions).await?,
            Method::Image => self.hand_over::<ImageArgs, Run>(received, extensions).await?,
            Method::BatchText => {
                self.hand_over::<BatchTextArgs, RunBatch>(received, extensions).await?
            }
            Method::BatchImage => {
                self.hand_over::<BatchImageArgs, RunBatch>(received, extensions).await?
            }
            Method::Infer => {
                self.hand_over::<ModelInferRequest, Infer>(received, extensions).await?
            }
            Method::Other => {
                let Received { raw, charge } = received;
                let body = Body::new(Full::new(framed(&raw)));
                return Ok((Request::from_parts(head, body), Some(charge)));
            }
        };
        let body = Body::new(Full::new(EMPTY.clone()));
        Ok((Request::from_parts(head, body), Some(charge)))
    }

    async fn hand_over<M, R>(
        &self,
        received: Received,
        extensions: &mut Extensions,
    ) -> Result<Charge, Status>
    where
        M: decode::Request,
        R: From<M> + Clone + Send + Sync + 'static,
    {
        let decoded = decode::decode::<M, R>(received, &self.ledger, &self.long).await;
        let (request, charge) = decoded?;
        extensions.insert(request);
        Ok(charge)
    }
}

/// A message in gRPC's frame.
fn framed(raw: &Raw) -> Bytes {
    let message = raw.bytes();
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    // It has the length of one that came in such a frame.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// What the inbox has made of a request's message; where it has passed none, as in tests without it, what
/// tonic has.
pub fn taken<M, R>(request: tonic::Request<M>) -> R
where
    R: From<M> + Clone + Send + Sync + 'static,
{
    let (_, mut extensions, message) = request.into_parts();
    extensions.remove().unwrap_or_else(|| message.into())
}
