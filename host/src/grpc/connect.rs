//! Calls with one message each way as any client of HTTP makes them: `POST /package.Service/Method`, with JSON
//! or with the message's bytes. It is the unary form of the Connect protocol
//! (<https://connectrpc.com/docs/protocol>); no call is written by hand.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{self, CONTENT_ENCODING, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use serde_json::json;
use tokio::sync::Semaphore;
use tonic::{Code, Status, body::Body, metadata::BinaryMetadataValue};

use crate::ledger::{Account, Charge, Ledger, Room};

use super::{
    decode::{self, Raw},
    encode::{PREFIX, prefix},
    error_details,
    inbox::{self, Bounds, RequestBody, Turns},
    inflate::{self, Encoding, inflate},
    json::{self, Charged, Cost, Messages},
    load::InFlight,
    reply::ReplyBody,
    serve::PeerCalls,
    status,
};

const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");

/// Values that are read or written on a worker's thread, and bytes: it takes a millisecond or two.
const VALUES_HERE: usize = 10_000;
const BYTES_HERE: usize = 256 << 10;

/// What a message in JSON may take while it is read, in its largest size: as much as one in gRPC's form, and a
/// little in any case.
const GROWTH: usize = 8;
const LEAST: usize = 1 << 20;

/// What all calls share.
pub struct Connect {
    pub messages: Messages,
    pub bounds: Bounds,
    pub ledger: Arc<Ledger>,
    /// Messages that take long.
    pub long: Arc<Semaphore>,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    /// As gRPC has it, without its frame.
    Proto,
}

impl Form {
    pub fn of(kind: Option<&HeaderValue>) -> Option<Self> {
        let kind = kind?.to_str().ok()?;
        let kind = kind.split(';').next()?.trim();
        match kind {
            _ if kind.eq_ignore_ascii_case("application/json") => Some(Self::Json),
            _ if kind.eq_ignore_ascii_case("application/proto") => Some(Self::Proto),
            _ => None,
        }
    }

    fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Proto => "application/proto",
        })
    }
}

/// Why a call is not answered with a message: what gRPC says, and what HTTP does.
pub struct Refusal {
    status: Status,
    code: StatusCode,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let code = http_status(status.code());
        Self { status, code }
    }
}

impl Refusal {
    pub fn new(code: StatusCode, status: Status) -> Self {
        Self { status, code }
    }

    /// Connect's error: JSON, whatever the form of the request.
    pub fn response(&self) -> Response<Body> {
        let (code, message) = (name(self.status.code()), self.status.message());
        let detail = |(name, bytes): (String, Vec<u8>)| {
            // Base64 without padding, as Connect and gRPC's metadata both have it.
            let value = BinaryMetadataValue::from_bytes(&bytes);
            let value = String::from_utf8_lossy(value.as_encoded_bytes());
            json!({ "type": name, "value": value })
        };
        let details: Vec<_> = error_details::of(&self.status).into_iter().map(detail).collect();
        let error = match details.is_empty() {
            true => json!({ "code": code, "message": message }),
            false => json!({ "code": code, "message": message, "details": details }),
        };
        let mut response = Response::new(Body::new(Full::from(error.to_string())));
        *response.status_mut() = self.code;
        response.headers_mut().insert(CONTENT_TYPE, Form::Json.name());
        response
    }
}

