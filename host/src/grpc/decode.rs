//! From a message's bytes to its structs, whose memory is charged before they are made: lists get their
//! exact size at once, as one that grows takes three times that. What takes long leaves the worker's thread.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint},
};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::ledger::{Account, Charge, Ledger, Room, Tenant};

use super::{
    count::{self, Counted, Shape},
    proto::{
        inference::{
            InferTensorContents, ModelInferRequest, model_infer_request::InferInputTensor,
        },
        server::{BatchImageArgs, BatchTextArgs, EncodedArgs, ImageArgs, RunArgs, TextArgs},
    },
    status,
};

/// What a call takes beside its message, while it waits or is answered.
pub const CALL: usize = 4 << 10;

/// A message of no more takes part in what is kept for little ones.
pub const LITTLE: usize = 64 << 10;

/// A request's message that is decoded here.
pub trait Request: Message + Default + 'static {
    /// Its fields, to count them before.
    const SHAPE: &'static Shape;
    /// Whether something of it stays where it is in the message's bytes.
    const HAS_SLICES: bool;

    fn decoded(wire: Bytes) -> Result<Self, DecodeError>;
}

impl Request for TextArgs {
    const SHAPE: &'static Shape = &count::TEXT_ARGS;
    const HAS_SLICES: bool = false;

    fn decoded(wire: Bytes) -> Result<Self, DecodeError> {
        Self::decode(wire)
    }
}

impl Request for ImageArgs {
    const SHAPE: &'static Shape = &count::IMAGE_ARGS;
    const HAS_SLICES: bool = true;

    fn decoded(wire: Bytes) -> Result<Self, DecodeError> {
        Self::decode(wire)
    }
}

impl Request for EncodedArgs {
    const SHAPE: &'static Shape = &count::ENCODED_ARGS;
    const HAS_SLICES: bool = true;

    fn decoded(wire: Bytes) -> Result<Self, DecodeError> {
        Self::decode(wire)
    }
}

impl Request for RunArgs {
    const SHAPE: &'static Shape = &count::RUN_ARGS;
    const HAS_SLICES: bool = true;

    fn decoded(wire: Bytes) -> Result<Self, DecodeError> {
        Self::decode(wire)
    }
}

impl Request for BatchTextArgs {
    const SHAPE: &'static Shape = &count::BATCH_TEXT_ARGS;
    const HAS_SLICES: bool = false;

    fn decoded(wire: Bytes) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        let [_, texts, ..] = count::occurrences(Self::SHAPE, &wire);
        message.texts.reserve_exact(texts);
        message.merge(wire)?;
        Ok(message)
    }
}

impl Request for BatchImageArgs {
    const SHAPE: &'static Shape = &count::BATCH_IMAGE_ARGS;
    const HAS_SLICES: bool = true;

    fn decoded(wire: Bytes) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        let [_, images, ..] = count::occurrences(Self::SHAPE, &wire);
        message.images.reserve_exact(images);
        message.merge(wire)?;
        Ok(message)
    }
}

impl Request for ModelInferRequest {
    const SHAPE: &'static Shape = &count::INFER_REQUEST;
    const HAS_SLICES: bool = true;

    fn decoded(mut wire: Bytes) -> Result<Self, DecodeError> {
        /// The field of inputs, the only one with lists within.
        const INPUTS: u32 = 5;
        let mut message = Self::default();
        let [_, _, _, _, parameters, inputs, outputs, raw, _] =
            count::occurrences(Self::SHAPE, &wire);
        message.parameters.reserve(parameters);
        message.inputs.reserve_exact(inputs);
        message.outputs.reserve_exact(outputs);
        message.raw_input_contents.reserve_exact(raw);
        while wire.has_remaining() {
            let (number, wire_type) = decode_key(&mut wire)?;
            if (number, wire_type) != (INPUTS, WireType::LengthDelimited) {
                message.merge_field(number, wire_type, &mut wire, DecodeContext::default())?;
                continue;
            }
            // It was counted, so that its bytes are there.
            let length = usize::try_from(decode_varint(&mut wire)?).unwrap_or(usize::MAX);
            let bytes = wire.split_to(length.min(wire.len()));
            let mut input = roomy(&bytes);
            input.merge(bytes)?;
            message.inputs.push(input);
        }
        Ok(message)
    }
}

