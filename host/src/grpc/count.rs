//! What a message becomes in memory, counted on the wire before anything is made of it. Two bytes can
//! become a struct of three hundred, so that a message of nothing could take a hundred times its size.

use std::collections::HashMap;

use prost::{
    DecodeError,
    encoding::{WireType, decode_key, decode_varint},
};
use tonic::Status;

use crate::data::{Input, NamedTensor};

use super::proto::{
    inference::{
        InferParameter,
        model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    },
    server::{NamedTensor as ResultTensor, NumpyImage},
};

/// How many times its bytes a message may become, those included.
const TIMES: usize = 8;
/// What any message may become.
const ALWAYS: usize = 1 << 20;
/// Members of a batch, inputs, outputs and parameters of one message, together. They are freed on the
/// worker's thread, which that takes for a few milliseconds at most.
const MOST_ENTRIES: usize = 1 << 16;

/// What can be done on a worker's thread in a millisecond or so: fields, and bytes that are looked at.
const SHORT_FIELDS: usize = 4096;
const SHORT_WORK: usize = 256 << 10;
/// Bytes of a message that is always short.
const SHORT_MESSAGE: usize = 64 << 10;

/// Depth of groups, as prost has it.
const DEEPEST_GROUP: usize = 100;
/// Field numbers below this one are known.
const NUMBERS: usize = 9;

