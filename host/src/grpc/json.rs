//! Messages of any call as JSON, and back, by their descriptors (protobuf's own mapping,
//! <https://protobuf.dev/programming-guides/json/>). What a message takes on the way is counted first.

use std::io::{self, Write};

use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    Value,
};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};
use tonic::Status;

use crate::ledger::{Charge, Room};

use super::{proto, status};

/// What a value takes: itself, in a list that grows, which has it three times while it does.
const VALUE: usize = 3 * size_of::<Value>();
/// What a message takes beside its values: its first field brings a node of a tree with room for eleven.
const NODE: usize = 1536;
/// Messages in messages, as protobuf's libraries have it.
const DEEPEST: usize = 100;

/// All calls and their messages.
pub struct Messages(DescriptorPool);

impl Messages {
    /// Those that reflection tells of, too.
    pub fn new() -> Result<Self, prost_reflect::DescriptorError> {
        let mut pool = DescriptorPool::decode(proto::DESCRIPTORS)?;
        pool.decode_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)?;
        Ok(Self(pool))
    }

    /// A call, by its path such as `/server.Server/RunText`.
    pub fn method(&self, path: &str) -> Option<MethodDescriptor> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        self.0.get_service_by_name(service)?.methods().find(|known| known.name() == method)
    }
}

/// What a message takes while it is turned into another form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Numbers, texts, and what they are in.
    pub values: usize,
    messages: usize,
    /// Of its form.
    bytes: usize,
}

impl Cost {
    /// Of JSON. What is not JSON costs something, too; it is read as far as it is.
    pub fn of_json(text: &[u8]) -> Self {
        let mut cost = Self { bytes: text.len(), ..Self::default() };
        for byte in text {
            match byte {
                b'{' => cost.messages += 1,
                b',' | b':' | b'[' => cost.values += 1,
                _ => {}
            }
        }
        cost
    }

    /// Of a message as it is on the wire.
    pub fn of_wire(descriptor: &MessageDescriptor, wire: &[u8]) -> Self {
        let mut cost = Self { bytes: wire.len(), messages: 1, values: 0 };
        // Where it ends early nothing more is made of it.
        let _ = cost.add(descriptor, wire, 0);
        cost
    }

    fn add(&mut self, of: &MessageDescriptor, mut wire: &[u8], depth: usize) -> Option<()> {
        while !wire.is_empty() {
            let (number, wire_type) = decode_key(&mut wire).ok()?;
            self.values += 1;
            let length = match wire_type {
                WireType::Varint => {
                    decode_varint(&mut wire).ok()?;
                    continue;
                }
                WireType::ThirtyTwoBit => 4,
                WireType::SixtyFourBit => 8,
                WireType::LengthDelimited => {
                    usize::try_from(decode_varint(&mut wire).ok()?).ok()?
                }
                WireType::StartGroup | WireType::EndGroup => return None,
            };
            let (value, rest) = wire.split_at_checked(length)?;
            wire = rest;
            if wire_type != WireType::LengthDelimited {
                continue;
            }
            let Some(field) = of.get_field(number) else { continue };
            if let Kind::Message(inner) = field.kind() {
                self.messages += 1;
                if depth < DEEPEST {
                    self.add(&inner, value, depth + 1)?;
                }
            } else if field.is_list() {
                self.values += packed(&field, value);
            }
        }
        Some(())
    }

    /// Bytes.
    pub fn memory(&self) -> usize {
        let values = self.values.saturating_mul(VALUE);
        let messages = self.messages.saturating_mul(NODE);
        // Its texts are there once as values, and once as they are written.
        let texts = self.bytes.saturating_mul(2);
        values.saturating_add(messages).saturating_add(texts)
    }
}

/// Numbers in a list that is written as one field.
fn packed(field: &FieldDescriptor, value: &[u8]) -> usize {
    match field.kind() {
        Kind::String | Kind::Bytes => 0,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => value.len() / 4,
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => value.len() / 8,
        // The last byte of each is the one without its highest bit.
        _ => value.iter().filter(|byte| **byte < 0x80).count(),
    }
}

/// A message in JSON, as it is on the wire.
pub fn to_wire(descriptor: MessageDescriptor, text: &[u8]) -> Result<Vec<u8>, Status> {
    let wrong = |problem: String, name: &str| {
        Status::invalid_argument(status::fit(format_args!(
            "the JSON does not fit {name}: {problem}"
        )))
    };
    let name = descriptor.full_name().to_owned();
    let mut json = serde_json::Deserializer::from_slice(text);
    let message = DynamicMessage::deserialize(descriptor, &mut json);
    let message = message.and_then(|message| json.end().map(|()| message));
    let message = message.map_err(|e| wrong(e.to_string(), &name))?;
    Ok(message.encode_to_vec())
}

/// A message on the wire, in JSON; what that takes is charged as it grows.
pub fn from_wire(
    descriptor: MessageDescriptor,
    wire: &[u8],
    charge: Charge,
) -> Result<Charged, Status> {
    let failed = |problem: String| {
        tracing::error!("a reply could not be turned into JSON: {problem}");
        Status::internal("the reply could not be turned into JSON")
    };
    let message = DynamicMessage::decode(descriptor, wire).map_err(|e| failed(e.to_string()))?;
    let mut to = Charged::new(charge);
    let mut serializer = serde_json::Serializer::with_formatter(&mut to, Floats);
    let written = message.serialize(&mut serializer);
    match (written, to.refused.take()) {
        (Ok(()), _) => Ok(to),
        (Err(_), Some(status)) => Err(status),
        (Err(e), None) => Err(failed(e.to_string())),
    }
}

