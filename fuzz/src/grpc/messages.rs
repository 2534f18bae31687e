//! Structured messages: names that exist and others, shapes that fit their data and others.

use arbitrary::{Result, Unstructured};
use prost::Message;
use tms::grpc::proto::{
    inference::{
        InferParameter, InferTensorContents, ModelInferRequest, ModelMetadataRequest,
        ModelReadyRequest,
        infer_parameter::ParameterChoice,
        model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    },
    server::{
        BatchImageArgs, BatchTextArgs, Encoded, EncodedArgs, ImageArgs, NamedTensor, NumpyImage,
        RunArgs, Sequence, StringArg, Tensors, TextArgs, run_args::Input,
    },
};
use tonic_health::pb::HealthCheckRequest;
use tonic_reflection::pb::v1::{
    ExtensionRequest, ServerReflectionRequest, server_reflection_request::MessageRequest,
};

const MODELS: [&str; 8] =
    ["example_text", "counter", "echo", "nn_probe", "tensor_sum", "graph", "broken", ""];
const ARGS: [&str; 8] =
    ["", "\"\"", "null", "{}", "{\"args\": true}", "{\"graph\": \"graph\"}", "[", "{\"a\": 1e999}"];
const PROBES: [&str; 8] = [
    "load:x",
    "graph:graph",
    "graph:../graph",
    "empty run:graph",
    "tensor",
    "short tensor",
    "no json",
    "no answer",
];
const DTYPES: [(&str, usize); 15] = [
    ("BOOL", 1),
    ("UINT8", 1),
    ("UINT16", 2),
    ("UINT32", 4),
    ("UINT64", 8),
    ("INT8", 1),
    ("INT16", 2),
    ("INT32", 4),
    ("INT64", 8),
    ("FP16", 2),
    ("BF16", 2),
    ("FP32", 4),
    ("FP64", 8),
    ("BYTES", 5),
    ("FP8", 1),
];
const INPUTS: [&str; 6] = ["a", "b", "x", "image", "sum", ""];

/// A message of the method.
pub fn message(method: &str, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let call = method.rsplit('/').next().unwrap_or_default();
    Ok(match call {
        "RunText" => {
            let (model, args) = model_and_args(u)?;
            TextArgs { text: one_of(u, &PROBES)?, model, args, ..TextArgs::default() }
                .encode_to_vec()
        }
        "RunImage" | "RunImageToImage" => {
            let (model, args) = model_and_args(u)?;
            let image = if u.ratio(15, 16)? { Some(image(u)?) } else { None };
            ImageArgs { image, model, args, ..ImageArgs::default() }.encode_to_vec()
        }
        "RunBatchText" => {
            let (model, args) = model_and_args(u)?;
            let texts = several(u, 8, |u| one_of(u, &PROBES))?;
            BatchTextArgs { texts, model, args }.encode_to_vec()
        }
        "RunBatchImage" | "RunBatchImageToImage" => {
            let (model, args) = model_and_args(u)?;
            BatchImageArgs { images: several(u, 4, image)?, model, args }.encode_to_vec()
        }
        "GetInputShape" => StringArg { data: one_of(u, &MODELS)? }.encode_to_vec(),
        "ModelReady" => {
            let (name, version) = (one_of(u, &MODELS)?, one_of(u, &["", "1"])?);
            ModelReadyRequest { name, version }.encode_to_vec()
        }
        "ModelMetadata" => {
            let (name, version) = (one_of(u, &MODELS)?, one_of(u, &["", "1"])?);
            ModelMetadataRequest { name, version }.encode_to_vec()
        }
        "RunEncoded" => {
            let (model, args) = model_and_args(u)?;
            let encoded = if u.ratio(15, 16)? { Some(encoded(u)?) } else { None };
            EncodedArgs { encoded, model, args, sequence: sequence(u)? }.encode_to_vec()
        }
        "RunStream" | "RunSession" => {
            let (model, args) = model_and_args(u)?;
            let input = match u.int_in_range(0..=4)? {
                0 => Some(Input::Text(one_of(u, &PROBES)?)),
                1 => Some(Input::Image(image(u)?)),
                2 => Some(Input::Encoded(encoded(u)?)),
                3 => Some(Input::Tensors(Tensors { tensors: several(u, 4, named_tensor)? })),
                _ => None,
            };
            RunArgs { input, model, args, sequence: sequence(u)? }.encode_to_vec()
        }
        "ModelInfer" | "ModelStreamInfer" => infer(u)?.encode_to_vec(),
        "Check" | "Watch" => {
            let service = one_of(u, &["", "echo", "TinyModelServer"])?;
            HealthCheckRequest { service }.encode_to_vec()
        }
        "ServerReflectionInfo" => reflection(u)?.encode_to_vec(),
        // The others take nothing; the original's client sends this.
        _ => StringArg { data: u.arbitrary()? }.encode_to_vec(),
    })
}

