//! Tensors as values of ONNX Runtime and back, over the same bytes wherever they are aligned.

use std::ops::Range;

use bytes::Bytes;
use half::{bf16, f16};
use ort::{
    session::SessionInputValue,
    value::{
        DynTensor, DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType,
    },
};

use super::strings;
use crate::nn::{DType, NnError, Tensor, check::quoted, error::said};

/// Our type for one of ONNX Runtime's; `None` for those that cannot be sent.
pub fn dtype(kind: &TensorElementType) -> Option<DType> {
    Some(match kind {
        TensorElementType::Bool => DType::Bool,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::BF16,
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::String => DType::Bytes,
        _ => return None,
    })
}

/// A failed run as its caller sees it: without source positions and paths.
pub fn failed(error: &ort::Error) -> NnError {
    /// How an allocation that failed is told: by C++, and by ONNX Runtime's own store of memory.
    const NO_MEMORY: [&str; 3] = ["bad_alloc", "bad allocation", "Failed to allocate memory"];
    tracing::debug!("ONNX Runtime: {error}");
    if NO_MEMORY.iter().any(|words| error.message().contains(words)) {
        return NnError::Memory(format!(
            "the graph needs more memory than native code may take (native_memory): {}",
            said(error.message())
        ));
    }
    NnError::Runtime(format!("the graph failed: {}", said(error.message())))
}

/// A tensor as a value of ONNX Runtime over the same bytes, or over `copy` if they are not aligned.
pub fn value<'v>(
    name: &str,
    tensor: &'v Tensor,
    copy: &'v mut Vec<u64>,
) -> Result<SessionInputValue<'v>, NnError> {
    // Dimensions over i64::MAX do not exist in a `Tensor`.
    let shape: Vec<i64> = tensor.shape().iter().map(|&d| d as i64).collect();
    fn view<'v, T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
        (shape, data, copy): (Vec<i64>, &'v Bytes, &'v mut Vec<u64>),
    ) -> ort::Result<SessionInputValue<'v>> {
        Ok(TensorRef::from_array_view((shape, elements::<T>(data, copy)))?.into())
    }
    let parts = (shape, tensor.data(), copy);
    let result = match tensor.dtype() {
        DType::Bool => view::<bool>(parts),
        DType::U8 => view::<u8>(parts),
        DType::U16 => view::<u16>(parts),
        DType::U32 => view::<u32>(parts),
        DType::U64 => view::<u64>(parts),
        DType::I8 => view::<i8>(parts),
        DType::I16 => view::<i16>(parts),
        DType::I32 => view::<i32>(parts),
        DType::I64 => view::<i64>(parts),
        DType::F16 => view::<f16>(parts),
        DType::BF16 => view::<bf16>(parts),
        DType::F32 => view::<f32>(parts),
        DType::F64 => view::<f64>(parts),
        DType::Bytes => {
            // ONNX's strings are UTF-8, and its operators rely on it.
            if !tensor.bytes_elements().all(|string| std::str::from_utf8(string).is_ok()) {
                let reason = "holds a string that is not UTF-8";
                return Err(NnError::InvalidInput(format!("input {} {reason}", quoted(name))));
            }
            strings::value(parts.0, tensor).map(Into::into)
        }
    };
    result.map_err(|e| failed(&e))
}

/// Where the elements of a tensor without any are. Rust's own address of nothing is a small number, and
/// some of ONNX Runtime's operators read the first few elements before they look how many there are.
#[repr(align(64))]
struct Nowhere([u8; 4096]);
static NOWHERE: Nowhere = Nowhere([0; 4096]);

