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
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::{frames::Meter, peer::Peer};

/// How long a caller has to close its side once all is sent: it has read everything then.
const LINGER: Duration = Duration::from_secs(1);

/// Answers that may wait for a caller who takes none, before nothing more is read: HTTP/2 keeps some hundred
/// bytes of each, also of those that are errors.
const QUEUED: u32 = 64;

/// How long a large frame is left unread where there is no room for it, before that is looked at again.
/// Its own time ends it at last.
const PAUSE: Duration = Duration::from_millis(5);

/// Bytes that are read in one go before the connection's calls, which wait for them, have their turn: HTTP/2
/// keeps what they have not taken.
const BURST: usize = 1 << 20;

/// A TCP connection that is closed by both sides.
pub struct Connection {
    stream: TcpStream,
    meter: Meter,
    peer: Arc<Peer>,
    /// Until when nothing is read, as there is no room for it.
    waits: Option<Pin<Box<Sleep>>>,
    /// The socket takes nothing more for now: it wakes this task when it does.
    full: bool,
    /// Nothing is read, as the caller takes no answers.
    held: bool,
    /// Since this side was closed.
    lingers: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub fn new(stream: TcpStream, peer: Arc<Peer>) -> Self {
        Self {
            stream,
            meter: Meter::new(&peer),
            peer,
            waits: None,
            full: false,
            held: false,
            lingers: None,
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
            self.peer.sent();
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
        if this.full && this.peer.queued() >= QUEUED {
            // The socket wakes this task.
            this.held = true;
            return Poll::Pending;
        }
        while !this.meter.has_room(&this.peer) {
            let waits = this.waits.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
            ready!(waits.as_mut().poll(context));
            this.waits = None;
        }
        if this.peer.reads(0) >= BURST {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let bytes = &buffer.filled()[before..];
        this.peer.reads(bytes.len());
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

    /// Closes this side, and reads what still comes until the caller has closed the other one.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut bytes = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                // The other side is closed, or broken.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return lingers.as_mut().poll(context).map(Ok),
            }
        }
    }
}
