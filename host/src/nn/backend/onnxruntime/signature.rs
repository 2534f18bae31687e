//! What a graph of ONNX Runtime takes and gives.

use ort::value::ValueType;

use super::values::dtype;
use crate::nn::{
    LoadError, TensorInfo,
    check::{Signature, quoted},
};

/// What the graph takes and gives.
pub fn signature(session: &ort::session::Session) -> Result<Signature, LoadError> {
    let mut signature = Signature::default();
    for input in session.inputs() {
        match info(input.name(), input.dtype()) {
            Ok(info) => signature.inputs.push(info),
            Err(kind) => {
                return Err(LoadError::Graph(format!(
                    "input {} is a {kind}: only tensors of known types can be sent",
                    quoted(input.name())
                )));
            }
        }
    }
    // A default value of a type that cannot be sent simply stays in use.
    let defaults = session.overridable_initializers();
    signature.optional =
        defaults.iter().filter_map(|input| info(input.name(), input.dtype()).ok()).collect();
    for output in session.outputs().iter().map(|output| (output.name(), output.dtype())) {
        match info(output.0, output.1) {
            Ok(info) => signature.outputs.push(info),
            Err(kind) => signature.unusable.push((output.0.to_string(), kind)),
        }
    }
    Ok(signature)
}

/// One input or output; for those that are no tensors of our types, what they are instead.
fn info(name: &str, kind: &ValueType) -> Result<TensorInfo, String> {
    match kind {
        ValueType::Tensor { ty, shape, .. } => match dtype(ty) {
            Some(dtype) => Ok(TensorInfo { name: name.to_string(), dtype, shape: shape.to_vec() }),
            None => Err(format!("tensor of {ty}")),
        },
        ValueType::Sequence(of) if of.is_map() => Err("sequence of maps".into()),
        ValueType::Sequence(_) => Err("sequence of tensors".into()),
        ValueType::Map { .. } => Err("map".into()),
        ValueType::Optional(_) => Err("value that may be absent".into()),
    }
}
