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
    /// Since this side was closed.
    lingers: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub fn new(stream: TcpStream, peer: Arc<Peer>) -> Self {
        Self { stream, meter: Meter::new(&peer), peer, waits: None, lingers: None }
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
        let wrote = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        Poll::Ready(wrote.inspect(|bytes| self.meter.wrote(*bytes)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, bytes));
        Poll::Ready(wrote.inspect(|bytes| self.meter.wrote(*bytes)))
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
