//! The request half of a call: its message is read, charged and decoded before a service sees the call. The
//! service finds what it asks for among the request's extensions, beside an empty message.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Extensions, HeaderName, Request};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tonic::{Status, body::Body};

use crate::ledger::{Account, Charge, Ledger, Room};

use super::{
    context::Marked,
    decode::{self, Raw},
    inbox::{self, Bounds},
    inflate::{Encoding, inflate},
    open_inference::Infer,
    original::{Run, RunBatch},
    proto::{
        inference::ModelInferRequest,
        server::{BatchImageArgs, BatchTextArgs, ImageArgs, TextArgs},
    },
    status,
};

pub const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// An empty message, in gRPC's frame.
static EMPTY: Bytes = Bytes::from_static(&[0; 5]);

/// Bytes of a message of the calls without data: names, at most.
pub const SMALL_MESSAGE: usize = 64 << 10;

/// What the messages of a worker's calls have in common.
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
    pub fn new(ledger: Arc<Ledger>, bounds: Bounds, long: Arc<Semaphore>) -> Self {
        Self { ledger, bounds, long }
    }

    /// The request as a service takes it, and the charge for what it has become.
    pub async fn receive(
        &self,
        request: Request<Body>,
        encoding: Option<Encoding>,
    ) -> Result<(Request<Body>, Option<Charge>), Status> {
        let method = match Method::of(request.uri().path()) {
            // tonic refuses the encoding.
            Some(method) if encoding != Some(Encoding::Unknown) => method,
            _ => return Ok((request, None)),
        };
        let (mut head, body) = request.into_parts();
        let most = match method {
            Method::Other => self.bounds.most.min(SMALL_MESSAGE),
            _ => self.bounds.most,
        };
        let bounds = Bounds { most, ..self.bounds };
        let arrival = inbox::read(body, bounds, &self.ledger).await?;
        let raw = match (arrival.compressed, encoding) {
            (false, _) => arrival.raw,
            (true, Some(encoding @ (Encoding::Gzip | Encoding::Deflate))) => {
                let raw = arrival.raw;
                Box::pin(inflate(raw, encoding, most, &self.ledger, &self.long)).await?
            }
            // gRPC wants this status.
            (true, _) => {
                return Err(Status::internal(
                    "the message is compressed, but grpc-encoding does not say how",
                ));
            }
        };
        if encoding.is_some() {
            head.headers.remove(ENCODING);
        }
        let extensions = &mut head.extensions;
        let charge = match method {
            Method::Text => self.hand_over::<TextArgs, Run>(raw, extensions).await?,
            Method::Image => self.hand_over::<ImageArgs, Run>(raw, extensions).await?,
            Method::BatchText => self.hand_over::<BatchTextArgs, RunBatch>(raw, extensions).await?,
            Method::BatchImage => {
                self.hand_over::<BatchImageArgs, RunBatch>(raw, extensions).await?
            }
            Method::Infer => self.hand_over::<ModelInferRequest, Infer>(raw, extensions).await?,
            Method::Other => {
                let bytes = raw.bytes().len() + decode::CALL;
                let charge = self.ledger.charge(Account::Inputs, bytes, Room::New);
                let charge = charge.map_err(status::no_room)?;
                let body = Body::new(Full::new(framed(&raw)));
                return Ok((Request::from_parts(head, body), Some(charge)));
            }
        };
        let body = Body::new(Full::new(EMPTY.clone()));
        Ok((Request::from_parts(head, body), Some(charge)))
    }

    async fn hand_over<M, R>(&self, raw: Raw, extensions: &mut Extensions) -> Result<Charge, Status>
    where
        M: decode::Request,
        R: From<M> + Into<Handed> + Send + 'static,
    {
        let decoded = decode::decode::<M, R>(raw, &self.ledger, &self.long).await;
        let (request, charge) = decoded?;
        Marked::hand(extensions, request.into());
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
pub fn taken<M, R>(mut request: tonic::Request<M>) -> R
where
    R: From<M> + TryFrom<Handed>,
{
    let handed = Marked::take(request.extensions_mut());
    let handed = handed.and_then(|handed| handed.try_into().ok());
    handed.unwrap_or_else(|| request.into_inner().into())
}

/// What a service asks for, in place of the message.
#[derive(Clone)]
pub enum Handed {
    Run(Run),
    RunBatch(RunBatch),
    Infer(Infer),
}

macro_rules! handed {
    ($($kind:ident),*) => {
        $(
            impl From<$kind> for Handed {
                fn from(request: $kind) -> Self {
                    Self::$kind(request)
                }
            }

            impl TryFrom<Handed> for $kind {
                type Error = ();

                fn try_from(handed: Handed) -> Result<Self, ()> {
                    match handed {
                        Handed::$kind(request) => Ok(request),
                        _ => Err(()),
                    }
                }
            }
        )*
    };
}

handed!(Run, RunBatch, Infer);
