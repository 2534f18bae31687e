//! In a component: handles on what the host holds, and the ways between its types and ours.

use crate::bindings::tms::model::{graphs, tensors, types};
use crate::bindings::wasi::nn::{errors::ErrorCode, graph};
use crate::element::DType;
use crate::{Error, Fault, Result, TensorInfo};

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