/// An input with room for just the typed contents that it has.
fn roomy(wire: &[u8]) -> InferInputTensor {
    let mut input = InferInputTensor::default();
    for contents in count::contents(wire) {
        let of = input.contents.get_or_insert_with(InferTensorContents::default);
        let [_, bools, ints, int64s, uints, uint64s, fp32s, fp64s, bytes] =
            count::occurrences(&count::CONTENTS, contents);
        of.bool_contents.reserve_exact(bools);
        of.int_contents.reserve_exact(ints);
        of.int64_contents.reserve_exact(int64s);
        of.uint_contents.reserve_exact(uints);
        of.uint64_contents.reserve_exact(uint64s);
        of.fp32_contents.reserve_exact(fp32s);
        of.fp64_contents.reserve_exact(fp64s);
        of.bytes_contents.reserve_exact(bytes);
    }
    input
}

/// A message's bytes as they came.
pub enum Raw {
    /// A part of what HTTP/2 read: many small messages may have their place in one such buffer. It is not
    /// charged yet.
    Frame(Bytes),
    /// A buffer of its own.
    Own { bytes: Vec<u8>, charge: Charge },
}

impl Raw {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Frame(bytes) => bytes,
            Self::Own { bytes, .. } => bytes,
        }
    }
}

/// Bytes that are charged as long as a part of them is needed.
struct Held {
    bytes: Vec<u8>,
    _charge: Arc<Mutex<Charge>>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a request is charged: until it is answered, and its bytes as long as anything holds them.
pub struct Charges {
    call: Charge,
    /// Of a message that has a buffer of its own.
    bytes: Option<Arc<Mutex<Charge>>>,
}

impl Charges {
    /// The request is this model's, as is known now. Small ones are nobody's: it would cost more than they.
    pub fn give_to(&mut self, tenant: &Arc<Tenant>) {
        if self.call.bytes() > LITTLE {
            self.call.give_to(tenant);
        }
        if let Some(bytes) = &self.bytes {
            bytes.lock().unwrap_or_else(PoisonError::into_inner).give_to(tenant);
        }
    }
}

/// Makes a request of a message's bytes. With it comes the charge for what they have become.
pub async fn decode<M: Request, R: From<M> + Send + 'static>(
    raw: Raw,
    ledger: &Arc<Ledger>,
    long: &Arc<Semaphore>,
) -> Result<(R, Charges), Status> {
    match count::short(M::SHAPE, raw.bytes())? {
        Counted::Short(count) => decode_here::<M, R>(raw, count.memory, ledger),
        Counted::Long => {
            let ledger = ledger.clone();
            let work = move || {
                let count = count::whole(M::SHAPE, raw.bytes())?;
                decode_here::<M, R>(raw, count.memory, &ledger)
            };
            // Large, and seldom: not a part of every call.
            Box::pin(elsewhere(long, work)).await
        }
    }
}

fn decode_here<M: Request, R: From<M>>(
    raw: Raw,
    memory: usize,
    ledger: &Arc<Ledger>,
) -> Result<(R, Charges), Status> {
    let own = match &raw {
        // All of a small one is charged until the call is answered.
        Raw::Frame(frame) => frame.len(),
        Raw::Own { .. } => 0,
    };
    let needs = own + memory + CALL;
    let room = if needs <= LITTLE { Room::Little } else { Room::New };
    let call = ledger.charge(Account::Inputs, needs, room).map_err(status::no_room)?;
    let mut charges = Charges { call, bytes: None };
    let wire = match raw {
        Raw::Frame(frame) if M::HAS_SLICES => frame.to_vec().into(),
        Raw::Frame(frame) => frame,
        Raw::Own { bytes, charge: mut held } => {
            held.move_to(Account::Inputs);
            let held = Arc::new(Mutex::new(held));
            charges.bytes = Some(held.clone());
            Bytes::from_owner(Held { bytes, _charge: held })
        }
    };
    let message = M::decoded(wire).map_err(count::malformed)?;
    Ok((message.into(), charges))
}

/// Does what takes a while on a thread of its own, a few at once. It goes on where nobody waits any more.
pub async fn elsewhere<T: Send + 'static>(
    long: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let broken = |what: String| {
        tracing::error!("a message could not be read: {what}");
        Status::internal("the message could not be read")
    };
    let turn = long.clone().acquire_owned().await.map_err(|e| broken(e.to_string()))?;
    let work = move || {
        let _turn = turn;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| broken(e.to_string()))?
}