/// The fields of a message that matter here. The others are skipped, or are numbers in its struct.
#[derive(Debug)]
pub struct Shape(&'static [Field]);

#[derive(Debug)]
struct Field {
    number: u32,
    name: &'static str,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A text of its own; the last one counts.
    Text,
    /// A text that becomes a part of a JSON document, too.
    JsonText,
    /// A text that says of what type a tensor is.
    Datatype,
    /// Texts, each in a struct of `each` bytes.
    Texts {
        each: usize,
    },
    /// Parts of the message, which are not copied.
    Slices {
        each: usize,
    },
    /// Parts of the message that become one tensor.
    Elements {
        each: usize,
    },
    /// Numbers, each of `each` bytes in memory.
    Varints {
        each: usize,
    },
    /// Numbers, each of `each` bytes on the wire and in memory.
    Fixed {
        each: usize,
    },
    One(&'static Shape),
    /// Messages, each in a struct of `each` bytes.
    Many {
        of: &'static Shape,
        each: usize,
    },
}

const fn field(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind }
}

/// What a small allocation takes.
const SMALL: usize = 48;
/// An entry of a hash map that grows: at the worst time it has the old table and a new one, at most 7/8
/// full.
const MAP_ENTRY: usize = (size_of::<(String, InferParameter)>() + 1) * 7 / 2;
/// The same as JSON, its number included.
const JSON_ENTRY: usize = MAP_ENTRY + 64;
/// A dimension: on the wire's side in a vector that grows, then as two of ours.
const DIMENSION: usize = 5 * size_of::<u64>();
/// A text among the members of a batch.
const TEXT: usize = size_of::<String>() + size_of::<Input>();
/// An image among the members of a batch, with its shape.
const IMAGE: usize = size_of::<NumpyImage>() + size_of::<Input>() + 2 * SMALL;
/// A tensor, with what its shape takes.
const TENSOR: usize = size_of::<InferInputTensor>() + size_of::<NamedTensor>() + 2 * SMALL;
/// The same, of a vector that grows.
const NAMED: usize = 3 * size_of::<ResultTensor>() + size_of::<NamedTensor>() + 2 * SMALL;
const OUTPUT: usize = size_of::<InferRequestedOutputTensor>() + size_of::<String>();
const SLICE: usize = size_of::<bytes::Bytes>();

pub static TEXT_ARGS: Shape = Shape(&[
    field(1, "text", Kind::Text),
    field(2, "model", Kind::Text),
    field(3, "args", Kind::Text),
    field(4, "sequence", Kind::One(&SEQUENCE)),
]);

pub static IMAGE_ARGS: Shape = Shape(&[
    field(1, "image", Kind::One(&NUMPY_IMAGE)),
    field(2, "model", Kind::Text),
    field(3, "args", Kind::Text),
    field(4, "sequence", Kind::One(&SEQUENCE)),
]);

pub static ENCODED_ARGS: Shape = Shape(&[
    field(1, "encoded", Kind::One(&ENCODED)),
    field(2, "model", Kind::Text),
    field(3, "args", Kind::Text),
    field(4, "sequence", Kind::One(&SEQUENCE)),
]);

/// A request of any kind.
pub static RUN_ARGS: Shape = Shape(&[
    field(1, "text", Kind::Text),
    field(2, "model", Kind::Text),
    field(3, "args", Kind::Text),
    field(4, "sequence", Kind::One(&SEQUENCE)),
    field(5, "image", Kind::One(&NUMPY_IMAGE)),
    field(6, "encoded", Kind::One(&ENCODED)),
    field(7, "tensors", Kind::One(&TENSORS)),
]);

static SEQUENCE: Shape = Shape(&[field(1, "id", Kind::Text)]);

static ENCODED: Shape = Shape(&[field(2, "media_type", Kind::Text)]);

static TENSORS: Shape =
    Shape(&[field(1, "tensors", Kind::Many { of: &NAMED_TENSOR, each: NAMED })]);

static NAMED_TENSOR: Shape = Shape(&[
    field(1, "name", Kind::Text),
    field(2, "datatype", Kind::Datatype),
    field(3, "shape", Kind::Varints { each: DIMENSION }),
]);

pub static BATCH_TEXT_ARGS: Shape = Shape(&[
    field(1, "texts", Kind::Texts { each: TEXT }),
    field(2, "model", Kind::Text),
    field(3, "args", Kind::Text),
]);

pub static BATCH_IMAGE_ARGS: Shape = Shape(&[
    field(1, "images", Kind::Many { of: &NUMPY_IMAGE, each: IMAGE }),
    field(2, "model", Kind::Text),
    field(3, "args", Kind::Text),
]);

static NUMPY_IMAGE: Shape = Shape(&[field(5, "dtype", Kind::Text)]);

pub static INFER_REQUEST: Shape = Shape(&[
    field(1, "model_name", Kind::Text),
    field(2, "model_version", Kind::Text),
    field(3, "id", Kind::Text),
    field(4, "parameters", Kind::Many { of: &ARGUMENT_ENTRY, each: JSON_ENTRY }),
    field(5, "inputs", Kind::Many { of: &INPUT, each: TENSOR }),
    field(6, "outputs", Kind::Many { of: &REQUESTED_OUTPUT, each: OUTPUT }),
    field(7, "raw_input_contents", Kind::Slices { each: SLICE }),
]);

pub static INPUT: Shape = Shape(&[
    field(1, "name", Kind::Text),
    field(2, "datatype", Kind::Datatype),
    field(3, "shape", Kind::Varints { each: DIMENSION }),
    field(4, "parameters", Kind::Many { of: &PARAMETER_ENTRY, each: MAP_ENTRY }),
    field(5, "contents", Kind::One(&CONTENTS)),
]);

static REQUESTED_OUTPUT: Shape = Shape(&[
    field(1, "name", Kind::Text),
    field(2, "parameters", Kind::Many { of: &PARAMETER_ENTRY, each: MAP_ENTRY }),
]);

static PARAMETER_ENTRY: Shape =
    Shape(&[field(1, "key", Kind::Text), field(2, "value", Kind::One(&PARAMETER))]);
static PARAMETER: Shape = Shape(&[field(3, "string_param", Kind::Text)]);

/// The request's own parameters are the model's arguments.
static ARGUMENT_ENTRY: Shape =
    Shape(&[field(1, "key", Kind::JsonText), field(2, "value", Kind::One(&ARGUMENT))]);
static ARGUMENT: Shape = Shape(&[field(3, "string_param", Kind::JsonText)]);

/// Numbers of 32 bits may become a tensor of narrower ones, beside them.
pub static CONTENTS: Shape = Shape(&[
    field(1, "bool_contents", Kind::Varints { each: 1 }),
    field(2, "int_contents", Kind::Varints { each: 4 + 2 }),
    field(3, "int64_contents", Kind::Varints { each: 8 }),
    field(4, "uint_contents", Kind::Varints { each: 4 + 2 }),
    field(5, "uint64_contents", Kind::Varints { each: 8 }),
    field(6, "fp32_contents", Kind::Fixed { each: 4 }),
    field(7, "fp64_contents", Kind::Fixed { each: 8 }),
    field(8, "bytes_contents", Kind::Elements { each: SLICE }),
]);

/// What is known of a message before it is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Bytes that its structs and what follows from them take, at most; its own not among them.
    pub memory: usize,
    /// All fields.
    fields: usize,
    /// Bytes that are copied or checked one by one.
    work: usize,
    /// Members of lists that each are an allocation, or have some.
    entries: usize,
}

