//! Replies on their way out. They go in pieces, and what has not gone stays ours: it is charged, and given up
//! where its caller takes none of it for long.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    sync::mpsc,
    time::{Sleep, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, body::Body};

use crate::ledger::{Account, Charge};

use super::{
    connections::Connections,
    error_text,
    inflate::Encoding,
    load::InFlight,
    peer::{Peer, PeerCall, Unsent},
    receive::ENCODING,
};

/// What HTTP/2 gets of a reply at a time: it keeps what its caller has not taken.
const PIECE: usize = 256 << 10;

/// A reply's header: how many calls were in the largest native run that this one was in.
const BATCH_SIZE: HeaderName = HeaderName::from_static("tms-batch-size");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Replies from this size on are charged before they are encoded; smaller ones as they go out.
pub const LARGE: usize = 4 << 10;

/// The answer to a call with data.
pub struct Reply {
    /// Its message in gRPC's frame.
    pub pieces: VecDeque<Bytes>,
    /// What the server's memory is charged for them.
    pub charge: Option<Charge>,
    /// How many calls were in the largest native run that this one was in.
    pub batch: Option<usize>,
    /// How the message is compressed.
    pub encoding: Option<Encoding>,
}

/// What a call's task knows of its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing new.
    Same,
    /// HTTP/2 was given a piece: it had passed the last one on.
    Given,
    /// There is nothing that the caller could take.
    Ours,
    /// The caller has taken nothing for too long.
    Late,
}

thread_local! {
    /// Between a call's task and its reply, which the library's code lies between. Set while the task is
    /// polled.
    static PROGRESS: Cell<Progress> = const { Cell::new(Progress::Same) };
}

/// A call's task: runs the call, and ends it where its caller takes none of its reply for long. With
/// the task HTTP/2's stream is gone: it is reset.
pub async fn watch(mut call: Pin<Box<impl Future<Output = ()>>>, connections: Arc<Connections>) {
    let patience = connections.bounds.reply;
    // When the caller last took something, where there is more to take.
    let mut since = None;
    // Made for the first reply that waits.
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        let mut poll = |progress, context: &mut Context<'_>| {
            PROGRESS.set(progress);
            let polled = call.as_mut().poll(context);
            (polled, PROGRESS.replace(Progress::Same))
        };
        let (polled, progress) = poll(Progress::Same, context);
        if polled.is_ready() {
            return Poll::Ready(());
        }
        match progress {
            Progress::Given => since = Some(Instant::now()),
            Progress::Ours => since = None,
            Progress::Same | Progress::Late => {}
        }
        while let Some(since) = since {
            let until = since + patience;
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until.into())));
            if timer.as_mut().poll(context).is_pending() {
                break;
            }
            if Instant::now() >= until {
                // A reply that is asked for more resets its stream, and HTTP/2 drops what it has of it.
                // One that is not asked is dropped with this task, and its stream is reset then.
                let _ = poll(Progress::Late, context);
                connections.count_untaken();
                return Poll::Ready(());
            }
            timer.as_mut().reset(until.into());
        }
        Poll::Pending
    })
    .await;
}

/// A reply's messages, in pieces, and its trailers with a text that fits.
pub struct ReplyBody {
    source: Source,
    /// What has not gone of the message that came last, in pieces of any size.
    rest: VecDeque<Bytes>,
    /// Where the message goes in several pieces.
    large: Option<Arc<Large>>,
    /// The charge of a message that has not begun to go.
    charge: Option<Charge>,
    call: PeerCall,
    in_flight: Option<InFlight>,
}

/// Where a reply comes from.
enum Source {
    /// From one of tonic's services.
    Service(Body),
    /// It is there, all of it.
    Message,
    /// Messages as they are made.
    Stream(Box<Replies>),
    /// Its message has gone, its trailers have not.
    Trailers,
    Nothing,
}

/// The messages of a reply, as the call's task makes them. The task ends with this.
pub struct Replies {
    /// Where it was waited for.
    first: Option<Reply>,
    /// How they are compressed.
    encoding: Option<Encoding>,
    receiver: mpsc::Receiver<Result<Reply, Status>>,
    _task: AbortOnDropHandle<()>,
}

/// Where a call's task puts its messages.
pub type ReplySender = mpsc::Sender<Result<Reply, Status>>;

impl Replies {
    /// Starts the task of a call. What it fails with ends the stream.
    pub fn start<F>(encoding: Option<Encoding>, task: impl FnOnce(ReplySender) -> F) -> Box<Self>
    where
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        // One waits while HTTP/2 has another: what makes them waits then.
        let (sender, receiver) = mpsc::channel(1);
        let task = task(sender.clone());
        let task = tokio::spawn(async move {
            if let Err(status) = task.await {
                // Nobody hears it where the caller has left.
                let _ = sender.send(Err(status)).await;
            }
        });
        let _task = AbortOnDropHandle::new(task);
        Box::new(Self { first: None, encoding, receiver, _task })
    }

    /// Waits for the first message. An error before it is the call's only answer.
    pub async fn begun(mut self: Box<Self>) -> Result<Box<Self>, Status> {
        self.first = self.receiver.recv().await.transpose()?;
        Ok(self)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Reply, Status>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.receiver.poll_recv(context),
        }
    }
}

