//! Types of elements, and what a graph or a model says of its tensors, here and in each interface.

use crate::nn::{DType, TensorInfo};

use super::bindings::{tensors, v0_1, wasi::nn::tensor};

macro_rules! dtypes {
    ($($wit:ident $host:ident)*) => {
        impl From<tensors::Dtype> for DType {
            fn from(dtype: tensors::Dtype) -> Self {
                match dtype { $(tensors::Dtype::$wit => DType::$host,)* }
            }
        }

        impl From<DType> for tensors::Dtype {
            fn from(dtype: DType) -> Self {
                match dtype { $(DType::$host => tensors::Dtype::$wit,)* }
            }
        }

        impl From<v0_1::tensors::Dtype> for tensors::Dtype {
            fn from(dtype: v0_1::tensors::Dtype) -> Self {
                match dtype { $(v0_1::tensors::Dtype::$wit => tensors::Dtype::$wit,)* }
            }
        }

        impl From<tensors::Dtype> for v0_1::tensors::Dtype {
            fn from(dtype: tensors::Dtype) -> Self {
                match dtype { $(tensors::Dtype::$wit => v0_1::tensors::Dtype::$wit,)* }
            }
        }
    };
}

dtypes! {
    Bool Bool  U8 U8  U16 U16  U32 U32  U64 U64  S8 I8  S16 I16  S32 I32  S64 I64
    Fp16 F16  Bf16 BF16  Fp32 F32  Fp64 F64  Bytes Bytes
}

impl From<&TensorInfo> for tensors::TensorInfo {
    fn from(info: &TensorInfo) -> Self {
        Self { name: info.name.clone(), dtype: info.dtype.into(), shape: info.shape.clone() }
    }
}

impl From<tensors::TensorInfo> for TensorInfo {
    fn from(info: tensors::TensorInfo) -> Self {
        Self { name: info.name, dtype: info.dtype.into(), shape: info.shape }
    }
}

/// Ours for one of wasi:nn's.
pub fn from_nn(ty: tensor::TensorType) -> DType {
    match ty {
        tensor::TensorType::Fp16 => DType::F16,
        tensor::TensorType::Fp32 => DType::F32,
        tensor::TensorType::Fp64 => DType::F64,
        tensor::TensorType::Bf16 => DType::BF16,
        tensor::TensorType::U8 => DType::U8,
        tensor::TensorType::I32 => DType::I32,
        tensor::TensorType::I64 => DType::I64,
    }
}

/// wasi:nn's for one of ours; none for the types that it lacks.
pub fn to_nn(dtype: DType) -> Option<tensor::TensorType> {
    Some(match dtype {
        DType::F16 => tensor::TensorType::Fp16,
        DType::F32 => tensor::TensorType::Fp32,
        DType::F64 => tensor::TensorType::Fp64,
        DType::BF16 => tensor::TensorType::Bf16,
        DType::U8 => tensor::TensorType::U8,
        DType::I32 => tensor::TensorType::I32,
        DType::I64 => tensor::TensorType::I64,
        _ => return None,
    })
}
