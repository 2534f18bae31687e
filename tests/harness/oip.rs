//! Requests and replies of the Open Inference Protocol.

use bytes::Bytes;
use tms::grpc::proto::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
    infer_parameter::ParameterChoice,
    model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
};
use tonic::Status;

use super::Caller;

/// An input with its bytes.
pub type Raw = (InferInputTensor, Vec<u8>);

/// An input's name, type and shape.
pub fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.into(),
        ..InferInputTensor::default()
    }
}

/// An input of fp32.
pub fn floats(name: &str, shape: &[i64], values: &[f32]) -> Raw {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    (input(name, "FP32", shape), bytes.collect())
}

/// An input with one text.
pub fn text(name: &str, text: &str) -> Raw {
    let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    (input(name, "BYTES", &[1]), bytes)
}

/// A request with raw contents.
pub fn raw(model: &str, inputs: Vec<Raw>) -> ModelInferRequest {
    let (inputs, raw): (_, Vec<_>) = inputs.into_iter().unzip();
    ModelInferRequest {
        model_name: model.into(),
        inputs,
        raw_input_contents: raw.into_iter().map(Bytes::from).collect(),
        ..ModelInferRequest::default()
    }
}

/// A request with typed contents.
pub fn typed(
    model: &str,
    inputs: Vec<(InferInputTensor, InferTensorContents)>,
) -> ModelInferRequest {
    let inputs = inputs
        .into_iter()
        .map(|(input, contents)| InferInputTensor { contents: Some(contents), ..input });
    ModelInferRequest {
        model_name: model.into(),
        inputs: inputs.collect(),
        ..ModelInferRequest::default()
    }
}

/// The request, with this parameter.
pub fn with(
    mut request: ModelInferRequest,
    name: &str,
    choice: ParameterChoice,
) -> ModelInferRequest {
    let parameter = InferParameter { parameter_choice: Some(choice) };
    request.parameters.insert(name.into(), parameter);
    request
}

/// The request, as a call of a sequence.
pub fn in_sequence(
    request: ModelInferRequest,
    id: ParameterChoice,
    start: bool,
    end: bool,
) -> ModelInferRequest {
    let request = with(request, "sequence_id", id);
    let request = with(request, "sequence_start", ParameterChoice::BoolParam(start));
    with(request, "sequence_end", ParameterChoice::BoolParam(end))
}

/// The request, asking for these outputs.
pub fn wanting(mut request: ModelInferRequest, outputs: &[&str]) -> ModelInferRequest {
    let wanted = |name: &&str| InferRequestedOutputTensor {
        name: (*name).into(),
        ..InferRequestedOutputTensor::default()
    };
    request.outputs = outputs.iter().map(wanted).collect();
    request
}

pub async fn infer(
    caller: &Caller,
    request: ModelInferRequest,
) -> Result<ModelInferResponse, Status> {
    Ok(caller.inference().model_infer(request).await?.into_inner())
}

/// The values of a raw fp32 output.
pub fn to_floats(reply: &ModelInferResponse, name: &str) -> Vec<f32> {
    let position = reply.outputs.iter().position(|o| o.name == name).unwrap();
    assert_eq!(reply.outputs[position].datatype, "FP32");
    let bytes = reply.raw_output_contents[position].as_chunks().0;
    bytes.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
