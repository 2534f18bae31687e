//! Replies on their way out. They go in pieces, and what has not gone stays ours: it is charged, and given up
//! where its caller takes none of it for long.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};
use tonic::{Response, Status, body::Body};

use crate::ledger::{Account, Charge, Ledger, NoRoom, Room};

use super::{
    connections::Connections,
    error_text,
    peer::{PeerCall, Unsent},
};

/// What HTTP/2 gets of a reply at a time: it keeps what its caller has not taken.
const PIECE: usize = 256 << 10;

/// Replies from this size on are charged before they are encoded; smaller ones as they go out.
const LARGE: usize = 16 << 10;

/// One call of those in flight.
pub struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    pub fn count(calls: &Arc<AtomicUsize>) -> Self {
        calls.fetch_add(1, Ordering::Relaxed);
        Self(calls.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reply's charge, on its way from the service that made the reply to the body that sends it. It is behind
/// a lock only because what travels with a response must be one that can be cloned.
#[derive(Clone)]
struct Charged(Arc<Mutex<Option<Charge>>>);

/// Charges a reply of `bytes` bytes, as it will be encoded.
pub fn charge<M>(
    response: &mut Response<M>,
    bytes: usize,
    ledger: &Arc<Ledger>,
) -> Result<(), NoRoom> {
    if bytes >= LARGE {
        // Twice: while it is encoded, the message is there as well.
        let charge = ledger.charge(Account::Replies, bytes.saturating_mul(2), Room::UnderWay)?;
        response.extensions_mut().insert(Charged(Arc::new(Mutex::new(Some(charge)))));
    }
    Ok(())
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
pub async fn watch(call: impl Future<Output = ()>, connections: Arc<Connections>) {
    let patience = connections.bounds.reply;
    let mut call = pin!(call);
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
    body: Body,
    /// What has not gone of the message that was encoded last.
    rest: Bytes,
    /// Where the message goes in several pieces.
    large: Option<Arc<Large>>,
    /// The charge of the message that is encoded next.
    charge: Option<Charge>,
    call: PeerCall,
    _in_flight: Option<InFlight>,
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
    /// An answer whose body goes out by this.
    pub fn answer(
        mut response: http::Response<Body>,
        call: PeerCall,
        in_flight: Option<InFlight>,
    ) -> http::Response<Self> {
        let charged = response.extensions_mut().remove::<Charged>();
        let charge = charged.and_then(|Charged(charge)| {
            charge.lock().unwrap_or_else(PoisonError::into_inner).take()
        });
        let (rest, large) = (Bytes::new(), None);
        response.map(|body| Self { body, rest, large, charge, call, _in_flight: in_flight })
    }

    /// The next piece, when the one before has gone.
    fn next(&mut self, large: &Arc<Large>, context: &Context<'_>) -> Poll<Bytes> {
        if large.is_out(context.waker()) {
            return Poll::Pending;
        }
        let bytes = self.rest.split_to(self.rest.len().min(PIECE));
        large.out.store(true, Ordering::Release);
        let unsent = self.call.peer().sends(bytes.len(), true);
        Poll::Ready(Bytes::from_owner(Piece {
            bytes,
            large: Some(large.clone()),
            _charge: None,
            _unsent: unsent,
        }))
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
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            PROGRESS.set(Progress::Ours);
            return Poll::Pending;
        };
        let frame = match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    error_text::fit(trailers);
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
        PROGRESS.set(Progress::Given);
        let mut charge = this.charge.take();
        if let Some(charge) = &mut charge {
            charge.shrink_to(bytes.len());
        }
        if bytes.len() <= PIECE {
            let unsent = this.call.peer().sends(bytes.len(), charge.is_some());
            let piece = Piece { bytes, large: None, _charge: charge, _unsent: unsent };
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))));
        }
        // One that no service of ours made is there already.
        let ledger = &this.call.peer().connections.ledger;
        let charge = charge.unwrap_or_else(|| ledger.count(Account::Replies, bytes.len()));
        let large = Arc::new(Large {
            _charge: charge,
            out: AtomicBool::new(false),
            waits: Mutex::default(),
        });
        this.rest = bytes;
        this.large = Some(large.clone());
        this.next(&large, context).map(|piece| Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.large.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
