//! In a component: handles on what the host holds, and the ways between its types and ours.

use crate::bindings::tms::model::{context, graphs, models, responses, tensors, types};
use crate::bindings::wasi::nn::{errors::ErrorCode, graph};
use crate::context::{Sequence, Trace};
use crate::element::DType;
use crate::{Error, Fault, Input, Output, Result, Tensor, TensorInfo};

/// A tensor's bytes, in the host.
#[derive(Debug)]
pub(crate) struct RawTensor(pub(crate) tensors::Tensor);

impl RawTensor {
    pub(crate) fn new(dtype: DType, shape: &[u64], data: &[u8]) -> Self {
        Self(tensors::Tensor::new(dtype.into(), shape, data))
    }

    pub(crate) fn dtype(&self) -> DType {
        self.0.dtype().into()
    }

    pub(crate) fn shape(&self) -> Vec<u64> {
        self.0.shape()
    }

    pub(crate) fn byte_length(&self) -> u64 {
        self.0.byte_length()
    }

    pub(crate) fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        self.0.read(offset, length)
    }

    pub(crate) fn share(&self) -> Self {
        Self(self.0.share())
    }

    pub(crate) fn reshape(&self, shape: &[u64]) -> Self {
        Self(self.0.reshape(shape))
    }

    pub(crate) fn rows(&self, start: u64, count: u64) -> Self {
        Self(self.0.rows(start, count))
    }
}

/// A graph, in the host.
#[derive(Debug)]
pub(crate) struct RawGraph(graph::Graph);

impl RawGraph {
    pub(crate) fn load(name: &str) -> Result<Self> {
        graph::load_by_name(name).map(Self).map_err(|error| {
            let fault = match error.code() {
                ErrorCode::NotFound | ErrorCode::InvalidArgument | ErrorCode::Security => {
                    Fault::Model
                }
                _ => Fault::Server,
            };
            Error::new(fault, error.data())
        })
    }

    pub(crate) fn inputs(&self) -> Vec<TensorInfo> {
        graphs::inputs(&self.0).into_iter().map(Into::into).collect()
    }

    pub(crate) fn outputs(&self) -> Vec<TensorInfo> {
        graphs::outputs(&self.0).into_iter().map(Into::into).collect()
    }

    pub(crate) fn compute(
        &self,
        inputs: Vec<(String, RawTensor)>,
        outputs: &[String],
    ) -> Result<Vec<(String, RawTensor)>> {
        let inputs = inputs.into_iter().map(|(name, tensor)| (name, tensor.0)).collect();
        let computed = graphs::compute(&self.0, inputs, outputs).map_err(error_from)?;
        Ok(computed.into_iter().map(|(name, tensor)| (name, RawTensor(tensor))).collect())
    }
}

/// Pairs of equal cases, both ways.
macro_rules! same {
    ($ours:ty, $theirs:ty: $($our:ident = $their:ident),+ $(,)?) => {
        impl From<$ours> for $theirs {
            fn from(value: $ours) -> Self {
                match value { $(<$ours>::$our => Self::$their),+ }
            }
        }
        impl From<$theirs> for $ours {
            fn from(value: $theirs) -> Self {
                match value { $(<$theirs>::$their => Self::$our),+ }
            }
        }
    };
}

same!(DType, tensors::Dtype:
    Bool = Bool, U8 = U8, U16 = U16, U32 = U32, U64 = U64, I8 = S8, I16 = S16, I32 = S32,
    I64 = S64, F16 = Fp16, BF16 = Bf16, F32 = Fp32, F64 = Fp64, Bytes = Bytes);
same!(Fault, types::Fault: Caller = Caller, Model = Model, Server = Server);

impl From<tensors::TensorInfo> for TensorInfo {
    fn from(info: tensors::TensorInfo) -> Self {
        Self { name: info.name, dtype: info.dtype.into(), shape: info.shape }
    }
}

impl From<TensorInfo> for tensors::TensorInfo {
    fn from(info: TensorInfo) -> Self {
        Self { name: info.name, dtype: info.dtype.into(), shape: info.shape }
    }
}

// `types::Error` is also a `std::error::Error`, so `?` would lose its fault: convert by hand.
fn error_from(error: types::Error) -> Error {
    Error::new(error.fault.into(), error.message)
}

/// The way out.
pub(crate) fn error_into(error: Error) -> types::Error {
    types::Error { fault: error.fault().into(), message: error.message().to_owned() }
}

impl From<Output> for types::Output {
    fn from(output: Output) -> Self {
        let tensors = output.tensors.into_iter();
        let tensors = tensors.map(|(name, tensor)| (name, tensor.into_raw().0)).collect();
        Self { json: output.json, tensors, media_type: output.media_type }
    }
}

impl From<types::Output> for Output {
    fn from(output: types::Output) -> Self {
        let tensors = output.tensors.into_iter();
        let tensors = tensors.map(|(name, raw)| (name, Tensor::from_raw(RawTensor(raw)))).collect();
        Self { json: output.json, tensors, media_type: output.media_type }
    }
}

impl From<Input> for types::Input {
    fn from(input: Input) -> Self {
        let named = |name: &str, tensor: Tensor| vec![(name.to_owned(), tensor.into_raw().0)];
        let (kind, text, tensors, media_type) = match input {
            Input::Text(text) => (types::Kind::Text, text, Vec::new(), String::new()),
            Input::Image(image) => {
                let tensors = named("image", image.into_tensor());
                (types::Kind::Image, String::new(), tensors, String::new())
            }
            Input::Tensors(tensors) => {
                let tensors = tensors.into_iter();
                let tensors = tensors.map(|(name, tensor)| (name, tensor.into_raw().0)).collect();
                (types::Kind::Tensors, String::new(), tensors, String::new())
            }
            Input::Encoded(file) => {
                let media_type = file.media_type().to_owned();
                let tensors = named("encoded", file.into_tensor());
                (types::Kind::Encoded, String::new(), tensors, media_type)
            }
        };
        Self { kind, text, tensors, media_type }
    }
}

/// Parts of a result.
pub(crate) fn streaming() -> bool {
    responses::streaming()
}

pub(crate) fn emit(part: Output) -> Result<()> {
    responses::emit(part.into()).map_err(error_from)
}

/// Other models.
pub(crate) fn other_models() -> Vec<String> {
    models::names()
}

pub(crate) fn run_other(model: &str, input: Input, args: &str) -> Result<Output> {
    models::run(model, input.into(), args).map(Into::into).map_err(error_from)
}

pub(crate) fn run_other_batch(model: &str, inputs: Vec<Input>, args: &str) -> Result<Vec<Output>> {
    let inputs = inputs.into_iter().map(Into::into).collect();
    let outputs = models::run_batch(model, inputs, args).map_err(error_from)?;
    Ok(outputs.into_iter().map(Into::into).collect())
}

/// What is known of the call.
pub(crate) use context::{metadata, model_name, model_version, parameters, request_id};

pub(crate) fn time_left() -> u64 {
    context::time_left()
}

pub(crate) fn sequence() -> Option<Sequence> {
    let member = context::sequence()?;
    Some(Sequence { id: member.id, start: member.start, end: member.end })
}

pub(crate) fn trace() -> Option<Trace> {
    let trace = context::trace_context()?;
    Some(Trace { parent: trace.parent, state: trace.state })
}