/// What is counted, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Short(Count),
    /// To count it, or to decode it, may take longer than a worker's thread has.
    Long,
}

/// Counts what can be counted and decoded in a millisecond or so.
pub fn short(shape: &'static Shape, wire: &[u8]) -> Result<Counted, Status> {
    let bounds = match wire.len() {
        ..=SHORT_MESSAGE => None,
        _ => Some((SHORT_FIELDS, SHORT_WORK)),
    };
    let mut sum = Sum { count: Count::default(), bounds };
    match walk(shape, wire, &mut sum) {
        Ok(()) => sum.count.judge(shape, wire).map(Counted::Short),
        Err(Stop::Long) => Ok(Counted::Long),
        Err(Stop::Malformed(e)) => Err(malformed(e)),
    }
}

/// Counts all there is.
pub fn whole(shape: &'static Shape, wire: &[u8]) -> Result<Count, Status> {
    let mut sum = Sum { count: Count::default(), bounds: None };
    match walk(shape, wire, &mut sum) {
        Err(Stop::Malformed(e)) => Err(malformed(e)),
        Ok(()) | Err(Stop::Long) => sum.count.judge(shape, wire),
    }
}

/// Bytes that are no message are the fault of whoever sent them.
pub fn malformed(error: impl ToString) -> Status {
    Status::invalid_argument(error.to_string())
}

/// How often each field is there, by its number; of packed numbers, how many there are. What lies deeper is
/// not counted.
pub fn occurrences(shape: &'static Shape, wire: &[u8]) -> [usize; NUMBERS] {
    struct Times([usize; NUMBERS]);
    impl See for Times {
        fn deep(&self) -> bool {
            false
        }

        fn see(&mut self, field: &'static Field, _: Count, times: usize) -> Result<(), Stop> {
            if let Some(sum) = self.0.get_mut(field.number as usize) {
                *sum += times;
            }
            Ok(())
        }
    }
    let mut times = Times([0; NUMBERS]);
    // What is malformed is found by decoding it.
    let _ = walk(shape, wire, &mut times);
    times.0
}

/// The contents of an input, on the wire. There may be several, which are one.
pub fn contents(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut wire = input;
    std::iter::from_fn(move || {
        while !wire.is_empty() {
            let (number, _, value) = next(&mut wire).ok()?;
            if number == 5 {
                return Some(value);
            }
        }
        None
    })
}

impl Count {
    /// Refuses what would take too much.
    fn judge(self, shape: &'static Shape, wire: &[u8]) -> Result<Self, Status> {
        let most = (TIMES * wire.len()).max(ALWAYS);
        if self.entries > MOST_ENTRIES {
            let (name, times, _) = largest(shape, wire, |(_, count)| count.entries);
            return Err(Status::invalid_argument(format!(
                "the message has {times} `{name}`: there may be {MOST_ENTRIES} members of lists in all"
            )));
        }
        if self.memory.saturating_add(wire.len()) > most {
            let (name, times, memory) = largest(shape, wire, |(_, count)| count.memory);
            return Err(Status::invalid_argument(format!(
                "the message has {times} `{name}`, which would take {memory} bytes of memory: a message of \
                 {} bytes may take {most} ({TIMES} times as many, at least {ALWAYS})",
                wire.len(),
            )));
        }
        Ok(self)
    }
}

/// The field that takes most, how often it is there, and how much it takes.
fn largest(
    shape: &'static Shape,
    wire: &[u8],
    by: impl Fn((usize, Count)) -> usize,
) -> (&'static str, usize, usize) {
    /// How often each field is there and what it takes. Fields are told apart by their address: names
    /// are not unique.
    #[derive(Default)]
    struct Each(HashMap<*const Field, (&'static str, usize, Count)>);
    impl See for Each {
        fn see(&mut self, field: &'static Field, seen: Count, times: usize) -> Result<(), Stop> {
            let (_, all, sum) = self.0.entry(field).or_insert((field.name, 0, Count::default()));
            *all += times;
            *sum = sum.plus(seen);
            Ok(())
        }
    }
    let mut each = Each::default();
    // It was walked before.
    let _ = walk(shape, wire, &mut each);
    let largest = each.0.into_values().max_by_key(|(_, times, count)| by((*times, *count)));
    largest.map_or(("fields", 0, 0), |(name, times, count)| (name, times, count.memory))
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_add(other.memory),
            fields: self.fields + other.fields,
            work: self.work.saturating_add(other.work),
            entries: self.entries + other.entries,
        }
    }
}

