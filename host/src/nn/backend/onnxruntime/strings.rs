//! Tensors of strings as values of ONNX Runtime and back, any bytes in them. Past the safe calls of
//! `ort`, which take no string with a zero byte in it and give none that is not UTF-8.

use std::{ffi::c_char, ptr};

use bytes::{BufMut, Bytes, BytesMut};
use ort::{
    AsPointer, Error,
    memory::Allocator,
    value::{DynTensor, DynValue, TensorElementType},
};

use crate::nn::Tensor;

/// A tensor of strings as a value.
#[allow(unsafe_code)]
pub fn value(shape: Vec<i64>, tensor: &Tensor) -> ort::Result<DynTensor> {
    let mut value = DynTensor::new(&Allocator::default(), TensorElementType::String, shape)?;
    let resize = ort::api().GetResizedStringTensorElementBuffer;
    for (index, string) in tensor.bytes_elements().enumerate() {
        let mut buffer: *mut c_char = ptr::null_mut();
        // SAFETY: the pointer is that of a tensor of strings, which nobody else knows. The call checks
        // the index, makes that string so many bytes long, and puts where they are into `buffer`.
        unsafe {
            let status = resize(value.ptr_mut(), index, string.len(), &mut buffer);
            Error::result_from_status(status)?;
        }
        if buffer.is_null() {
            return Err(Error::new("a string has no buffer"));
        }
        // SAFETY: `buffer` is the start of so many bytes (above) of a string that nobody else has, so
        // these are no bytes of `string`. They stay where they are until that string is changed again.
        unsafe { ptr::copy_nonoverlapping(string.as_ptr(), buffer.cast::<u8>(), string.len()) };
    }
    Ok(value)
}

/// The strings of a value with so many elements, each behind its length as in a [`Tensor`]. Fails where
/// the value holds no strings.
#[allow(unsafe_code)]
pub fn read(value: &DynValue, elements: usize) -> ort::Result<Bytes> {
    if elements == 0 {
        return Ok(Bytes::new());
    }
    let api = ort::api();
    let mut total = 0;
    // SAFETY: the pointer is that of a value that lives. The call checks that it holds strings, and
    // writes one number.
    let status = unsafe { (api.GetStringTensorDataLength)(value.ptr(), &mut total) };
    // SAFETY: it comes from the call just before.
    unsafe { Error::result_from_status(status)? };
    let (mut contents, mut starts) = (vec![0u8; total], vec![0usize; elements]);
    // SAFETY: both buffers are as long as the call is told, and it checks that this is enough for what
    // it writes: the bytes of all strings, and where each starts.
    let status = unsafe {
        let (contents, starts) = (contents.as_mut_ptr().cast(), starts.as_mut_ptr());
        (api.GetStringTensorContent)(value.ptr(), contents, total, starts, elements)
    };
    // SAFETY: it comes from the call just before.
    unsafe { Error::result_from_status(status)? };
    let mut data = BytesMut::with_capacity(total + 4 * elements);
    let ends = starts.iter().skip(1).copied().chain([total]);
    for (start, end) in starts.iter().copied().zip(ends) {
        let string = contents.get(start..end).ok_or_else(|| Error::new("its strings overlap"))?;
        let length = u32::try_from(string.len()).map_err(Error::wrap)?;
        data.put_u32_le(length);
        data.put_slice(string);
    }
    Ok(data.freeze())
}