/// What follows the messages.
fn trailers_of(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(STATUS, HeaderValue::from(status.code() as i32));
    }
    error_text::fit(&mut trailers);
    trailers
}

/// A message that goes in several pieces, one after the other.
struct Large {
    /// Of all of it: its pieces share one buffer, which is there until the last of them has gone.
    _charge: Charge,
    /// HTTP/2 has a piece.
    out: AtomicBool,
    /// Who waits for that piece to go.
    waits: Mutex<Option<Waker>>,
}

impl ReplyBody {
    /// An error, or an answer of one of tonic's services, whose body goes out by this.
    pub fn of_service(
        mut response: http::Response<Body>,
        call: PeerCall,
        in_flight: Option<InFlight>,
    ) -> http::Response<Self> {
        let headers = response.headers_mut();
        error_text::fit(headers);
        if let Some(in_flight) = &in_flight
            && headers.contains_key(STATUS)
        {
            in_flight.answers(headers);
        }
        follow(headers, call.peer());
        response.map(|body| Self {
            source: Source::Service(body),
            rest: VecDeque::new(),
            large: None,
            charge: None,
            call,
            in_flight,
        })
    }

    /// The answer to a call with data.
    pub fn answer(reply: Reply, call: PeerCall, in_flight: InFlight) -> http::Response<Self> {
        let Reply { pieces, charge, batch, encoding } = reply;
        let mut response = http::Response::new(Self {
            source: Source::Message,
            rest: pieces,
            large: None,
            charge,
            call,
            in_flight: Some(in_flight),
        });
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        if let Some(batch) = batch {
            headers.insert(BATCH_SIZE, batch.into());
        }
        if let Some(encoding) = encoding {
            headers.insert(ENCODING, encoding.name());
        }
        response
    }

    /// The answer to a call that has any number of messages.
    pub fn stream(
        replies: Box<Replies>,
        call: PeerCall,
        in_flight: InFlight,
    ) -> http::Response<Self> {
        let encoding = replies.encoding;
        let mut response = http::Response::new(Self {
            source: Source::Stream(replies),
            rest: VecDeque::new(),
            large: None,
            charge: None,
            call,
            in_flight: Some(in_flight),
        });
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        if let Some(encoding) = encoding {
            headers.insert(ENCODING, encoding.name());
        }
        response
    }