impl Connect {
    /// Answers a call.
    pub async fn answer<B: RequestBody>(
        &self,
        calls: &PeerCalls,
        form: Form,
        request: Request<B>,
    ) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        let known = match self.known(&head) {
            Ok(known) => known,
            Err(refused) => {
                inbox::discard(body).await;
                return Err(refused);
            }
        };
        let began = Instant::now();
        let Some(timeout) = known.timeout else {
            return self.answer_known(calls, form, known, &head, body, began).await;
        };
        let too_late = || {
            let text = format!("the deadline of {timeout:?} passed before the call was answered");
            Refusal::from(Status::deadline_exceeded(text))
        };
        let answered = self.answer_known(calls, form, known, &head, body, began);
        tokio::time::timeout(timeout, answered).await.unwrap_or_else(|_| Err(too_late()))
    }

    async fn answer_known<B: RequestBody>(
        &self,
        calls: &PeerCalls,
        form: Form,
        known: Known,
        head: &Parts,
        body: B,
        began: Instant,
    ) -> Result<Response<Body>, Refusal> {
        let Known { method, mut headers, timeout } = known;
        // Until gRPC's own counting begins.
        let in_flight = calls.in_flight();
        let encoding = head.headers.get(CONTENT_ENCODING).map(encoding);
        let mut read = inbox::read_all(body, self.bounds, &self.ledger).await?;
        match encoding {
            None | Some(Encoding::Identity) => {}
            Some(Encoding::Unknown) => {
                let accepted = inflate::ACCEPTED;
                let accepted = accepted.to_str().unwrap_or_default();
                let text = format!("content-encoding may be one of {accepted}");
                return Err(Status::unimplemented(text).into());
            }
            Some(encoding) => {
                read = inflate(read, encoding, self.bounds.most, &self.ledger, &self.long).await?;
            }
        }
        let (message, _charge) = match form {
            Form::Json => self.message(method.input(), read).await?,
            Form::Proto => owned(read, &self.ledger)?,
        };
        if let Some(timeout) = timeout {
            headers.insert("grpc-timeout", grpc_timeout(timeout.saturating_sub(began.elapsed()))?);
        }
        let frame = Bytes::copy_from_slice(&prefix(false, message.len()));
        let frames = [frame, message].map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
        let mut request = Request::new(StreamBody::new(stream::iter(frames)));
        (*request.uri_mut(), *request.headers_mut()) = (head.uri.clone(), headers);
        let call = calls.call(request);
        drop(in_flight);
        // What it fails with cannot be.
        let Ok(response) = call.await;
        // The reply is on its way until the socket has it.
        let in_flight = calls.in_flight();
        let reply = self.reply(response).await?;
        let message = match form {
            Form::Json => self.json(method.output(), reply.message).await?,
            Form::Proto => {
                let mut message = Bytes::from_owner(reply.message);
                message.split_off(PREFIX.min(message.len()))
            }
        };
        let body = Bytes::from_owner(Sent { message, _in_flight: in_flight });
        let mut response = Response::new(Body::new(Full::new(body)));
        *response.headers_mut() = reply.headers;
        response.headers_mut().insert(CONTENT_TYPE, form.name());
        Ok(response)
    }

    /// The call that is meant, and its metadata.
    fn known(&self, head: &Parts) -> Result<Known, Refusal> {
        let path = head.uri.path();
        let method = self.messages.method(path).ok_or_else(|| {
            let text = format!("there is no call {}", status::escape(path));
            Refusal::new(StatusCode::NOT_FOUND, Status::unimplemented(text))
        })?;
        if method.is_client_streaming() || method.is_server_streaming() {
            let text = format!("{path} has any number of messages: call it by gRPC or gRPC-Web");
            let status = Status::unimplemented(text);
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, status));
        }
        let timeout = head.headers.get(TIMEOUT).map(timeout).transpose()?;
        Ok(Known { method, headers: grpc_headers(&head.headers), timeout })
    }

    /// A message, made of JSON, and what that is charged.
    async fn message(
        &self,
        descriptor: MessageDescriptor,
        read: Raw,
    ) -> Result<(Bytes, Charge), Status> {
        let (most, ledger) = (self.bounds.most, self.ledger.clone());
        // Counting a long text takes a while, too.
        let few = (read.bytes().len() <= BYTES_HERE).then(|| Cost::of_json(read.bytes()));
        let few = few.filter(|cost| cost.values <= VALUES_HERE);
        let work = move || {
            let cost = few.unwrap_or_else(|| Cost::of_json(read.bytes()));
            let memory = cost.memory();
            if memory > most.saturating_mul(GROWTH).max(LEAST) {
                return Err(Status::resource_exhausted(format!(
                    "the request is too large as JSON: its {} values would take {memory} bytes while they \
                     are read; send it by gRPC, or its tensors as rawInputContents",
                    cost.values
                )));
            }
            let room = if memory <= decode::LITTLE { Room::Little } else { Room::New };
            let charge = ledger.charge(Account::Messages, memory, room);
            let mut charge = charge.map_err(status::no_room)?;
            let wire = json::to_wire(descriptor, read.bytes())?;
            drop(read);
            if wire.len() > most {
                return Err(error_details::too_large("request", most));
            }
            // It is not more than what was counted.
            charge.shrink_to(wire.len());
            Ok((wire.into(), charge))
        };
        match few {
            None => decode::elsewhere(&self.long, work).await,
            Some(_) => work(),
        }
    }

    /// A reply's message in JSON.
    async fn json(&self, descriptor: MessageDescriptor, reply: Charged) -> Result<Bytes, Status> {
        let wire = reply.bytes.get(PREFIX..).unwrap_or_default();
        let few = (wire.len() <= BYTES_HERE).then(|| Cost::of_wire(&descriptor, wire));
        let few = few.filter(|cost| cost.values <= VALUES_HERE);
        let ledger = self.ledger.clone();
        let work = move || {
            let wire = reply.bytes.get(PREFIX..).unwrap_or_default();
            let cost = few.unwrap_or_else(|| Cost::of_wire(&descriptor, wire));
            let mut charge = ledger.nothing(Account::Replies);
            charge.grow(cost.memory(), Room::UnderWay).map_err(status::no_room)?;
            json::from_wire(descriptor, wire, ledger.nothing(Account::Replies))
        };
        let text = match few {
            None => decode::elsewhere(&self.long, work).await?,
            Some(_) => work()?,
        };
        Ok(Bytes::from_owner(text))
    }

    /// A call's reply, whole.
    async fn reply(&self, response: Response<ReplyBody>) -> Result<Reply, Status> {
        let (head, mut body) = response.into_parts();
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Err(status);
        }
        let mut message = Charged::new(self.ledger.nothing(Account::Replies));
        let mut trailers = HeaderMap::new();
        let mut turns = Turns::default();
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(bytes) => {
                    if message.bytes.is_empty()
                        && let Some([_, length @ ..]) = bytes.first_chunk::<PREFIX>()
                    {
                        message.reserve(PREFIX + u32::from_be_bytes(*length) as usize)?;
                    }
                    message.append(&bytes)?;
                    let copied = bytes.len();
                    // The next piece comes when this one has gone.
                    drop(bytes);
                    turns.copied(copied).await;
                }
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        match Status::from_header_map(&trailers) {
            Some(status) if status.code() == Code::Ok => {}
            Some(status) => return Err(status),
            None => return Err(Status::internal("the call ended without a status")),
        }
        Ok(Reply { message, headers: plain_headers(head.headers, trailers) })
    }
}

