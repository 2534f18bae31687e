//! A caller's connection: its bytes pass the meter of frames. It ends without taking its last bytes along:
//! where the server closes a socket that has unread bytes, as callers' acknowledgements are, the kernel
//! resets the connection, and what is still on its way to the caller is lost.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::ledger::{Account, Charge, Room};

use super::{frames::Meter, peer::Peer, sockets::Stream};

/// How long a caller has to close its side once all is sent: it has read everything then.
const LINGER: Duration = Duration::from_secs(1);

/// How long what comes is left unread where there is no room for it, before that is looked at again: at first,
/// and at most, as thousands may wait. Its own time ends it at last.
const PAUSE: Duration = Duration::from_millis(5);
const LONG_PAUSE: Duration = Duration::from_millis(40);

/// Bytes that are read in one go before the connection's calls, which wait for them, have their turn: HTTP/2
/// keeps what they have not taken.
const BURST: usize = 1 << 20;

/// Of these, what is not charged: most connections have no more to read. Beyond the frame that comes no more
/// is read at once, as it may be a hundred calls.
const FREE: usize = 16 << 10;

/// What is read of them where memory is short: each call becomes fifty times what it is here, but a caller who
/// waits for something must be able to say so.
const SIP: usize = 1 << 10;

/// Frames of calls that come in one go before these have their turn, and where memory is short: HTTP/2 keeps a
/// table of them, which grows and never shrinks.
const FRAMES: usize = 64;
const FEW_FRAMES: usize = 8;

/// A connection that is closed by both sides.
pub struct Connection {
    stream: Stream,
    meter: Meter,
    peer: Arc<Peer>,
    /// Until when nothing is read, as there is no room for it.
    waits: Option<Pin<Box<Sleep>>>,
    /// How long that is next time.
    pause: Duration,
    /// What was read since this task was last run. Its calls take it before that is run again.
    burst: Charge,
    /// The socket takes nothing more for now: it wakes this task when it does.
    full: bool,
    /// Nothing is read, as the caller takes no answers.
    held: bool,
    linger: Linger,
}

/// How a connection is closed by both sides.
#[derive(Default)]
pub struct Linger {
    /// Since this side was closed.
    since: Option<Pin<Box<Sleep>>>,
}

impl Linger {
    /// Closes this side, and reads what still comes until the caller has closed the other one.
    pub fn poll_shutdown<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.since.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        let since = self.since.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut bytes = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                // The other side is closed, or broken.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return since.as_mut().poll(context).map(Ok),
            }
        }
    }
}

impl Connection {
    pub fn new(stream: Stream, peer: Arc<Peer>) -> Self {
        Self {
            stream,
            meter: Meter::new(&peer),
            burst: peer.connections.ledger.nothing(Account::Messages),
            peer,
            waits: None,
            pause: PAUSE,
            full: false,
            held: false,
            linger: Linger::default(),
        }
    }

    /// How many bytes may be read, where `has_read` were since this task was last run. It is waited for
    /// where others must have their turn first, or memory come back.
    fn poll_room(&mut self, has_read: usize, context: &mut Context<'_>) -> Poll<usize> {
        let (frames, beyond) = match self.peer.connections.ledger.has_room_for_tables() {
            true => (FRAMES, FREE),
            false => (FEW_FRAMES, SIP),
        };
        if has_read >= BURST || self.meter.frames() >= frames {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let ledger = &self.peer.connections.ledger;
            let most = if ledger.has_room(FREE, Room::UnderWay) {
                self.meter.missing() + beyond
            } else if ledger.has_room(SIP, Room::Little) {
                SIP.saturating_sub(has_read)
            } else {
                0
            };
            if most > 0 && self.meter.has_room(&self.peer) {
                self.pause = PAUSE;
                return Poll::Ready(most);
            }
            let pause = self.pause;
            let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(pause)));
            ready!(waits.as_mut().poll(context));
            self.waits = None;
            self.pause = LONG_PAUSE.min(2 * pause);
        }
    }

    /// Notes what the socket has taken.
    fn wrote(
        &mut self,
        wrote: Poll<io::Result<usize>>,
        context: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.full = wrote.is_pending();
        if let Poll::Ready(Ok(bytes)) = &wrote {
            self.meter.wrote(*bytes);
            if std::mem::take(&mut self.held) {
                context.waker().wake_by_ref();
            }
        }
        wrote
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.full && this.peer.has_enough_to_send() {
            // The socket wakes this task.
            this.held = true;
            return Poll::Pending;
        }
        let has_read = this.peer.reads(0);
        if has_read == 0 {
            this.burst.shrink_to(0);
            this.meter.runs();
        }
        let most = ready!(this.poll_room(has_read, context));
        if most >= buffer.remaining() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut part))?;
            let read = part.filled().len();
            buffer.advance(read);
        }
        let bytes = &mut buffer.filled_mut()[before..];
        this.peer.reads(bytes.len());
        let uncharged = FREE.saturating_sub(has_read);
        if bytes.len() > uncharged {
            this.burst.add(bytes.len() - uncharged);
            // That this is given back.
            context.waker().wake_by_ref();
        }
        Poll::Ready(this.meter.read(bytes, &this.peer).map_err(|end| {
            this.peer.ends(end);
            io::ErrorKind::ConnectionAborted.into()
        }))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(wrote, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.linger.poll_shutdown(&mut this.stream, context)
    }
}
