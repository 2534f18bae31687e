//! Messages and replies in Zstandard (RFC 8878). A message says how much memory its decoder is to have: that is
//! looked at before the decoder is made.

use std::io::{self, Read};

use bytes::{Buf, Bytes, buf::Reader};
use tonic::Status;

/// What writes a reply.
pub type Encoder = ::zstd::stream::write::Encoder<'static, Vec<u8>>;

/// The largest window that is taken, 8 MiB: what a decoder should take by the RFC (section 3.1.1.1.2). Encoders
/// go beyond it only where they are told to.
const MOST_WINDOW_LOG: u32 = 23;
/// What a decoder takes beside the window.
const DECODER: usize = 512 << 10;
/// Of 1 to 22; zstd's own for speed.
const LEVEL: i32 = 1;

/// An encoder that adds to `to`.
pub fn encoder(to: Vec<u8>) -> io::Result<Encoder> {
    Encoder::new(to, LEVEL)
}

/// How many bytes the decoder of this message takes, if they may be had.
pub fn memory(message: &[u8]) -> Result<usize, Status> {
    let Some(window) = window(message) else {
        return Err(Status::invalid_argument("the compressed message is not zstd's"));
    };
    if window > 1 << MOST_WINDOW_LOG {
        return Err(Status::invalid_argument(format!(
            "the compressed message wants a window of {window} bytes: at most {} are given",
            1 << MOST_WINDOW_LOG
        )));
    }
    Ok(DECODER + window as usize)
}

/// The window that the frame's header names (section 3.1.1.1); the content, where that is all in one segment.
fn window(message: &[u8]) -> Option<u64> {
    let rest = message.strip_prefix(&0xfd2f_b528_u32.to_le_bytes())?;
    let (descriptor, rest) = rest.split_first()?;
    let is_one_segment = descriptor & 1 << 5 != 0;
    if !is_one_segment {
        let window = *rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (length, more) = [(1, 0), (2, 256), (4, 0), (8, 0)][usize::from(descriptor >> 6)];
    let content = rest.get(dictionary..dictionary + length)?;
    let mut bytes = [0; 8];
    bytes[..length].copy_from_slice(content);
    u64::from_le_bytes(bytes).checked_add(more)
}

/// Reads a message of one frame.
pub struct Decoder(::zstd::stream::read::Decoder<'static, Reader<Bytes>>);

impl Decoder {
    pub fn new(message: Bytes) -> io::Result<Self> {
        let mut decoder =
            ::zstd::stream::read::Decoder::with_buffer(message.reader())?.single_frame();
        decoder.window_log_max(MOST_WINDOW_LOG)?;
        Ok(Self(decoder))
    }
}

impl Read for Decoder {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(to)?;
        if read == 0 && self.0.get_ref().get_ref().has_remaining() {
            return Err(io::Error::other("something follows its end"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn windows_are_known_before_a_decoder_is_made() {
        for length in [0, 1, 255, 256, 1000, 65_791, 65_792, 1 << 19] {
            // In one segment, as its length is known.
            let frame = ::zstd::bulk::compress(&vec![7; length], 1).unwrap();
            assert_eq!(window(&frame), Some(length as u64));
        }
        for log in [10, 19, 23, 27] {
            let mut encoder = encoder(Vec::new()).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(&[7; 1000]).unwrap();
            // Its header goes before its length is known.
            encoder.flush().unwrap();
            let frame = encoder.finish().unwrap();
            assert_eq!(window(&frame), Some(1 << log));
            assert_eq!(memory(&frame).is_ok(), log <= MOST_WINDOW_LOG, "{log}");
        }
        for bad in [&b""[..], b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\xe0\x01", b"gzip or so"] {
            assert!(memory(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_message_is_one_frame() {
        let frame = ::zstd::bulk::compress(b"hello", 1).unwrap();
        let read = |bytes: &[u8]| {
            let mut text = String::new();
            let mut decoder = Decoder::new(Bytes::copy_from_slice(bytes))?;
            decoder.read_to_string(&mut text).map(|_| text)
        };
        assert_eq!(read(&frame).unwrap(), "hello");
        assert!(read(&[&frame[..], &frame[..]].concat()).is_err());
        assert!(read(&frame[..frame.len() - 1]).is_err());
    }
}