    /// The frame that follows what has gone.
    fn poll_source(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut self.source {
            Source::Service(body) => Pin::new(body).poll_frame(context),
            Source::Trailers => {
                self.source = Source::Nothing;
                let mut trailers = HeaderMap::with_capacity(2);
                trailers.insert(STATUS, HeaderValue::from_static("0"));
                self.end(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Source::Stream(replies) => {
                let Poll::Ready(next) = replies.poll_next(context) else { return Poll::Pending };
                let mut trailers = match next {
                    Some(Ok(reply)) => {
                        self.charge = reply.charge;
                        return self.begin(reply.pieces, context).map(|frame| Some(Ok(frame)));
                    }
                    Some(Err(status)) => trailers_of(&status),
                    None => trailers_of(&Status::ok("")),
                };
                // The task of the call has ended.
                self.source = Source::Nothing;
                self.end(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Source::Message | Source::Nothing => Poll::Ready(None),
        }
    }

    /// These are the call's last words.
    fn end(&self, trailers: &mut HeaderMap) {
        if let Some(in_flight) = &self.in_flight {
            in_flight.answers(trailers);
        }
    }

    /// Begins to send a message.
    fn begin(&mut self, mut pieces: VecDeque<Bytes>, context: &Context<'_>) -> Poll<Frame<Bytes>> {
        PROGRESS.set(Progress::Given);
        let bytes = pieces.iter().map(Bytes::len).sum();
        let charge = self.charge.take();
        // A stream's messages go one after the other: HTTP/2 would take any number of small ones.
        let streams = matches!(self.source, Source::Stream(_));
        if bytes <= PIECE && pieces.len() == 1 && !streams {
            let bytes = pieces.pop_front().unwrap_or_default();
            let uncharged = if charge.is_some() { 0 } else { bytes.len() };
            let unsent = self.call.peer().sends(uncharged);
            let piece = Piece { bytes, large: None, _charge: charge, _unsent: unsent };
            return Poll::Ready(Frame::data(Bytes::from_owner(piece)));
        }
        // One that no service of ours made is there already.
        let ledger = &self.call.peer().connections.ledger;
        let charge = charge.unwrap_or_else(|| ledger.count(Account::Replies, bytes));
        let large = Arc::new(Large {
            _charge: charge,
            out: AtomicBool::new(false),
            waits: Mutex::default(),
        });
        self.rest = pieces;
        self.large = Some(large.clone());
        self.next(&large, context).map(Frame::data)
    }

    /// The next piece, when the one before has gone.
    fn next(&mut self, large: &Arc<Large>, context: &Context<'_>) -> Poll<Bytes> {
        if large.is_out(context.waker()) {
            return Poll::Pending;
        }
        let bytes = self.split();
        large.out.store(true, Ordering::Release);
        let unsent = self.call.peer().sends(0);
        Poll::Ready(Bytes::from_owner(Piece {
            bytes,
            large: Some(large.clone()),
            _charge: None,
            _unsent: unsent,
        }))
    }

    /// What goes next of what is left.
    fn split(&mut self) -> Bytes {
        let Some(first) = self.rest.front_mut() else { return Bytes::new() };
        let bytes = first.split_to(first.len().min(PIECE));
        if first.is_empty() {
            self.rest.pop_front();
        }
        bytes
    }
}

impl Large {
    /// Whether HTTP/2 has a piece. Who asks is woken when that has gone.
    fn is_out(&self, waker: &Waker) -> bool {
        if !self.out.load(Ordering::Acquire) {
            return false;
        }
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
        // It may have gone meanwhile.
        self.out.load(Ordering::Acquire)
    }
}

/// A piece of a reply in HTTP/2's hands. When this is dropped the socket has it, or nobody will.
struct Piece {
    bytes: Bytes,
    large: Option<Arc<Large>>,
    /// Of a message in one piece.
    _charge: Option<Charge>,
    _unsent: Unsent,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Notes the headers of an error, a reply that has nothing else, as a part of one: HTTP/2 drops its status
/// when that is written.
fn follow(headers: &mut HeaderMap, peer: &Arc<Peer>) {
    let bytes = headers.values().map(HeaderValue::len).sum();
    let Some(status) = headers.get_mut(STATUS) else { return };
    let piece = Piece {
        bytes: Bytes::copy_from_slice(status.as_bytes()),
        large: None,
        _charge: None,
        _unsent: peer.sends(bytes),
    };
    if let Ok(mut followed) = HeaderValue::from_maybe_shared(Bytes::from_owner(piece)) {
        // HTTP/2 would keep it, so that the next one takes fewer bytes.
        followed.set_sensitive(true);
        *status = followed;
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Some(large) = self.large.take() else { return };
        // The buffer may end with this piece, and its charge with `large`.
        self.bytes = Bytes::new();
        large.out.store(false, Ordering::Release);
        let waits = large.waits.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waits) = waits {
            waits.wake();
        }
    }
}

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if PROGRESS.get() == Progress::Late {
            // What is left goes with the body.
            return Poll::Ready(Some(Err(Status::cancelled("the reply was not taken"))));
        }
        if let Some(large) = this.large.clone() {
            if !this.rest.is_empty() {
                return this.next(&large, context).map(|piece| {
                    PROGRESS.set(Progress::Given);
                    Some(Ok(Frame::data(piece)))
                });
            }
            // What follows goes when all of it has: as long as this is asked for more, the stream can be
            // reset.
            if large.is_out(context.waker()) {
                return Poll::Pending;
            }
            this.large = None;
        }
        if let Source::Message = this.source {
            this.source = Source::Trailers;
            let pieces = std::mem::take(&mut this.rest);
            return this.begin(pieces, context).map(|frame| Some(Ok(frame)));
        }
        let Poll::Ready(frame) = this.poll_source(context) else {
            PROGRESS.set(Progress::Ours);
            return Poll::Pending;
        };
        let frame = match frame {
            // Of a stream's message, which has begun to go.
            Some(Ok(frame)) if matches!(this.source, Source::Stream(_)) => {
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    error_text::fit(trailers);
                    if let Source::Service(_) = this.source {
                        this.end(trailers);
                    }
                    this.call.answered();
                    return Poll::Ready(Some(Ok(frame)));
                }
                frame
            }
            end => {
                this.call.answered();
                return Poll::Ready(end);
            }
        };
        // Neither trailers nor data: there is no such frame yet.
        let Ok(bytes) = frame.into_data() else { return Poll::Ready(None) };
        this.begin(VecDeque::from([bytes]), context).map(|frame| Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.large.is_none()
            && match &self.source {
                Source::Service(body) => body.is_end_stream(),
                Source::Message | Source::Trailers | Source::Stream(_) => false,
                Source::Nothing => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Service(body) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}