/// One of these mostly, else anything.
fn one_of(u: &mut Unstructured<'_>, known: &[&str]) -> Result<String> {
    let index = usize::from(u.arbitrary::<u8>()?);
    match known.get(index % (known.len() + 1)) {
        Some(word) => Ok((*word).to_owned()),
        None => u.arbitrary(),
    }
}

fn several<T>(
    u: &mut Unstructured<'_>,
    most: u8,
    mut one: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=most)?).map(|_| one(u)).collect()
}

fn model_and_args(u: &mut Unstructured<'_>) -> Result<(String, String)> {
    Ok((one_of(u, &MODELS)?, one_of(u, &ARGS)?))
}

/// Bytes of about the length that is right.
fn data(u: &mut Unstructured<'_>, right: usize) -> Result<Vec<u8>> {
    let seed: &[u8] = u.arbitrary()?;
    if u.ratio(1, 16)? {
        return Ok(seed.to_vec());
    }
    Ok(seed.iter().copied().chain(std::iter::repeat(0)).take(right.min(1 << 15)).collect())
}

fn encoded(u: &mut Unstructured<'_>) -> Result<Encoded> {
    let media_type = one_of(u, &["image/png", "Audio/WAV; rate=8000", "png", ""])?;
    Ok(Encoded { data: data(u, 100)?.into(), media_type })
}

fn sequence(u: &mut Unstructured<'_>) -> Result<Option<Sequence>> {
    if u.ratio(3, 4)? {
        return Ok(None);
    }
    Ok(Some(Sequence { id: one_of(u, &["a", ""])?, start: u.arbitrary()?, end: u.arbitrary()? }))
}

fn named_tensor(u: &mut Unstructured<'_>) -> Result<NamedTensor> {
    let (datatype, size) = *u.choose(&DTYPES)?;
    let shape: Vec<i64> = several(u, 4, |u| u.int_in_range(-1..=5))?;
    let right = shape.iter().fold(size, |product: usize, dimension| {
        product.saturating_mul(usize::try_from(*dimension).unwrap_or(0))
    });
    let (name, data) = (one_of(u, &INPUTS)?, data(u, right)?.into());
    Ok(NamedTensor { name, datatype: datatype.into(), shape, data })
}

fn image(u: &mut Unstructured<'_>) -> Result<NumpyImage> {
    let mut dimension = || match u.ratio(15, 16)? {
        true => u.int_in_range(0..=9),
        false => u.arbitrary::<i32>(),
    };
    let (height, width, channels) = (dimension()?, dimension()?, dimension()?);
    let dtype = one_of(u, &["uint8", "float32", "float64"])?;
    let size = match dtype.as_str() {
        "float32" => 4,
        "float64" => 8,
        _ => 1,
    };
    let right = [height, width, channels].into_iter().fold(size, |product: usize, dimension| {
        product.saturating_mul(usize::try_from(dimension).unwrap_or(0))
    });
    Ok(NumpyImage { height, width, channels, data: data(u, right)?.into(), dtype })
}

