//! A reply's message, encoded: its large fields of bytes, as images and tensors are, stay where they are.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut, buf::UninitSlice};
use prost::Message;

/// Bytes of gRPC's frame in front of a message: whether that is compressed, and its length.
pub const PREFIX: usize = 5;

/// The frame of a message. Messages that are too long for it are refused before.
pub fn prefix(compressed: bool, bytes: usize) -> [u8; PREFIX] {
    let [a, b, c, d] = u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    [u8::from(compressed), a, b, c, d]
}

/// A field of at least as many bytes is not copied: it goes in a piece of its own, which takes a while, too.
const LARGE: usize = 64 << 10;

/// A message that says how much of it can be sent without a copy.
pub trait Reply: Message {
    /// Its fields of bytes.
    fn slices(&self) -> impl Iterator<Item = &Bytes>;

    /// Bytes that are not copied as it is encoded.
    fn uncopied(&self) -> usize {
        self.slices().map(Bytes::len).filter(|bytes| *bytes >= LARGE).sum()
    }
}

/// The message in gRPC's frame, in pieces that follow each other. `bytes` is its encoded length.
pub fn encode(message: &impl Reply, bytes: usize) -> VecDeque<Bytes> {
    let copied = bytes.saturating_sub(message.uncopied());
    let mut pieces = Pieces::new(PREFIX + copied);
    pieces.put_slice(&prefix(false, bytes));
    message.encode_raw(&mut pieces);
    pieces.end()
}

/// What is encoded, in the order of the wire.
struct Pieces {
    ended: VecDeque<Bytes>,
    /// What follows them.
    last: BytesMut,
}

impl Pieces {
    fn new(copied: usize) -> Self {
        Self { ended: VecDeque::new(), last: BytesMut::with_capacity(copied) }
    }

    fn end(mut self) -> VecDeque<Bytes> {
        if !self.last.is_empty() {
            self.ended.push_back(self.last.freeze());
        }
        self.ended
    }
}

// SAFETY: all that concerns memory is done by `last`, which keeps what this trait demands: `chunk_mut`
// and `advance_mut` are its own, unchanged. `put` gives bytes only to safe functions.
#[allow(unsafe_code)]
unsafe impl BufMut for Pieces {
    fn remaining_mut(&self) -> usize {
        self.last.remaining_mut()
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        // SAFETY: whoever calls this vouches for `count` bytes of what `chunk_mut` gave, which is
        // what `last` wants to be told.
        unsafe { self.last.advance_mut(count) }
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        self.last.chunk_mut()
    }

    fn put<T: Buf>(&mut self, mut source: T)
    where
        Self: Sized,
    {
        if source.remaining() < LARGE {
            self.last.put(source);
            return;
        }
        if !self.last.is_empty() {
            self.ended.push_back(self.last.split().freeze());
        }
        // Of `Bytes`, as prost's fields are, these are the same.
        self.ended.push_back(source.copy_to_bytes(source.remaining()));
    }

    fn put_slice(&mut self, bytes: &[u8]) {
        self.last.put_slice(bytes);
    }

    fn put_u8(&mut self, byte: u8) {
        self.last.put_u8(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::server::{NamedTensor, NumpyImage, Parts, Response};
    use super::*;

    fn tensor(bytes: usize) -> NamedTensor {
        let data = Bytes::from(vec![7; bytes]);
        NamedTensor { name: "t".into(), datatype: "UINT8".into(), shape: vec![1], data }
    }

    #[test]
    fn pieces_are_the_message_and_large_fields_are_not_copied() {
        let image = NumpyImage { data: vec![1; LARGE].into(), height: 1, ..NumpyImage::default() };
        let parts = Parts { tensors: vec![tensor(LARGE), tensor(LARGE - 1)], ..Parts::default() };
        let message = Response {
            data: "x".repeat(2 * LARGE),
            image: Some(image),
            tensors: vec![tensor(0), tensor(10), tensor(3 * LARGE)],
            batch: vec![Parts::default(), parts],
            ..Response::default()
        };
        let bytes = message.encoded_len();
        let pieces = encode(&message, bytes);
        let slices = [0, 3].map(|at| message.slices().nth(at).unwrap().as_ptr());
        for slice in slices {
            assert!(pieces.iter().any(|piece| piece.as_ptr() == slice));
        }
        assert_eq!(message.uncopied(), 5 * LARGE);
        let whole: Vec<u8> = pieces.into_iter().flatten().collect();
        let (prefix, encoded) = whole.split_at(PREFIX);
        assert_eq!((prefix[0], &prefix[1..]), (0, &(bytes as u32).to_be_bytes()[..]));
        assert_eq!(Response::decode(encoded).unwrap(), message);
        assert_eq!(encoded, message.encode_to_vec());
    }

    #[test]
    fn a_small_message_is_one_piece() {
        let message = Response { data: "null".into(), ..Response::default() };
        let pieces = encode(&message, message.encoded_len());
        assert_eq!(pieces.len(), 1);
    }
}
