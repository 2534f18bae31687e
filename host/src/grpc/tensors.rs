//! The Open Inference Protocol's tensors as ours, and back: raw bytes as they are, typed contents
//! element by element.

use bytemuck::NoUninit;
use bytes::Bytes;
use tonic::Status;

use crate::{
    data::NamedTensor,
    nn::{DType, Tensor},
    text::Shape,
};

use super::{
    error_details,
    proto::inference::{
        InferTensorContents, model_infer_request::InferInputTensor,
        model_infer_response::InferOutputTensor,
    },
    status,
};

/// A request's inputs. `raw` has one entry an input, or none where contents are typed.
pub fn from_proto(
    inputs: Vec<InferInputTensor>,
    raw: Vec<Bytes>,
) -> Result<Vec<NamedTensor>, Status> {
    if !raw.is_empty() && raw.len() != inputs.len() {
        let problem =
            format!("raw_input_contents has {} entries for {} inputs", raw.len(), inputs.len());
        return Err(error_details::field("raw_input_contents", problem));
    }
    let mut raw = raw.into_iter();
    inputs
        .into_iter()
        .enumerate()
        .map(|(place, mut input)| {
            let name = std::mem::take(&mut input.name);
            match tensor(input, raw.next()) {
                Ok(tensor) => Ok((name, tensor)),
                Err(problem) => {
                    let name = status::escape(&name);
                    let field = format!("inputs[{place}]");
                    Err(error_details::field(field, format!("input `{name}`: {problem}")))
                }
            }
        })
        .collect()
}

fn tensor(input: InferInputTensor, raw: Option<Bytes>) -> Result<Tensor, String> {
    let dtype = dtype(&input.datatype)?;
    let shape = shape(&input.shape)?;
    let data = match (raw, input.contents) {
        (Some(_), Some(contents)) if contents != InferTensorContents::default() => {
            return Err("it has both raw and typed contents".into());
        }
        (Some(raw), _) => raw,
        (None, contents) => pack(dtype, contents.unwrap_or_default())?,
    };
    Tensor::new(dtype, shape, data).map_err(status::fit)
}

/// A tensor of raw bytes.
pub fn of_raw(datatype: &str, dimensions: &[i64], data: Bytes) -> Result<Tensor, String> {
    Tensor::new(dtype(datatype)?, shape(dimensions)?, data).map_err(status::fit)
}

fn dtype(datatype: &str) -> Result<DType, String> {
    DType::from_oip_name(datatype).ok_or_else(|| {
        let names: Vec<_> = DType::all().map(DType::oip_name).collect();
        let given = status::escape(datatype);
        format!("`{given}` is not a datatype: {}", names.join(", "))
    })
}

fn shape(dimensions: &[i64]) -> Result<Vec<u64>, String> {
    let shape: Result<_, _> = dimensions.iter().map(|d| u64::try_from(*d)).collect();
    shape.map_err(|_| format!("the shape {} has a negative dimension", Shape(dimensions)))
}

/// Typed contents as a tensor's bytes.
fn pack(dtype: DType, contents: InferTensorContents) -> Result<Bytes, String> {
    let InferTensorContents {
        bool_contents,
        int_contents,
        int64_contents,
        uint_contents,
        uint64_contents,
        fp32_contents,
        fp64_contents,
        bytes_contents,
    } = contents;
    /// Narrower types travel in 32 bits; what does not fit is an error.
    macro_rules! narrow {
        ($values:expr, $to:ty) => {{
            let mut bytes = Vec::with_capacity($values.len() * size_of::<$to>());
            for value in $values {
                let value = <$to>::try_from(value)
                    .map_err(|_| format!("{value} does not fit {}", dtype.oip_name()))?;
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            bytes
        }};
    }
    /// These are in memory as a tensor has them.
    macro_rules! wide {
        ($values:expr) => {
            return Ok(Bytes::from_owner(Numbers($values)))
        };
    }
    let bytes: Vec<u8> = match dtype {
        DType::Bool => wide!(bool_contents),
        DType::I8 => narrow!(int_contents, i8),
        DType::I16 => narrow!(int_contents, i16),
        DType::I32 => wide!(int_contents),
        DType::I64 => wide!(int64_contents),
        DType::U8 => narrow!(uint_contents, u8),
        DType::U16 => narrow!(uint_contents, u16),
        DType::U32 => wide!(uint_contents),
        DType::U64 => wide!(uint64_contents),
        DType::F32 => wide!(fp32_contents),
        DType::F64 => wide!(fp64_contents),
        DType::F16 | DType::BF16 => {
            return Err(format!("{} travels in raw_input_contents only", dtype.oip_name()));
        }
        DType::Bytes => {
            let length = |element: &Bytes| size_of::<u32>() + element.len();
            let mut bytes = Vec::with_capacity(bytes_contents.iter().map(length).sum());
            for element in bytes_contents {
                let length = u32::try_from(element.len())
                    .map_err(|_| "an element has more than 4 GiB".to_owned())?;
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(&element);
            }
            bytes
        }
    };
    Ok(bytes.into())
}

/// A tensor's elements, as bytes in the order of this processor, which is little-endian (see
/// [`bytemuck`] for which types that is sound).
struct Numbers<T>(Vec<T>);

impl<T: NoUninit> AsRef<[u8]> for Numbers<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::try_cast_slice(&self.0).unwrap_or_default()
    }
}

/// A result's tensors. Typed contents where `typed` and every type has them, raw bytes otherwise:
/// a reply is one or the other.
pub fn to_proto(tensors: Vec<NamedTensor>, typed: bool) -> (Vec<InferOutputTensor>, Vec<Bytes>) {
    let typed =
        typed && tensors.iter().all(|(_, t)| !matches!(t.dtype(), DType::F16 | DType::BF16));
    let mut raw = Vec::new();
    let outputs = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let contents = match typed {
                true => Some(unpack(&tensor)),
                false => {
                    raw.push(tensor.data().clone());
                    None
                }
            };
            InferOutputTensor {
                name,
                datatype: tensor.dtype().oip_name().into(),
                shape: tensor.shape().iter().map(|d| *d as i64).collect(),
                parameters: Default::default(),
                contents,
            }
        })
        .collect();
    (outputs, raw)
}

/// A tensor's bytes as typed contents.
fn unpack(tensor: &Tensor) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    let data = tensor.data();
    macro_rules! read {
        ($field:ident, $from:ty) => {
            contents.$field = data
                .as_chunks::<{ size_of::<$from>() }>()
                .0
                .iter()
                .map(|bytes| <$from>::from_le_bytes(*bytes).into())
                .collect()
        };
    }
    match tensor.dtype() {
        DType::Bool => contents.bool_contents = data.iter().map(|b| *b != 0).collect(),
        DType::I8 => read!(int_contents, i8),
        DType::I16 => read!(int_contents, i16),
        DType::I32 => read!(int_contents, i32),
        DType::I64 => read!(int64_contents, i64),
        DType::U8 => read!(uint_contents, u8),
        DType::U16 => read!(uint_contents, u16),
        DType::U32 => read!(uint_contents, u32),
        DType::U64 => read!(uint64_contents, u64),
        DType::F32 => read!(fp32_contents, f32),
        DType::F64 => read!(fp64_contents, f64),
        // `to_proto` sends these raw.
        DType::F16 | DType::BF16 => {}
        DType::Bytes => {
            contents.bytes_contents = tensor.bytes_elements().map(Bytes::copy_from_slice).collect();
        }
    }
    contents
}