fn infer(u: &mut Unstructured<'_>) -> Result<ModelInferRequest> {
    let mut request = ModelInferRequest {
        model_name: one_of(u, &MODELS)?,
        model_version: if u.ratio(1, 16)? { u.arbitrary()? } else { String::new() },
        id: if u.ratio(1, 16)? { u.arbitrary()? } else { String::new() },
        ..Default::default()
    };
    let raw = u.arbitrary()?;
    for _ in 0..u.int_in_range(0..=4)? {
        let name = one_of(u, &INPUTS)?;
        let (datatype, size) = match u.ratio(15, 16)? {
            true => u.choose(&DTYPES).map(|(name, size)| ((*name).to_owned(), *size))?,
            false => (u.arbitrary()?, 1),
        };
        let shape = several(u, 5, |u| match u.ratio(15, 16)? {
            true => Ok(i64::from(u.int_in_range(0..=4u8)?)),
            false => u.arbitrary(),
        })?;
        let right = shape.iter().fold(size, |product: usize, dimension| {
            product.saturating_mul(usize::try_from(*dimension).unwrap_or(0))
        });
        let contents = match raw {
            true => {
                request.raw_input_contents.push(data(u, right)?.into());
                if u.ratio(1, 16)? { Some(contents(u, &datatype, 1)?) } else { None }
            }
            false => Some(contents(u, &datatype, right / size)?),
        };
        let parameters = Default::default();
        request.inputs.push(InferInputTensor { name, datatype, shape, parameters, contents });
    }
    if u.ratio(1, 16)? {
        request.raw_input_contents.push(u.arbitrary::<&[u8]>()?.to_vec().into());
    }
    for _ in 0..u.int_in_range(0..=2)? {
        request.parameters.insert(one_of(u, &["graph", "args"])?, parameter(u)?);
    }
    for _ in 0..u.int_in_range(0..=2)? {
        let name = one_of(u, &["sum", "product", "a", "a_sum"])?;
        let parameters = Default::default();
        request.outputs.push(InferRequestedOutputTensor { name, parameters });
    }
    Ok(request)
}

/// Typed contents, in the datatype's field mostly.
fn contents(u: &mut Unstructured<'_>, datatype: &str, count: usize) -> Result<InferTensorContents> {
    let count = count.min(1 << 10);
    let number = if u.ratio(1, 16)? { u.arbitrary()? } else { u.int_in_range(0..=1)? };
    let datatype = if u.ratio(15, 16)? { datatype } else { *u.choose(&["INT64", "BYTES"])? };
    let mut contents = InferTensorContents::default();
    match datatype {
        "BOOL" => contents.bool_contents = vec![number != 0; count],
        "UINT8" | "UINT16" | "UINT32" => contents.uint_contents = vec![number as u32; count],
        "INT8" | "INT16" | "INT32" => contents.int_contents = vec![number as i32; count],
        "INT64" => contents.int64_contents = vec![number; count],
        "UINT64" => contents.uint64_contents = vec![number as u64; count],
        "FP32" => contents.fp32_contents = vec![number as f32; count],
        "FP64" => contents.fp64_contents = vec![f64::from_bits(number as u64); count],
        _ => contents.bytes_contents = vec![u.arbitrary::<&[u8]>()?.to_vec().into(); count],
    }
    Ok(contents)
}

fn parameter(u: &mut Unstructured<'_>) -> Result<InferParameter> {
    let parameter_choice = match u.int_in_range(0..=5)? {
        0 => Some(ParameterChoice::BoolParam(u.arbitrary()?)),
        1 => Some(ParameterChoice::Int64Param(u.arbitrary()?)),
        2 => Some(ParameterChoice::StringParam(one_of(u, &["graph"])?)),
        3 => Some(ParameterChoice::DoubleParam(u.arbitrary()?)),
        4 => Some(ParameterChoice::Uint64Param(u.arbitrary()?)),
        _ => None,
    };
    Ok(InferParameter { parameter_choice })
}

fn reflection(u: &mut Unstructured<'_>) -> Result<ServerReflectionRequest> {
    let name = one_of(u, &["server.Server", "server.proto", "inference.InferParameter"])?;
    let message_request = match u.int_in_range(0..=5)? {
        0 => Some(MessageRequest::FileByFilename(name)),
        1 => Some(MessageRequest::FileContainingSymbol(name)),
        2 => Some(MessageRequest::FileContainingExtension(ExtensionRequest {
            containing_type: name,
            extension_number: u.arbitrary()?,
        })),
        3 => Some(MessageRequest::AllExtensionNumbersOfType(name)),
        4 => Some(MessageRequest::ListServices(name)),
        _ => None,
    };
    Ok(ServerReflectionRequest { host: String::new(), message_request })
}
