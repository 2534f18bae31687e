//! A request's messages as they come in: mostly one. Its bytes are charged as they arrive: what it says of its length
//! reserves nothing, so that callers who announce much and send little lock nobody out. One that makes no
//! progress is given up.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Body as HttpBody;
use tokio::time::{Instant, Sleep, sleep};
use tonic::{Code, Status};

use crate::ledger::{Account, Charge, Ledger, NoRoom, Room};

use super::{
    decode::{LITTLE, Raw},
    encode::PREFIX,
    error_details, status,
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

/// A message, as it came.
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
    let mut source = Source::new(body, patience);
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
    let (compressed, length) = prefix.read(most)?;
    // What another protocol's message was made of comes as it is, and needs no copy.
    let alone = rest.is_empty() && length > LITTLE;
    let rest = match alone {
        true => source.next().await?.ok_or_else(|| ended(0, length))?,
        false => rest,
    };
    // Most messages came with their first frame, and nothing follows: nothing has to be kept until then.
    if rest.len() == length && source.is_at_end().await? {
        let raw = match alone {
            true => {
                let charge = ledger.charge(Account::Messages, length, Room::New);
                Raw::Own { charge: charge.map_err(status::no_room)?, bytes: rest.into() }
            }
            false => Raw::Frame(rest),
        };
        return Ok(Arrival { raw, compressed });
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

/// Throws away what comes of a request that is refused, if it is little and comes soon: the connection can go
/// on then.
pub async fn discard<B: RequestBody>(body: B) {
    const MOST: usize = 64 << 10;
    const PATIENCE: Duration = Duration::from_secs(1);
    if body.size_hint().lower() > MOST as u64 {
        return;
    }
    let mut source = Source::new(body, PATIENCE);
    let mut had = 0;
    while let Ok(Some(frame)) = source.next().await {
        had += frame.len();
        if had > MOST {
            return;
        }
    }
}

/// Reads a message that comes without gRPC's frame, and ends with the request.
pub async fn read_all<B: RequestBody>(
    body: B,
    bounds: Bounds,
    ledger: &Arc<Ledger>,
) -> Result<Raw, Status> {
    let Bounds { most, patience } = bounds;
    let too_large = || error_details::too_large("request", most);
    // What it says of its length reserves nothing, but may say that it is in vain.
    let announced = body.size_hint().exact();
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let length = announced.and_then(|length| usize::try_from(length).ok());
    let mut source = Source::new(body, patience);
    let mut bytes = Vec::new();
    let mut charge = ledger.nothing(Account::Messages);
    let mut turns = Turns::default();
    while let Some(frame) = source.next().await.map_err(broken)? {
        let has = bytes.len() + frame.len();
        if has > most {
            return Err(too_large());
        }
        let room = if has <= LITTLE { Room::Little } else { Room::New };
        charge.grow(frame.len(), room).map_err(status::no_room)?;
        if has > bytes.capacity() {
            // A buffer that grows is moved: one whose length is known has no need of that.
            let to = match length {
                Some(length) => length.min(has.saturating_mul(AHEAD)).max(has),
                None => has.max(2 * bytes.capacity()),
            };
            let more = to - bytes.len();
            bytes.try_reserve_exact(more).map_err(|_| status::no_room(NoRoom { bytes: more }))?;
        }
        bytes.extend_from_slice(&frame);
        turns.copied(frame.len()).await;
    }
    // Of one that has grown, what is more than its bytes.
    charge.grow(bytes.capacity() - bytes.len(), Room::UnderWay).map_err(status::no_room)?;
    Ok(Raw::Own { bytes, charge })
}

/// Lets a worker's other work have its turn while a body is copied: there may be more of it at once for as long as
/// it likes.
#[derive(Default)]
pub struct Turns {
    /// Bytes since the last one.
    copied: usize,
}

impl Turns {
    /// Bytes were copied.
    pub async fn copied(&mut self, bytes: usize) {
        /// Bytes of a turn.
        const TURN: usize = 64 << 10;
        self.copied += bytes;
        if self.copied >= TURN {
            self.copied = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// A body that is not as HTTP has it is its caller's fault.
fn broken(status: Status) -> Status {
    match status.code() {
        Code::Unknown => Status::invalid_argument(format!(
            "the request's body cannot be read: {}",
            status.message()
        )),
        _ => status,
    }
}

/// The messages of a call that has any number of them, one after the other.
pub struct Messages<B> {
    source: Source<B>,
    bounds: Bounds,
    /// What came with the message before.
    left: Bytes,
    /// What came after that, before it was asked for.
    ahead: BytesMut,
    /// Of what is there: what came ahead, and what HTTP/2 may keep where nothing more is read.
    charge: Charge,
    /// The caller has said all.
    ended: bool,
    /// What HTTP/2 keeps of a call that is not read, in bytes.
    window: usize,
}

/// Bytes of further messages that are read while one is answered.
const READ_AHEAD: usize = 256 << 10;

impl<B: RequestBody> Messages<B> {
    /// `window`: what a caller may send of a call that is not read, in bytes.
    pub fn new(body: B, bounds: Bounds, window: usize, ledger: &Arc<Ledger>) -> Self {
        Self {
            source: Source::new(body, bounds.patience),
            bounds,
            left: Bytes::new(),
            ahead: BytesMut::new(),
            charge: ledger.nothing(Account::Messages),
            ended: false,
            window,
        }
    }

    /// The next message, once it has come; None where the caller has said all. Waits for its beginning as
    /// long as it takes.
    pub async fn next(&mut self, ledger: &Arc<Ledger>) -> Result<Option<Arrival>, Status> {
        let mut prefix = Prefix::default();
        self.source.hurry(false);
        let mut rest = loop {
            let Some(mut frame) = self.frame().await? else {
                return match prefix.length {
                    0 => Ok(None),
                    some => Err(ended(some, PREFIX)),
                };
            };
            self.source.hurry(true);
            if prefix.take(&mut frame) {
                break frame;
            }
        };
        let (compressed, length) = prefix.read(self.bounds.most)?;
        if rest.len() >= length {
            let message = rest.split_to(length);
            self.put_back(rest)?;
            return Ok(Some(Arrival { raw: Raw::Frame(message), compressed }));
        }
        let mut bytes = Vec::new();
        let mut charge = ledger.nothing(Account::Messages);
        let room = if length <= LITTLE { Room::Little } else { Room::New };
        loop {
            let more = rest.split_to(rest.len().min(length - bytes.len()));
            charge.grow(more.len(), room).map_err(status::no_room)?;
            append(&mut bytes, more, length)?;
            if bytes.len() == length {
                self.put_back(rest)?;
                return Ok(Some(Arrival { raw: Raw::Own { bytes, charge }, compressed }));
            }
            rest = self.frame().await?.ok_or_else(|| ended(bytes.len(), length))?;
        }
    }

    /// Reads on while a message is answered, within bounds; gives nothing but the reason why the call cannot
    /// go on. May be dropped at any time.
    pub async fn read_ahead(&mut self) -> Status {
        self.source.hurry(false);
        loop {
            if self.ended {
                return std::future::pending().await;
            }
            if self.ahead.len() >= READ_AHEAD {
                // What HTTP/2 keeps now is not seen here.
                let all = self.left.len() + self.ahead.len() + self.window;
                let more = all.saturating_sub(self.charge.bytes());
                return match self.charge.grow(more, Room::New) {
                    Ok(()) => std::future::pending().await,
                    Err(no_room) => status::no_room(no_room),
                };
            }
            match self.source.next().await {
                Ok(Some(frame)) => {
                    if let Err(no_room) = self.charge.grow(frame.len(), Room::New) {
                        return status::no_room(no_room);
                    }
                    self.ahead.extend_from_slice(&frame);
                }
                Ok(None) => self.ended = true,
                Err(status) => return status,
            }
        }
    }

    /// The next bytes; None at the end.
    async fn frame(&mut self) -> Result<Option<Bytes>, Status> {
        let frame = match self.left.is_empty() {
            false => std::mem::take(&mut self.left),
            true => self.ahead.split().freeze(),
        };
        self.charge.shrink_to(self.ahead.len());
        match frame.is_empty() {
            false => Ok(Some(frame)),
            true if self.ended => Ok(None),
            true => {
                let frame = self.source.next().await?;
                self.ended = frame.is_none();
                Ok(frame)
            }
        }
    }

    /// What follows a message came with it.
    fn put_back(&mut self, rest: Bytes) -> Result<(), Status> {
        self.charge.grow(rest.len(), Room::New).map_err(status::no_room)?;
        self.left = rest;
        Ok(())
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

    /// Whether the message is compressed, and its length, of which there may be `most`.
    fn read(&self, most: usize) -> Result<(bool, usize), Status> {
        let [flag, length @ ..] = self.bytes;
        let compressed = match flag {
            0 => false,
            1 => true,
            flag => {
                let message =
                    format!("the message's flag is {flag}: 0, or 1 where it is compressed");
                return Err(Status::invalid_argument(message));
            }
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > most {
            return Err(error_details::too_large("request", most));
        }
        Ok((compressed, length))
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
    /// Whether it has to get on at all: not between two messages.
    hurries: bool,
}

impl<B: RequestBody> Source<B> {
    fn new(body: B, patience: Duration) -> Self {
        Self { body, patience, timer: None, progress: 0, hurries: true }
    }

    /// From now on it has to get on, or may take its time.
    fn hurry(&mut self, hurries: bool) {
        if self.hurries != hurries {
            (self.hurries, self.timer, self.progress) = (hurries, None, 0);
        }
    }

    /// The next bytes; None at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        poll_fn(|context| match self.poll(context)? {
            Poll::Ready(data) => Poll::Ready(Ok(data)),
            Poll::Pending if !self.hurries => Poll::Pending,
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
