//! Messages between the server and a child, over a Unix stream socket: each is its length as a 32-bit
//! little-endian number, then itself in postcard's format. Descriptors travel from the server to a
//! child only, beside the message that speaks of them.
//!
//! What comes from a child is input like any other: it may be anything.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    cmsg_space,
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixStream as Watched};

/// The longest message, in bytes. Tensors are not in messages, but shapes, names and errors are.
const LONGEST: usize = 64 << 20;
/// Bytes of the length before each message.
const HEADER: usize = 4;
/// Descriptors that one message may bring.
const MOST_DESCRIPTORS: usize = 4;
/// Bytes read at once.
const CHUNK: usize = 16 << 10;

/// A message as it travels.
pub fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; HEADER];
    frame = postcard::to_extend(message, frame).map_err(io::Error::other)?;
    let length = frame.len() - HEADER;
    if length > LONGEST {
        return Err(io::Error::other(format!("a message of {length} bytes is too long")));
    }
    frame[..HEADER].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Messages as they come in, whole or in parts.
#[derive(Default)]
pub struct Incoming {
    bytes: Vec<u8>,
    /// Where the next message begins.
    start: usize,
}

impl Incoming {
    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        // Mostly everything is read by now, and the buffer starts again.
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message that is there whole. An error where it is none of ours.
    pub fn message<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((header, rest)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > LONGEST {
            return Err(invalid("it is too long"));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let message = postcard::from_bytes(message).map_err(|e| invalid(&e.to_string()))?;
        self.start += HEADER + length;
        // A long message's memory does not stay.
        if self.start == self.bytes.len() && self.bytes.capacity() > 4 * CHUNK {
            *self = Self::default();
        }
        Ok(Some(message))
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a message makes no sense: {reason}"))
}

/// Sends as much of a frame as the socket takes now. Descriptors go with its first byte.
fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    loop {
        // A child that has ended is an error here, not a signal.
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => return Ok(sent?),
        }
    }
}

/// The child's end of a channel, on a socket that waits.
pub struct Blocking {
    socket: UnixStream,
    incoming: Incoming,
    /// In the order in which they came, until the messages that speak of them are read.
    descriptors: VecDeque<OwnedFd>,
}

impl Blocking {
    pub fn new(socket: OwnedFd) -> Self {
        let (incoming, descriptors) = (Incoming::default(), VecDeque::new());
        Self { socket: socket.into(), incoming, descriptors }
    }

    /// Another end of the same channel, to send with.
    pub fn sender(&self) -> io::Result<Sender> {
        Ok(Sender(self.socket.try_clone()?))
    }

    pub fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.socket.write_all(&frame(message)?)
    }

    /// The next message that was read already.
    pub fn received<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        self.incoming.message()
    }

    /// Waits for the next message. None where the other end is closed.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.received()? {
                return Ok(Some(message));
            }
            if self.read()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Waits for bytes and reads them; 0 at the end.
    pub fn read(&mut self) -> io::Result<usize> {
        loop {
            let mut chunk = [0; CHUNK];
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let (socket, flags) = (self.socket.as_fd(), RecvFlags::CMSG_CLOEXEC);
            let received =
                match recvmsg(socket, &mut [IoSliceMut::new(&mut chunk)], &mut control, flags) {
                    Err(Errno::INTR) => continue,
                    received => received?.bytes,
                };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.descriptors.extend(descriptors);
                }
            }
            self.incoming.push(&chunk[..received]);
            return Ok(received);
        }
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next descriptor: the message just received speaks of it.
    pub fn descriptor(&mut self) -> io::Result<OwnedFd> {
        self.descriptors.pop_front().ok_or_else(|| invalid("its descriptor is missing"))
    }
}

/// What several threads of a child may send with, one message at a time.
pub struct Sender(UnixStream);

impl Sender {
    pub fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.0.write_all(&frame(message)?)
    }
}

/// Sends all of it on the server's side, and descriptors with its first byte.
pub async fn send_all(
    socket: &Watched,
    mut bytes: &[u8],
    mut descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    while !bytes.is_empty() {
        let send = || send(socket.as_fd(), bytes, descriptors);
        // It mostly has room: the runtime is asked only where it has none.
        let sent = match send() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                socket.async_io(Interest::WRITABLE, send).await?
            }
            sent => sent?,
        };
        (bytes, descriptors) = (bytes.get(sent..).unwrap_or_default(), &[]);
    }
    Ok(())
}

/// Waits for bytes on the server's side and reads them; 0 at the end. No descriptors come in: the kernel
/// drops any that a child sends along.
pub async fn receive(socket: &Watched, incoming: &mut Incoming) -> io::Result<usize> {
    loop {
        socket.readable().await?;
        if let Some(read) = receive_now(socket, incoming)? {
            return Ok(read);
        }
    }
}

/// The same where something has come by now; None where nothing has.
pub fn receive_now(socket: &Watched, incoming: &mut Incoming) -> io::Result<Option<usize>> {
    let mut chunk = [0; CHUNK];
    match socket.try_read(&mut chunk) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        read => {
            let read = read?;
            incoming.push(&chunk[..read]);
            Ok(Some(read))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn messages_come_in_parts_and_in_groups() {
        let frames: Vec<u8> =
            ["one", "two", ""].iter().flat_map(|text| frame(text).unwrap()).collect();
        let mut incoming = Incoming::default();
        let mut seen = Vec::new();
        for byte in &frames {
            incoming.push(std::slice::from_ref(byte));
            seen.extend(incoming.message::<String>().unwrap());
        }
        assert_eq!(seen, ["one", "two", ""]);
        incoming.push(&frames);
        let group: Vec<String> = std::iter::from_fn(|| incoming.message().unwrap()).collect();
        assert_eq!(group, seen);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bytes in [&[0xff; 8][..], &[1, 0, 0, 0, 0xff], &[2, 0, 0, 0, 9, b'x']] {
            let mut incoming = Incoming::default();
            incoming.push(bytes);
            assert!(incoming.message::<String>().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn descriptors_come_beside_their_message() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut read, write) = std::io::pipe().unwrap();
        let bytes = frame(&"take it").unwrap();
        let sent = send(ours.as_fd(), &bytes, &[write.as_fd()]).unwrap();
        assert_eq!(sent, bytes.len());
        drop((write, ours));
        let mut channel = Blocking::new(theirs.into());
        assert_eq!(channel.receive::<String>().unwrap().as_deref(), Some("take it"));
        let mut write = std::fs::File::from(channel.descriptor().unwrap());
        assert!(channel.descriptor().is_err());
        write.write_all(b"through").unwrap();
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(channel.receive::<String>().unwrap(), None);
    }
}
