//! What flows between the rings: a request's data and a model's result, free of gRPC and of Wasm.

use crate::{
    ledger::Charge,
    nn::{Tensor, TensorInfo},
};

/// The version of every model: there is one.
pub const VERSION: &str = "1";

/// The name under which an image travels as a tensor, in requests and in results.
pub const IMAGE: &str = "image";

/// The same for a file, whose bytes are a tensor of one dimension.
pub const ENCODED: &str = "encoded";

/// A tensor under the name of an input or an output.
pub type NamedTensor = (String, Tensor);

/// Checks that a text is JSON, and nested no deeper than any reader of JSON takes: the one used here
/// takes any depth, others fail or overflow their stack.
pub fn check_json(text: &str) -> Result<(), String> {
    const DEEPEST: usize = 100;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|e| e.to_string())?;
    // Most have fewer brackets than that, and need no closer look.
    if memchr::memchr2_iter(b'[', b'{', text.as_bytes()).nth(DEEPEST).is_none() {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
        if depth > DEEPEST {
            return Err(format!("nested more than {DEEPEST} deep"));
        }
    }
    Ok(())
}

/// One request's data.
#[derive(Clone, Debug)]
pub enum Input {
    Text(String),
    /// Shape [height, width] or [height, width, channels]; u8, fp32 or fp64.
    Image(Tensor),
    Tensors(Vec<NamedTensor>),
    Encoded(Encoded),
}

/// A file, such as a JPEG or a WAV.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Shape [bytes], u8.
    pub bytes: Tensor,
    /// In lower case and without parameters, such as image/jpeg.
    pub media_type: String,
}

impl Input {
    /// Of its text, or of its tensors' elements.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Image(image) => image.byte_length(),
            Self::Encoded(encoded) => encoded.bytes.byte_length(),
            Self::Tensors(named) => {
                named.iter().map(|(_, tensor)| tensor.byte_length()).fold(0, usize::saturating_add)
            }
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Input::Text(_) => Kind::Text,
            Input::Image(_) => Kind::Image,
            Input::Tensors(_) => Kind::Tensors,
            Input::Encoded(_) => Kind::Encoded,
        }
    }
}

/// The kinds of request there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Image,
    Tensors,
    Encoded,
}

impl Kind {
    /// With its article, for messages.
    pub fn phrase(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Image => "an image",
            Kind::Tensors => "named tensors",
            Kind::Encoded => "an encoded file",
        }
    }
}

/// One request's result.
#[derive(Debug, Default)]
pub struct Output {
    /// A JSON document, checked.
    pub json: Option<String>,
    pub tensors: Vec<NamedTensor>,
    /// What the bytes are that are in the tensor `encoded`: a media type.
    pub media_type: Option<String>,
    /// The most calls that were in one native run with this one, itself included; None where none of
    /// its graphs is batched.
    pub batch: Option<usize>,
    /// What the server's memory is charged for it, where that is not in the tensors' own bytes.
    pub charge: Option<Charge>,
}

impl Output {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.json.is_none() && self.tensors.is_empty() && self.media_type.is_none()
    }
}

/// What a model takes and gives, as it says itself (a component) or as its graph says.
#[derive(Clone, Debug, Default)]
pub struct Description {
    pub text: bool,
    pub image: bool,
    pub tensors: bool,
    pub encoded: bool,
    /// The media types that it takes of files; any where there are none.
    pub media_types: Vec<String>,
    /// [height, width, channels] or [height, width] that suits the model; None where any size does.
    pub input_shape: Option<Vec<u32>>,
    pub inputs: Vec<TensorInfo>,
    pub outputs: Vec<TensorInfo>,
    /// It gives parts of its results before the end, to callers who take parts.
    pub streams: bool,
    /// Its instances keep state between the calls of a sequence.
    pub sequences: bool,
    pub meaning: Meaning,
}

/// What a model's data means, in words for people; each may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    pub model: String,
    pub text: String,
    pub args: String,
    pub json: String,
    /// Of inputs and outputs, by name.
    pub tensors: Vec<(String, String)>,
}

impl Description {
    pub fn accepts(&self, kind: Kind) -> bool {
        match kind {
            Kind::Text => self.text,
            Kind::Image => self.image,
            Kind::Tensors => self.tensors,
            Kind::Encoded => self.encoded,
        }
    }

    /// What it accepts, for messages: "a text or an image".
    pub fn accepted(&self) -> String {
        let kinds: Vec<_> = [Kind::Text, Kind::Image, Kind::Tensors, Kind::Encoded]
            .into_iter()
            .filter(|k| self.accepts(*k))
            .map(Kind::phrase)
            .collect();
        match kinds.as_slice() {
            [] => "no requests".into(),
            some => some.join(" or "),
        }
    }
}