/// Writes the largest float so that it is not read as one beyond it: its shortest form is rounded up.
struct Floats;

impl Formatter for Floats {
    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        match value.abs() == f32::MAX {
            true => write!(writer, "{:e}", f64::from(value)),
            false => CompactFormatter.write_f32(writer, value),
        }
    }
}

/// Bytes that are charged.
pub struct Charged {
    pub bytes: Vec<u8>,
    pub charge: Charge,
    /// Why there could be no more.
    refused: Option<Status>,
}

impl Charged {
    /// Nothing yet.
    pub fn new(charge: Charge) -> Self {
        Self { bytes: Vec::new(), charge, refused: None }
    }

    /// Makes room for this many bytes in all.
    pub fn reserve(&mut self, bytes: usize) -> Result<(), Status> {
        let more = bytes.saturating_sub(self.bytes.capacity());
        self.charge.grow(more, Room::UnderWay).map_err(status::no_room)?;
        self.bytes.reserve_exact(bytes.saturating_sub(self.bytes.len()));
        Ok(())
    }

    /// Adds bytes, if there is room for them.
    pub fn append(&mut self, more: &[u8]) -> Result<(), Status> {
        let appended = self.write(more);
        match appended {
            Ok(_) => Ok(()),
            Err(e) => Err(self.refused.take().unwrap_or_else(|| Status::internal(e.to_string()))),
        }
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Write for Charged {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let needed = self.bytes.len() + more.len();
        if needed > self.bytes.capacity() {
            // As a list grows, but charged before.
            let to = needed.max(2 * self.bytes.capacity());
            let charged = self.charge.grow(to - self.bytes.capacity(), Room::UnderWay);
            if let Err(no_room) = charged {
                self.refused = Some(status::no_room(no_room));
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.bytes.reserve_exact(to - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::inference::{
        InferTensorContents, ModelInferRequest, model_infer_request::InferInputTensor,
    };
    use super::*;
    use crate::ledger::{Account, Ledger};

    fn infer() -> MessageDescriptor {
        let messages = Messages::new().unwrap();
        messages.method("/inference.GRPCInferenceService/ModelInfer").unwrap().input()
    }

    /// Floats in a list, and a name.
    fn request(floats: Vec<f32>) -> ModelInferRequest {
        let contents = InferTensorContents { fp32_contents: floats, ..Default::default() };
        ModelInferRequest {
            model_name: "é".to_owned(),
            inputs: vec![InferInputTensor { contents: Some(contents), ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn there_and_back() {
        let ledger = Ledger::new(1 << 20);
        let wire = request(vec![1.5, f32::NAN, f32::INFINITY, -0.0, f32::MIN]).encode_to_vec();
        let text = from_wire(infer(), &wire, ledger.nothing(Account::Replies)).unwrap();
        assert_eq!(
            str::from_utf8(&text.bytes).unwrap(),
            r#"{"modelName":"é","inputs":[{"contents":{"fp32Contents":[1.5,"NaN","Infinity",-0.0,-3.4028234663852886e38]}}]}"#
        );
        assert!(text.charge.bytes() >= text.bytes.len());
        assert_eq!(to_wire(infer(), &text.bytes).unwrap(), wire);
    }

    #[test]
    fn what_is_counted_is_there() {
        let floats = 1000;
        let wire = request(vec![1.0; floats]).encode_to_vec();
        let cost = Cost::of_wire(&infer(), &wire);
        assert!((floats..floats + 10).contains(&cost.values), "{cost:?}");
        assert_eq!(cost.messages, 3);
        let ledger = Ledger::new(1 << 20);
        let text = from_wire(infer(), &wire, ledger.nothing(Account::Replies)).unwrap();
        let cost = Cost::of_json(&text.bytes);
        assert!((floats..floats + 10).contains(&cost.values), "{cost:?}");
        assert!(cost.memory() > floats * VALUE);
    }

    #[test]
    fn a_text_for_which_there_is_no_room_is_refused() {
        let ledger = Ledger::new(1 << 10);
        let wire = request(vec![1.0; 1000]).encode_to_vec();
        let refused = from_wire(infer(), &wire, ledger.nothing(Account::Replies)).err().unwrap();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn mistakes_are_named() {
        let problem = |text: &str| {
            let refused = to_wire(infer(), text.as_bytes()).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
            refused.message().to_owned()
        };
        for (text, expected) in [
            ("", "EOF"),
            ("{} {}", "trailing characters"),
            (r#"{"modle_name": "a"}"#, "modle_name"),
            (r#"{"inputs": [{"shape": ["x"]}]}"#, "line 1"),
            ("[]", "expected"),
            (&"[".repeat(1000), "expected"),
        ] {
            let said = problem(text);
            assert!(
                said.contains("inference.ModelInferRequest") && said.contains(expected),
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_cut_off_costs_what_is_there() {
        let wire = request(vec![1.0; 10]).encode_to_vec();
        for end in 0..wire.len() {
            Cost::of_wire(&infer(), &wire[..end]);
        }
    }
}