#[derive(Debug)]
enum Stop {
    Malformed(String),
    Long,
}

impl Stop {
    /// In prost's words.
    fn malformed(why: &str) -> Self {
        Self::Malformed(format!("failed to decode Protobuf message: {why}"))
    }
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Who looks at the fields of a message.
trait See {
    /// Whether messages within the message are of interest.
    fn deep(&self) -> bool {
        true
    }

    /// A field, what it takes by itself, and how many there are in it.
    fn see(&mut self, field: &'static Field, seen: Count, times: usize) -> Result<(), Stop>;

    /// Before something is looked at byte by byte.
    fn look_at(&self, bytes: usize) -> Result<(), Stop> {
        let _ = bytes;
        Ok(())
    }

    /// A field that is not known.
    fn skip(&mut self) -> Result<(), Stop> {
        Ok(())
    }
}

struct Sum {
    count: Count,
    /// Fields and work.
    bounds: Option<(usize, usize)>,
}

impl Sum {
    fn within(&self, more: usize) -> Result<(), Stop> {
        match self.bounds {
            Some((fields, work))
                if self.count.fields > fields || self.count.work.saturating_add(more) > work =>
            {
                Err(Stop::Long)
            }
            _ => Ok(()),
        }
    }
}

impl See for Sum {
    fn see(&mut self, _: &'static Field, seen: Count, _: usize) -> Result<(), Stop> {
        self.count = self.count.plus(seen);
        self.within(0)
    }

    fn look_at(&self, bytes: usize) -> Result<(), Stop> {
        self.within(bytes)
    }

