//! Tensors: a type, a shape and shared bytes. Cloning, reshaping and taking rows copy no data.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::DType;
use crate::text::Shape;

/// An immutable, row-major array of any rank. An empty shape is a scalar.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Arc<[u64]>,
    /// The product of `shape`.
    elements: usize,
    data: Bytes,
}

/// Why bytes and a shape do not make a tensor. Messages are for whoever sent them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TensorError {
    #[error("shape {} is too large", Shape(shape))]
    TooLarge { shape: Vec<u64> },
    #[error("{got} bytes of data do not make {dtype} {}, which takes {wanted}", Shape(shape))]
    Length { dtype: DType, shape: Vec<u64>, wanted: usize, got: usize },
    #[error("the data holds {got} strings, but shape {} takes {wanted}", Shape(shape))]
    Strings { shape: Vec<u64>, wanted: usize, got: usize },
    #[error(
        "the data ends inside string {index}: each string is its length as a 32-bit little-endian number, then its bytes"
    )]
    Truncated { index: usize },
    #[error("element {index} of a bool tensor is {value}, not 0 or 1")]
    NotBool { index: usize, value: u8 },
    #[error(
        "a tensor of shape {} cannot take shape {}: the number of elements differs",
        Shape(from),
        Shape(to)
    )]
    Reshape { from: Vec<u64>, to: Vec<u64> },
    #[error("rows {start} to {start}+{count} do not exist in a tensor of shape {}", Shape(shape))]
    Rows { shape: Vec<u64>, start: u64, count: u64 },
}

/// What a graph takes or gives under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    pub dtype: DType,
    /// Outermost dimension first; -1 where any size is accepted; empty for a scalar and where the
    /// graph does not say.
    pub shape: Vec<i64>,
}

impl Tensor {
    /// Makes a tensor of `data`, which must hold exactly as many elements as `shape` says.
    pub fn new(
        dtype: DType,
        shape: impl Into<Arc<[u64]>>,
        data: Bytes,
    ) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let elements = count(&shape)?;
        match dtype.size() {
            Some(size) => {
                let wanted = elements
                    .checked_mul(size)
                    .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })?;
                if wanted != data.len() {
                    let (shape, got) = (shape.to_vec(), data.len());
                    return Err(TensorError::Length { dtype, shape, wanted, got });
                }
            }
            None => {
                let got = count_strings(&data)?;
                if got != elements {
                    return Err(TensorError::Strings {
                        shape: shape.to_vec(),
                        wanted: elements,
                        got,
                    });
                }
            }
        }
        // Native code reads these bytes as `bool`, where any other value is undefined behaviour.
        if dtype == DType::Bool
            && let Some(index) = data.iter().position(|&b| b > 1)
        {
            return Err(TensorError::NotBool { index, value: data[index] });
        }
        Ok(Tensor { dtype, shape, elements, data })
    }

    /// Makes a tensor of strings.
    pub fn from_bytes_elements<S: AsRef<[u8]>>(
        shape: impl Into<Arc<[u64]>>,
        elements: impl IntoIterator<Item = S>,
    ) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let mut data = BytesMut::new();
        for element in elements {
            let element = element.as_ref();
            let length = u32::try_from(element.len())
                .map_err(|_| TensorError::TooLarge { shape: shape.to_vec() })?;
            data.put_u32_le(length);
            data.put_slice(element);
        }
        Tensor::new(DType::Bytes, shape, data.freeze())
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    pub fn data(&self) -> &Bytes {
        &self.data
    }

    pub fn byte_length(&self) -> usize {
        self.data.len()
    }

    /// The number of elements: the product of the shape.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The elements of a tensor of strings; nothing for any other type.
    pub fn bytes_elements(&self) -> impl Iterator<Item = &[u8]> {
        let data: &[u8] = if self.dtype == DType::Bytes { &self.data } else { &[] };
        Strings { data }
    }

    /// The same bytes under another shape with as many elements.
    pub fn reshape(&self, shape: impl Into<Arc<[u64]>>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        if count(&shape)? != self.elements {
            return Err(TensorError::Reshape { from: self.shape.to_vec(), to: shape.to_vec() });
        }
        Ok(Tensor { shape, ..self.clone() })
    }

    /// Rows `start` to `start + count` of the outermost dimension.
    pub fn rows(&self, start: u64, count: u64) -> Result<Tensor, TensorError> {
        let error = || TensorError::Rows { shape: self.shape.to_vec(), start, count };
        let (&height, inner) = self.shape.split_first().ok_or_else(error)?;
        let end = start.checked_add(count).filter(|&end| end <= height).ok_or_else(error)?;
        // With a row too large to count there is an outer or inner dimension of 0: no data at all.
        let row = inner.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).unwrap_or(0);
        let (first, last) = (start.saturating_mul(row) as usize, end.saturating_mul(row) as usize);
        let bytes = match self.dtype.size() {
            Some(size) => first.saturating_mul(size)..last.saturating_mul(size),
            None => {
                let (from, rest) = skip_strings(&self.data, first);
                let (length, _) = skip_strings(rest, last - first);
                from..from + length
            }
        };
        let shape: Arc<[u64]> = std::iter::once(count).chain(inner.iter().copied()).collect();
        let data = if self.elements == 0 { Bytes::new() } else { self.data.slice(bytes) };
        Ok(Tensor { dtype: self.dtype, shape, elements: last - first, data })
    }
}

/// The product of a shape. Dimensions stay within what native code can express.
fn count(shape: &[u64]) -> Result<usize, TensorError> {
    let too_large = || TensorError::TooLarge { shape: shape.to_vec() };
    if shape.iter().any(|&d| d > i64::MAX as u64) {
        return Err(too_large());
    }
    // Without those of 0: native code multiplies the others all the same, for its strides.
    let mut others = shape.iter().filter(|d| **d > 0);
    let product = others.try_fold(1u64, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
    let product = isize::try_from(product).map_err(|_| too_large())?;
    Ok(if shape.contains(&0) { 0 } else { product.unsigned_abs() })
}

/// The elements of length-prefixed strings, up to the first that is cut off.
struct Strings<'a> {
    data: &'a [u8],
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.data.split_first_chunk::<4>()?;
        let (element, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.data = rest;
        Some(element)
    }
}

fn count_strings(data: &[u8]) -> Result<usize, TensorError> {
    let mut strings = Strings { data };
    let index = strings.by_ref().count();
    if strings.data.is_empty() { Ok(index) } else { Err(TensorError::Truncated { index }) }
}

/// Skips `n` strings; gives the bytes they take and what follows them.
fn skip_strings(data: &[u8], n: usize) -> (usize, &[u8]) {
    let mut strings = Strings { data };
    strings.by_ref().take(n).for_each(drop);
    (data.len() - strings.data.len(), strings.data)
}

#[cfg(test)]
#[path = "tensor_tests.rs"]
mod tests;
