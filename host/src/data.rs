//! What flows between the rings: a request's data and a model's result, free of gRPC and of Wasm.

use crate::nn::{Tensor, TensorInfo};

/// The name under which an image travels as a tensor, in requests and in results.
pub const IMAGE: &str = "image";

/// A tensor under the name of an input or an output.
pub type NamedTensor = (String, Tensor);

/// One request's data.
#[derive(Clone, Debug)]
pub enum Input {
    Text(String),
    /// Shape [height, width] or [height, width, channels]; u8, fp32 or fp64.
    Image(Tensor),
    Tensors(Vec<NamedTensor>),
}

impl Input {
    pub fn kind(&self) -> Kind {
        match self {
            Input::Text(_) => Kind::Text,
            Input::Image(_) => Kind::Image,
            Input::Tensors(_) => Kind::Tensors,
        }
    }
}

/// The kinds of request there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Image,
    Tensors,
}

impl Kind {
    /// With its article, for messages.
    pub fn phrase(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Image => "an image",
            Kind::Tensors => "named tensors",
        }
    }
}

/// One request's result.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// A JSON document, checked.
    pub json: Option<String>,
    pub tensors: Vec<NamedTensor>,
}

/// What a model takes and gives, as it says itself (a component) or as its graph says.
#[derive(Clone, Debug, Default)]
pub struct Description {
    pub text: bool,
    pub image: bool,
    pub tensors: bool,
    pub inputs: Vec<TensorInfo>,
    pub outputs: Vec<TensorInfo>,
}

impl Description {
    pub fn accepts(&self, kind: Kind) -> bool {
        match kind {
            Kind::Text => self.text,
            Kind::Image => self.image,
            Kind::Tensors => self.tensors,
        }
    }

    /// What it accepts, for messages: "a text or an image".
    pub fn accepted(&self) -> String {
        let kinds: Vec<_> = [Kind::Text, Kind::Image, Kind::Tensors]
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