    fn skip(&mut self) -> Result<(), Stop> {
        self.count.fields += 1;
        self.within(0)
    }
}

/// The next field: its number, its type and, where it has a length, its bytes.
fn next<'a>(wire: &mut &'a [u8]) -> Result<(u32, WireType, &'a [u8]), Stop> {
    let (number, wire_type) = decode_key(wire)?;
    let length = match wire_type {
        WireType::Varint => {
            decode_varint(wire)?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => decode_varint(wire)?,
        WireType::StartGroup | WireType::EndGroup => 0,
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (value, rest) = wire.split_at_checked(length).ok_or(Stop::malformed("buffer underflow"))?;
    *wire = rest;
    Ok((number, wire_type, value))
}

/// Walks over a message's fields, and over those within. What is skipped here is skipped by prost, or ends
/// its decoding.
fn walk(shape: &'static Shape, mut wire: &[u8], see: &mut impl See) -> Result<(), Stop> {
    // Fields that were there before, one bit each.
    let mut known = 0_u32;
    let mut groups = 0;
    while !wire.is_empty() {
        let (number, wire_type, value) = next(&mut wire)?;
        match wire_type {
            WireType::StartGroup if groups == DEEPEST_GROUP => {
                return Err(Stop::malformed("recursion limit reached"));
            }
            WireType::StartGroup => groups += 1,
            WireType::EndGroup if groups == 0 => {
                return Err(Stop::malformed("unexpected end group tag"));
            }
            WireType::EndGroup => groups -= 1,
            _ => {}
        }
        let field = shape.0.iter().find(|field| field.number == number);
        let Some(field) = field.filter(|_| groups == 0) else {
            see.skip()?;
            continue;
        };
        let again = known & (1 << number) != 0;
        known |= 1 << number;
        let packed = wire_type == WireType::LengthDelimited;
        // A text that comes again may have its place and that of the one before, which grew.
        let text = allocation(value.len()) * (1 + usize::from(again));
        let (mut memory, mut work, mut entries, mut times) = (0, 0, 0, 1);
        match field.kind {
            Kind::Text => (memory, work) = (text, value.len()),
            Kind::JsonText => {
                see.look_at(value.len())?;
                (memory, work) = (text + in_json(value), 2 * value.len());
            }
            Kind::Datatype => {
                (memory, work) = (text, value.len());
                // The elements of these are checked.
                if matches!(value, b"BYTES" | b"BOOL") {
                    work = SHORT_WORK + 1;
                }
            }
            Kind::Texts { each } => {
                (memory, work, entries) = (each + allocation(value.len()), value.len(), 1);
            }
            Kind::Slices { each } => (memory, entries) = (each, 1),
            Kind::Elements { each } => {
                let element = size_of::<u32>() + value.len();
                (memory, work) = (each + element, element);
            }
            Kind::Varints { each } | Kind::Fixed { each } => {
                if packed {
                    see.look_at(value.len())?;
                    times = match field.kind {
                        Kind::Fixed { each } => value.len() / each,
                        _ => value.iter().filter(|byte| **byte < 0x80).count(),
                    };
                }
                let first = if again { 0 } else { SMALL };
                (memory, work) = (times * each + first, 4 * times);
            }
            Kind::One(_) => {}
            Kind::Many { each, .. } => (memory, entries) = (each, 1),
        }
        see.see(field, Count { memory, fields: 1, work, entries }, times)?;
        if let Kind::One(within) | Kind::Many { of: within, .. } = field.kind
            && see.deep()
        {
            walk(within, value, see)?;
        }
    }
    match groups {
        0 => Ok(()),
        _ => Err(Stop::malformed("buffer underflow")),
    }
}

/// What the allocator takes for this number of bytes.
fn allocation(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        _ => (bytes + 8).next_multiple_of(16).max(32),
    }
}

/// Bytes of a text in a JSON document.
fn in_json(text: &[u8]) -> usize {
    let escaped = |byte: &u8| match byte {
        ..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    text.iter().map(escaped).sum()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::*;
    use crate::grpc::proto::{
        inference::{InferTensorContents, ModelInferRequest, infer_parameter::ParameterChoice},
        server::{BatchImageArgs, BatchTextArgs, ImageArgs, TextArgs},
    };

    fn parameters(names: [&str; 2]) -> HashMap<String, InferParameter> {
        let choice = ParameterChoice::StringParam("a \"value\"".into());
        let parameter = InferParameter { parameter_choice: Some(choice) };
        names.map(|name| (name.to_owned(), parameter.clone())).into()
    }

    /// Every field is named: one more in the protocol does not compile here.
    fn contents() -> InferTensorContents {
        InferTensorContents {
            bool_contents: vec![true; 2],
            int_contents: vec![-1; 3],
            int64_contents: vec![300; 4],
            uint_contents: vec![7; 5],
            uint64_contents: vec![u64::MAX; 6],
            fp32_contents: vec![1.5; 7],
            fp64_contents: vec![2.5; 8],
            bytes_contents: vec![Bytes::from_static(b"bytes"); 9],
        }
    }

    fn image() -> NumpyImage {
        let data = Bytes::from_static(&[1, 2, 3]);
        NumpyImage { height: 1, width: 1, channels: 3, data, dtype: "uint8".into() }
    }

    fn request() -> ModelInferRequest {
        ModelInferRequest {
            model_name: "model".into(),
            model_version: "1".into(),
            id: "id".into(),
            parameters: parameters(["a", "b"]),
            inputs: vec![
                InferInputTensor {
                    name: "name".into(),
                    datatype: "INT64".into(),
                    shape: vec![1, 300, 70_000],
                    parameters: parameters(["c", "d"]),
                    contents: Some(contents()),
                };
                3
            ],
            outputs: vec![
                InferRequestedOutputTensor {
                    name: "output".into(),
                    parameters: parameters(["e", "f"]),
                };
                4
            ],
            raw_input_contents: vec![Bytes::from_static(&[0; 9]); 5],
        }
    }

    #[test]
    fn every_list_is_counted() {
        let wire = request().encode_to_vec();
        assert_eq!(occurrences(&INFER_REQUEST, &wire), [0, 1, 1, 1, 2, 3, 4, 5, 0]);
        let input = request().inputs[0].encode_to_vec();
        assert_eq!(occurrences(&INPUT, &input), [0, 1, 1, 3, 2, 1, 0, 0, 0]);
        let found: Vec<_> = super::contents(&input).collect();
        assert_eq!(found, [contents().encode_to_vec()]);
        assert_eq!(occurrences(&CONTENTS, found[0]), [0, 2, 3, 4, 5, 6, 7, 8, 9]);
        let (model, args) = ("model".to_owned(), "{}".to_owned());
        let texts = BatchTextArgs {
            texts: vec!["text".into(); 3],
            model: model.clone(),
            args: args.clone(),
        };
        let images =
            BatchImageArgs { images: vec![image(); 4], model: model.clone(), args: args.clone() };
        let text = TextArgs {
            text: "text".into(),
            model: model.clone(),
            args: args.clone(),
            ..TextArgs::default()
        };
        let one = ImageArgs { image: Some(image()), model, args, ..ImageArgs::default() };
        for (shape, wire, first) in [
            (&BATCH_TEXT_ARGS, texts.encode_to_vec(), 3),
            (&BATCH_IMAGE_ARGS, images.encode_to_vec(), 4),
            (&TEXT_ARGS, text.encode_to_vec(), 1),
            (&IMAGE_ARGS, one.encode_to_vec(), 1),
        ] {
            assert_eq!(occurrences(shape, &wire), [0, first, 1, 1, 0, 0, 0, 0, 0]);
        }
    }

    /// What was counted is at least what the structs and their allocations come to.
    #[test]
    fn what_is_counted_is_enough() {
        let request = request();
        let texts = |parameters: &HashMap<String, InferParameter>| {
            let one = |name: &String| allocation(name.len()) + allocation(9);
            parameters.len() * size_of::<(String, InferParameter)>()
                + parameters.keys().map(one).sum::<usize>()
        };
        let input = &request.inputs[0];
        let lists = 2 + 3 * 4 + 4 * 8 + 5 * 4 + 6 * 8 + 7 * 4 + 8 * 8 + 9 * size_of::<Bytes>();
        let one = size_of::<InferInputTensor>() + lists + 3 * 8 + texts(&input.parameters);
        let output = &request.outputs[0];
        let another = size_of::<InferRequestedOutputTensor>() + texts(&output.parameters);
        let least = 3 * one + 4 * another + 5 * size_of::<Bytes>() + texts(&request.parameters);
        let wire = request.encode_to_vec();
        let count = whole(&INFER_REQUEST, &wire).unwrap();
        assert!(count.memory >= least && count.memory < 4 * least, "{count:?} of {least}");
        assert_eq!(short(&INFER_REQUEST, &wire).unwrap(), Counted::Short(count));
    }

    #[test]
    fn what_takes_long_is_not_counted_at_once() {
        let strings = |datatype: &str, bytes| ModelInferRequest {
            inputs: vec![InferInputTensor {
                datatype: datatype.into(),
                ..InferInputTensor::default()
            }],
            raw_input_contents: vec![vec![0; bytes].into()],
            ..ModelInferRequest::default()
        };
        let text = |bytes| TextArgs { text: "x".repeat(bytes), ..TextArgs::default() };
        let unknown = [0xa2, 6, 0].repeat(SHORT_FIELDS + (64 << 10));
        for (shape, wire, long) in [
            (&INFER_REQUEST, strings("FP32", 10 << 20).encode_to_vec(), false),
            (&INFER_REQUEST, strings("BYTES", 1 << 20).encode_to_vec(), true),
            (&INFER_REQUEST, strings("BYTES", 10_000).encode_to_vec(), false),
            (&TEXT_ARGS, text(SHORT_WORK).encode_to_vec(), false),
            (&TEXT_ARGS, text(SHORT_WORK + 1).encode_to_vec(), true),
            (&TEXT_ARGS, unknown, true),
        ] {
            assert_eq!(short(shape, &wire).unwrap() == Counted::Long, long);
        }
    }

    #[test]
    fn what_is_cut_off_or_nested_is_refused_as_prost_does() {
        let wire = request().encode_to_vec();
        for end in 0..wire.len() {
            // Counted or refused, as it is decoded or not.
            let counted = whole(&INFER_REQUEST, &wire[..end]);
            let decoded = ModelInferRequest::decode(&wire[..end]);
            assert_eq!(counted.is_ok(), decoded.is_ok(), "{end}");
        }
        // A group that ends is skipped, what is in it is not counted.
        let group = [&[0xa3, 6][..], &[0x2a, 0].repeat(10), &[0xa4, 6]].concat();
        assert_eq!(whole(&INFER_REQUEST, &group).unwrap().entries, 0);
        assert_eq!(ModelInferRequest::decode(&group[..]).unwrap(), ModelInferRequest::default());
        for bad in [&[0xa3, 6][..], &[0xa4, 6], &[0xa3, 6].repeat(100_000), &[0xff; 11]] {
            assert!(whole(&INFER_REQUEST, bad).is_err());
            assert!(ModelInferRequest::decode(bad).is_err());
        }
    }
}
