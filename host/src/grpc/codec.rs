//! Messages on the wire: prost's encoding in buffers that fit. tonic's own codec takes two buffers of
//! 8 KiB a call, and its buffer for a reply with an image grows twice, to double the image's size.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, EncodeBuf},
};
use tonic_prost::{ProstCodec, ProstDecoder};

/// Bytes of a buffer at first: enough for small messages, and one that the allocator has at hand.
const FIRST: usize = 1000;
/// A buffer for a message of which only gRPC's frame is left.
const EMPTY: usize = 16;
/// A reply is handed on in pieces of at least so many bytes: all at once, as tonic does it too.
const YIELD: usize = 32 << 10;

/// The codec of all calls; build.rs names it.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(FIRST, YIELD)
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Encoder<T> {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> Decoder<U> {
        Decoder(ProstCodec::<T, U>::raw_decoder(settings()))
    }
}

/// prost's, but that bytes which are no message are the fault of whoever sent them: tonic says INTERNAL.
#[derive(Debug)]
pub struct Decoder<U>(ProstDecoder<U>);

impl<U: Message + Default> tonic::codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let decoded = self.0.decode(buffer);
        decoded.map_err(|e| Status::invalid_argument(e.message()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        // Most messages are decoded before, and are empty here.
        BufferSettings::new(EMPTY, YIELD)
    }
}

#[derive(Debug)]
pub struct Encoder<T>(PhantomData<T>);

impl<T: Message> tonic::codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|e| Status::internal(e.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}
