//! The request half of a call: its message is read, charged and decoded, by calls with data; messages of the
//! others, which are small, are read, and decoded by tonic.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Request};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tonic::{Status, body::Body};

use crate::ledger::{Account, Charge, Ledger, Room};

use super::{
    decode::{self, Charges, Raw},
    encode::prefix,
    inbox::{self, Arrival, Bounds, Messages, RequestBody},
    inflate::{Encoding, inflate},
    status,
};

pub const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

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

impl Inbox {
    pub fn new(ledger: Arc<Ledger>, bounds: Bounds, long: Arc<Semaphore>) -> Self {
        Self { ledger, bounds, long }
    }

    /// What the only message of a call with data asks for, and what it is charged.
    pub async fn receive<M, R>(
        &self,
        body: impl RequestBody,
        encoding: Option<Encoding>,
    ) -> Result<(R, Charges), Status>
    where
        M: decode::Request,
        R: From<M> + Send + 'static,
    {
        let raw = self.read(body, encoding, self.bounds.most).await?;
        decode::decode::<M, R>(raw, &self.ledger, &self.long).await
    }

    /// What the next message of a call with several asks for, and what it is charged.
    pub async fn next<M, R>(
        &self,
        messages: &mut Messages<impl RequestBody>,
        encoding: Option<Encoding>,
    ) -> Result<Option<(R, Charges)>, Status>
    where
        M: decode::Request,
        R: From<M> + Send + 'static,
    {
        let Some(arrival) = messages.next(&self.ledger).await? else { return Ok(None) };
        let raw = self.inflated(arrival, encoding, self.bounds.most).await?;
        Ok(Some(decode::decode::<M, R>(raw, &self.ledger, &self.long).await?))
    }

    /// The messages of a call that may have several. `window`: what a caller may send of a call that is not
    /// read, in bytes.
    pub fn messages<B: RequestBody>(&self, body: B, window: usize) -> Messages<B> {
        Messages::new(body, self.bounds, window, &self.ledger)
    }

    /// A call without data as tonic takes it, and what its message is charged.
    pub async fn receive_small(
        &self,
        request: Request<Body>,
        encoding: Option<Encoding>,
    ) -> Result<(Request<Body>, Charge), Status> {
        let (mut head, body) = request.into_parts();
        let raw = self.read(body, encoding, self.bounds.most.min(SMALL_MESSAGE)).await?;
        head.headers.remove(ENCODING);
        let bytes = raw.bytes().len() + decode::CALL;
        let charge = self.ledger.charge(Account::Inputs, bytes, Room::Little);
        let charge = charge.map_err(status::no_room)?;
        let body = Body::new(Full::new(framed(&raw)));
        Ok((Request::from_parts(head, body), charge))
    }

    /// A call's only message, inflated.
    async fn read(
        &self,
        body: impl RequestBody,
        encoding: Option<Encoding>,
        most: usize,
    ) -> Result<Raw, Status> {
        let arrival = inbox::read(body, Bounds { most, ..self.bounds }, &self.ledger).await?;
        self.inflated(arrival, encoding, most).await
    }

    async fn inflated(
        &self,
        arrival: Arrival,
        encoding: Option<Encoding>,
        most: usize,
    ) -> Result<Raw, Status> {
        match (arrival.compressed, encoding) {
            (false, _) => Ok(arrival.raw),
            (true, Some(encoding)) if encoding.compresses() => {
                Box::pin(inflate(arrival.raw, encoding, most, &self.ledger, &self.long)).await
            }
            // gRPC wants this status.
            (true, _) => Err(Status::internal(
                "the message is compressed, but grpc-encoding does not say how",
            )),
        }
    }
}

/// A message in gRPC's frame.
fn framed(raw: &Raw) -> Bytes {
    let message = raw.bytes();
    [&prefix(false, message.len())[..], message].concat().into()
}
