//! A request's message as it comes in. Its bytes are charged as they arrive: what it says of its length
//! reserves nothing, so that callers who announce much and send little lock nobody out. One that makes no
//! progress is given up.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::body::Body as HttpBody;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use crate::ledger::{Account, Ledger, NoRoom, Room};

use super::{
    decode::{LITTLE, Raw},
    encode::PREFIX,
    status, too_large,
};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Bytes that come at least within `patience`, if not the end.
const PROGRESS: usize = 64 << 10;
/// A buffer is at most this many times what has come: the rest of it has no memory behind it yet. As much as
/// this lets a usual message have its whole buffer with its first frame: one that grows is moved, and takes a
/// third more CPU.
const AHEAD: usize = 1024;

/// What a message may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes.
    pub most: usize,
    /// How long it may take to get on.
    pub patience: Duration,
}

/// A call's only message, as it came.
pub struct Arrival {
    pub raw: Raw,
    pub compressed: bool,
}

/// Reads a call's only message.
pub async fn read<B: RequestBody>(
    body: B,
    bounds: Bounds,
    ledger: &Arc<Ledger>,
) -> Result<Arrival, Status> {
    let Bounds { most, patience } = bounds;
    let mut source = Source { body, patience, timer: None, progress: 0 };
    let mut prefix = Prefix::default();
    // Past the prefix, unless a caller sends that in pieces.
    let rest = loop {
        let Some(mut frame) = source.next().await? else {
            return Err(ended(prefix.length, PREFIX));
        };
        if prefix.take(&mut frame) {
            break frame;
        }
    };
    let compressed = match prefix.bytes[0] {
        0 => false,
        1 => true,
        flag => {
            let message = format!("the message's flag is {flag}: 0, or 1 where it is compressed");
            return Err(Status::invalid_argument(message));
        }
    };
    let length = prefix.message();
    if length > most {
        return Err(Status::resource_exhausted(too_large::message("request", most)));
    }
    // Most messages came with their first frame, and nothing follows: nothing has to be kept until then.
    if rest.len() == length && source.is_at_end().await? {
        return Ok(Arrival { raw: Raw::Frame(rest), compressed });
    }
    let mut bytes = Vec::new();
    let mut charge = ledger.nothing(Account::Messages);
    let room = if length <= LITTLE { Room::Little } else { Room::New };
    let mut next = Some(rest);
    while let Some(frame) = next {
        charge.grow(frame.len(), room).map_err(status::no_room)?;
        append(&mut bytes, frame, length)?;
        next = source.next().await?;
    }
    match bytes.len() == length {
        true => Ok(Arrival { raw: Raw::Own { bytes, charge }, compressed }),
        false => Err(ended(bytes.len(), length)),
    }
}

/// The body ended before the message.
fn ended(has: usize, of: usize) -> Status {
    Status::invalid_argument(match of {
        PREFIX if has == 0 => "the request has no message".to_owned(),
        _ => format!("the request ends after {has} of its message's {of} bytes"),
    })
}

/// A call has one message.
fn another() -> Status {
    Status::invalid_argument("the request has more than one message")
}

/// Adds what has come to a buffer that grows with it.
fn append(own: &mut Vec<u8>, frame: Bytes, length: usize) -> Result<(), Status> {
    let has = own.len() + frame.len();
    if has > length {
        return Err(another());
    }
    if has > own.capacity() {
        let to = length.min(has.saturating_mul(AHEAD));
        let bytes = to - own.len();
        own.try_reserve_exact(bytes).map_err(|_| status::no_room(NoRoom { bytes }))?;
    }
    own.extend_from_slice(&frame);
    Ok(())
}

/// The beginning of a message.
#[derive(Default)]
struct Prefix {
    bytes: [u8; PREFIX],
    /// How much of it is there.
    length: usize,
}

impl Prefix {
    /// Takes what is missing of it. Whether it is whole.
    fn take(&mut self, frame: &mut Bytes) -> bool {
        let missing = &mut self.bytes[self.length..];
        let taken = missing.len().min(frame.len());
        frame.copy_to_slice(&mut missing[..taken]);
        self.length += taken;
        self.length == PREFIX
    }

    fn message(&self) -> usize {
        let [_, length @ ..] = self.bytes;
        u32::from_be_bytes(length) as usize
    }
}

/// A request's body as it comes from HTTP/2, or from something that stands for it.
pub trait RequestBody: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin {}

impl<B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin> RequestBody for B {}

/// A request's body, whose caller must not fall asleep.
struct Source<B> {
    body: B,
    patience: Duration,
    /// Until when it has to have got on; from the first time on that it had to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes that came since the timer was set.
    progress: usize,
}

impl<B: RequestBody> Source<B> {
    /// The next bytes; None at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        poll_fn(|context| match self.poll(context)? {
            Poll::Ready(data) => Poll::Ready(Ok(data)),
            Poll::Pending => self.poll_patience(context).map(Err),
        })
        .await
    }

    /// Whether its end is there already, where a whole message is.
    async fn is_at_end(&mut self) -> Result<bool, Status> {
        poll_fn(|context| {
            Poll::Ready(match self.poll(context) {
                Ok(Poll::Ready(None)) => Ok(true),
                Ok(Poll::Ready(Some(_))) => Err(another()),
                Ok(Poll::Pending) => Ok(false),
                Err(error) => Err(error),
            })
        })
        .await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Result<Poll<Option<Bytes>>, Status> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                return Ok(Poll::Pending);
            };
            let frame = frame.transpose().map_err(|e| Status::from_error(e.into()))?;
            let Some(frame) = frame else {
                return Ok(Poll::Ready(None));
            };
            // Trailers say nothing.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.progress += data.len();
                return Ok(Poll::Ready(Some(data)));
            }
        }
    }

    /// Ends when the caller has taken too long.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        let Self { timer, patience, progress, .. } = self;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep(*patience)));
        while timer.as_mut().poll(context).is_ready() {
            if *progress < PROGRESS {
                return Poll::Ready(Status::deadline_exceeded(format!(
                    "the request's message came too slowly: in {patience:?} neither its end nor \
                     {PROGRESS} bytes more (message_timeout)"
                )));
            }
            *progress = 0;
            timer.as_mut().reset(Instant::now() + *patience);
        }
        Poll::Pending
    }
}