/// The bytes of a tensor as elements, copied only if they are not aligned for `T`.
#[allow(unsafe_code)]
fn elements<'v, T: PrimitiveTensorElementType>(data: &'v Bytes, copy: &'v mut Vec<u64>) -> &'v [T] {
    let count = data.len() / size_of::<T>();
    let mut start = if count == 0 { NOWHERE.0.as_ptr() } else { data.as_ptr() };
    if !start.cast::<T>().is_aligned() {
        copy.resize(data.len().div_ceil(8), 0);
        // SAFETY: `copy` is at least `data.len()` bytes long, and a new allocation overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(start, copy.as_mut_ptr().cast(), data.len()) };
        start = copy.as_ptr().cast();
    }
    // SAFETY: `start` is aligned for T (checked, or the start of u64s, the widest type here), and the
    // bytes there live and stay unchanged for 'v. Every bit pattern is valid for the number types;
    // for `bool`, `Tensor` has checked that each byte is 0 or 1.
    unsafe { std::slice::from_raw_parts(start.cast(), count) }
}

/// An output as a tensor over the same bytes; copied if they are `lent`, the inputs' own. A graph may
/// give an input back as an output.
pub fn tensor(output: DynValue, lent: &[Range<*const u8>]) -> Result<Tensor, NnError> {
    let broken = |what: &str| NnError::Runtime(format!("the graph gave {what}"));
    let ValueType::Tensor { ty, shape, .. } = output.dtype() else {
        return Err(broken("something that is no tensor"));
    };
    let dtype = dtype(ty).ok_or_else(|| broken("a tensor of an unknown type"))?;
    let shape: Vec<u64> = shape.iter().map(|&d| d.max(0) as u64).collect();
    if dtype == DType::Bytes {
        let elements = shape.iter().product::<u64>() as usize;
        let data = strings::read(&output, elements).map_err(|e| failed(&e))?;
        return Tensor::new(dtype, shape, data).map_err(|e| broken(&e.to_string()));
    }
    let bytes = shape.iter().product::<u64>() as usize * dtype.size().unwrap_or_default();
    let data = if bytes == 0 {
        Bytes::new()
    } else {
        let value = as_tensor(output)?;
        let start = value.data_ptr().cast();
        let output = OutputBytes { value, bytes };
        if lent.iter().any(|range| range.contains(&start)) {
            Bytes::copy_from_slice(output.as_ref())
        } else {
            Bytes::from_owner(output)
        }
    };
    Tensor::new(dtype, shape, data).map_err(|e| broken(&e.to_string()))
}

fn as_tensor(output: DynValue) -> Result<DynTensor, NnError> {
    let tensor: DynTensor = output.downcast().map_err(|e| failed(&e))?;
    if !tensor.memory_info().is_cpu_accessible() || tensor.data_ptr().is_null() {
        return Err(NnError::Runtime(
            "the graph gave a tensor that is not in the CPU's memory".into(),
        ));
    }
    Ok(tensor)
}

/// The bytes of an output, which ONNX Runtime owns.
struct OutputBytes {
    value: DynTensor,
    bytes: usize,
}

impl AsRef<[u8]> for OutputBytes {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the value is a tensor of numbers in the CPU's memory (`as_tensor`) with this many
        // bytes by its own shape and type. They live as long as the value, unless they are an
        // input's (`tensor` copies those before the input goes), and nothing changes them.
        unsafe { std::slice::from_raw_parts(self.value.data_ptr().cast(), self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_elements_have_an_address_all_the_same() {
        fn check<T: PrimitiveTensorElementType>() {
            let (whole, mut copy) = (Bytes::from(vec![0; 64]), Vec::new());
            for data in
                [Bytes::new(), whole.slice(1..1), whole.slice(64..), Bytes::from(Vec::new())]
            {
                let elements = elements::<T>(&data, &mut copy);
                let start = elements.as_ptr() as usize;
                assert!(elements.is_empty() && start > 4096 && start.is_multiple_of(64));
            }
        }
        check::<bool>();
        check::<u8>();
        check::<i16>();
        check::<f16>();
        check::<bf16>();
        check::<f32>();
        check::<i64>();
        check::<f64>();
    }
}
