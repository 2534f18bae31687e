//! HTTP/2 frame by frame, for what no library would send, or leave unread.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::BufMut;
use socket2::{Domain, Socket, Type};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that the server sent.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.put_u32(stream);
    frame.extend(payload);
    frame
}

/// The encoded headers of a call.
pub fn headers(path: &str) -> Vec<u8> {
    // POST, http; then names of the static table, and one that is not there, without indexing.
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend(name);
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    };
    literal(&[0x04], path);
    literal(&[0x01], "localhost");
    literal(&[0x0f, 0x10], "application/grpc");
    literal(b"\x00\x02te", "trailers");
    block
}

/// A gRPC message: a byte and its length, then itself.
pub fn message(encoded: &[u8]) -> Vec<u8> {
    let mut message = vec![0];
    message.put_u32(encoded.len() as u32);
    message.extend(encoded);
    message
}

/// A whole call.
pub fn call(stream: u32, path: &str, encoded: &[u8]) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &headers(path));
    [head, frame(DATA, END_STREAM, stream, &message(encoded))].concat()
}

/// A connection that sends what it is told.
pub struct Wire(pub TcpStream);

impl Wire {
    /// A connection without a byte.
    pub fn silent(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        // A test that waits for what does not come must end.
        stream.set_read_timeout(Some(super::LONG)).unwrap();
        Self(stream)
    }

    /// A connection that has begun, whose caller has little room for what comes and does not wait for long to
    /// send.
    pub fn deaf(port: u16) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        socket.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        Self(socket.into()).begins(&[])
    }

    /// A connection that has begun, with these settings: pairs of identifier and value.
    pub fn begun(port: u16, settings: &[(u16, u32)]) -> Self {
        Self::silent(port).begins(settings)
    }

    fn begins(mut self, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (identifier, value) in settings {
            payload.put_u16(*identifier);
            payload.put_u32(*value);
        }
        self.write(&[PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()).unwrap();
        self
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.write(&frame(kind, flags, stream, payload))
    }

    /// Begins a call.
    pub fn call(&mut self, stream: u32, path: &str) -> io::Result<()> {
        self.send(HEADERS, END_HEADERS, stream, &headers(path))
    }

    /// The next frame, or None where the server has closed the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        let read = self.0.read_exact(&mut header);
        if let Err(e) = &read {
            assert_ne!(e.kind(), io::ErrorKind::WouldBlock, "nothing came");
            return None;
        }
        let [high, middle, low, kind, _, stream @ ..] = header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(stream);
        Some(Frame { kind, stream, payload })
    }

    /// The next frame of this kind. Others pass.
    pub fn next(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.frame()).find(|frame| frame.kind == kind)
    }

    /// Whether the server closes the connection, with what it sends before.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).unwrap();
        let mut bytes = [0; 4096];
        loop {
            match self.0.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return e.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }
}