/// A reply's message in gRPC's frame, and its metadata.
struct Reply {
    message: Charged,
    headers: HeaderMap,
}

/// A call that is known, and what is asked of it.
struct Known {
    method: MethodDescriptor,
    headers: HeaderMap,
    timeout: Option<Duration>,
}

/// A reply on its way to the socket.
struct Sent {
    message: Bytes,
    _in_flight: InFlight,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

/// A message that needs nothing done, and what it is charged.
fn owned(read: Raw, ledger: &Arc<Ledger>) -> Result<(Bytes, Charge), Status> {
    match read {
        Raw::Own { bytes, charge } => Ok((bytes.into(), charge)),
        Raw::Frame(bytes) => {
            let charge = ledger.charge(Account::Messages, bytes.len(), Room::New);
            Ok((bytes, charge.map_err(status::no_room)?))
        }
    }
}

/// As HTTP has it, in any letters.
fn encoding(named: &HeaderValue) -> Encoding {
    let name = named.as_bytes().to_ascii_lowercase();
    HeaderValue::from_bytes(&name).map_or(Encoding::Unknown, |name| Encoding::of(&name))
}

/// Metadata of the call: headers that are neither HTTP's nor Connect's own.
fn grpc_headers(from: &HeaderMap) -> HeaderMap {
    const OWN: [HeaderName; 14] = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::HOST,
        header::ORIGIN,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        TIMEOUT,
    ];
    let is_own = |name: &HeaderName| {
        OWN.contains(name)
            || ["grpc-", "connect-", "keep-alive", "proxy-"]
                .iter()
                .any(|start| name.as_str().starts_with(start))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in from.iter().filter(|(name, _)| !is_own(name)) {
        headers.append(name, value.clone());
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers
}

/// How long a caller waits: up to ten digits of milliseconds.
fn timeout(written: &HeaderValue) -> Result<Duration, Status> {
    let text = written.to_str().ok().filter(|text| text.len() <= 10);
    let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let milliseconds = digits.and_then(|text| text.parse().ok());
    milliseconds.map(Duration::from_millis).ok_or_else(|| {
        Status::invalid_argument("connect-timeout-ms is a number of at most ten digits")
    })
}

/// The same as gRPC has it: eight digits of any unit.
fn grpc_timeout(timeout: Duration) -> Result<HeaderValue, Status> {
    const MOST: u128 = 99_999_999;
    let text = match timeout.as_millis() {
        milliseconds @ ..=MOST => format!("{milliseconds}m"),
        milliseconds => format!("{}S", milliseconds / 1000),
    };
    HeaderValue::try_from(text).map_err(|e| Status::internal(e.to_string()))
}

/// A reply's metadata: what follows the message is named so.
fn plain_headers(head: HeaderMap, trailers: HeaderMap) -> HeaderMap {
    let is_plain = |name: &HeaderName| {
        let name = name.as_str();
        name != "content-type" && (!name.starts_with("grpc-"))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in head.iter().filter(|(name, _)| is_plain(name)) {
        headers.append(name, value.clone());
    }
    for (name, value) in trailers.iter().filter(|(name, _)| is_plain(name)) {
        if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// A code's name in Connect.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "canceled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// What HTTP says of a code, as Connect has it.
fn http_status(code: Code) -> StatusCode {
    /// Nginx's: the client has closed its request.
    const CLOSED: u16 = 499;
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(CLOSED).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
