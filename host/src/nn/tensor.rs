//! Tensors: a type, a shape and shared bytes. Cloning, reshaping and taking rows copy no data. The bytes
//! may be in another process until they are fetched.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{DType, NnError, away::Away};
use crate::{
    child::region::UNCHARGED,
    ledger::{Account, Charge, Ledger, NoRoom, Room},
    text::Shape,
};

/// An immutable, row-major array of any rank. An empty shape is a scalar.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Arc<[u64]>,
    /// The product of `shape`.
    elements: usize,
    data: Data,
}

/// A tensor's bytes.
#[derive(Clone, Debug)]
enum Data {
    Here(Bytes),
    /// Of numbers only, as all their bytes are valid.
    Away(Arc<Away>),
}

/// Bytes with their charge.
struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// In place of bytes that are not here.
static NOTHING: Bytes = Bytes::new();

impl Data {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::Here(bytes) => bytes,
            Self::Away(away) => away.here().unwrap_or(&NOTHING),
        }
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Away(a), Self::Away(b)) if Arc::ptr_eq(a, b) => true,
            _ => self.bytes() == other.bytes(),
        }
    }
}

/// Why bytes and a shape do not make a tensor. Messages are for whoever sent them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TensorError {
    #[error("shape {} is too large", Shape(shape))]
    TooLarge { shape: Vec<u64> },
    #[error("a tensor of {rank} dimensions: there may be at most {MAX_RANK}")]
    Rank { rank: usize },
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    pub name: String,
    pub dtype: DType,
    /// Outermost dimension first; -1 where any size is accepted; empty for a scalar and where the
    /// graph does not say.
    pub shape: Vec<i64>,
}

impl TensorInfo {
    /// Whether a tensor of these dimensions fits. An empty shape says nothing of the rank.
    pub fn takes(&self, dimensions: &[u64]) -> bool {
        let fits = |wanted: i64, given: u64| wanted < 0 || u64::try_from(wanted) == Ok(given);
        let same_rank = self.shape.is_empty() || self.shape.len() == dimensions.len();
        let mut pairs = self.shape.iter().zip(dimensions);
        same_rank && pairs.all(|(wanted, given)| fits(*wanted, *given))
    }
}

impl Tensor {
    /// Makes a tensor of `data`, which must hold exactly as many elements as `shape` says.
    pub fn new(
        dtype: DType,
        shape: impl Into<Arc<[u64]>>,
        data: Bytes,
    ) -> Result<Tensor, TensorError> {
        Unchecked::new(dtype, shape, data)?.finish()
    }

    /// Makes a tensor of data whose elements somebody has checked who can be trusted.
    pub(super) fn checked_before(
        dtype: DType,
        shape: impl Into<Arc<[u64]>>,
        data: Bytes,
    ) -> Result<Tensor, TensorError> {
        Ok(Unchecked::new(dtype, shape, data)?.tensor)
    }

    /// Makes a tensor of numbers whose bytes are elsewhere.
    pub(super) fn elsewhere(
        dtype: DType,
        shape: impl Into<Arc<[u64]>>,
        away: Away,
    ) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let (elements, got) = (count(&shape)?, away.length());
        let wanted = dtype.size().and_then(|size| elements.checked_mul(size));
        if dtype == DType::Bool || wanted != Some(got) {
            let (shape, wanted) = (shape.to_vec(), wanted.unwrap_or_default());
            return Err(TensorError::Length { dtype, shape, wanted, got });
        }
        Ok(Tensor { dtype, shape, elements, data: Data::Away(Arc::new(away)) })
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

    /// The same tensor, whose bytes are charged for as long as anybody has them, if they are many.
    pub(super) fn charged(mut self, ledger: &Arc<Ledger>) -> Result<Tensor, NoRoom> {
        if let Data::Here(bytes) = &mut self.data
            && bytes.len() >= UNCHARGED
        {
            let charge = ledger.charge(Account::Tensors, bytes.len(), Room::UnderWay)?;
            *bytes = Bytes::from_owner(Charged { bytes: std::mem::take(bytes), _charge: charge });
        }
        Ok(self)
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The bytes; none, where they are still elsewhere: see [`Self::fetch`].
    pub fn data(&self) -> &Bytes {
        self.data.bytes()
    }

    /// Gets the bytes here, if they are elsewhere. Only what was computed on the way of
    /// [`super::ComputeRequest::may_stay`] can be.
    pub async fn fetch(&self) -> Result<(), NnError> {
        match &self.data {
            Data::Here(_) => Ok(()),
            Data::Away(away) => away.fetch().await.map(drop),
        }
    }

    /// Where the bytes are, if they are not here.
    pub(super) fn away(&self) -> Option<&Arc<Away>> {
        match &self.data {
            Data::Away(away) if away.here().is_none() => Some(away),
            _ => None,
        }
    }

    pub fn byte_length(&self) -> usize {
        match &self.data {
            Data::Here(bytes) => bytes.len(),
            Data::Away(away) => away.length(),
        }
    }

    /// The number of elements: the product of the shape.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The elements of a tensor of strings; nothing for any other type.
    pub fn bytes_elements(&self) -> impl Iterator<Item = &[u8]> {
        let data: &[u8] = if self.dtype == DType::Bytes { self.data() } else { &[] };
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
        Ok(Rows::new(self, start, count)?.finish())
    }
}

/// Data that is to be a tensor, checked in steps: there may be much of it, and others who wait.
pub struct Unchecked {
    tensor: Tensor,
    /// How much of the data is checked: bytes, and the elements in them.
    bytes: usize,
    elements: usize,
}

impl Unchecked {
    pub fn new(
        dtype: DType,
        shape: impl Into<Arc<[u64]>>,
        data: Bytes,
    ) -> Result<Self, TensorError> {
        let shape = shape.into();
        let elements = count(&shape)?;
        if let Some(size) = dtype.size() {
            let wanted = elements
                .checked_mul(size)
                .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })?;
            if wanted != data.len() {
                let (shape, got) = (shape.to_vec(), data.len());
                return Err(TensorError::Length { dtype, shape, wanted, got });
            }
        }
        let data = Data::Here(data);
        Ok(Self { tensor: Tensor { dtype, shape, elements, data }, bytes: 0, elements: 0 })
    }

    /// Checks so many elements more. Whether all are checked.
    pub fn check(&mut self, more: usize) -> Result<bool, TensorError> {
        let data = self.tensor.data.bytes();
        let until = self.elements.saturating_add(more);
        match self.tensor.dtype {
            // Native code reads these bytes as `bool`, where any other value is undefined behaviour.
            DType::Bool => {
                let until = until.min(data.len());
                if let Some(at) = data[self.elements..until].iter().position(|&b| b > 1) {
                    let index = self.elements + at;
                    return Err(TensorError::NotBool { index, value: data[index] });
                }
                self.elements = until;
                Ok(until == data.len())
            }
            DType::Bytes => {
                let mut strings = Strings { data: &data[self.bytes..] };
                while self.elements < until && strings.next().is_some() {
                    self.elements += 1;
                }
                self.bytes = data.len() - strings.data.len();
                if self.elements == until && self.bytes < data.len() {
                    return Ok(false);
                }
                if self.bytes < data.len() {
                    return Err(TensorError::Truncated { index: self.elements });
                }
                let (wanted, got) = (self.tensor.elements, self.elements);
                if wanted != got {
                    let shape = self.tensor.shape.to_vec();
                    return Err(TensorError::Strings { shape, wanted, got });
                }
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// The tensor, once the rest is checked too.
    pub fn finish(mut self) -> Result<Tensor, TensorError> {
        while !self.check(usize::MAX)? {}
        Ok(self.tensor)
    }
}

/// Rows of a tensor. Where strings begin is found in steps, as in [`Unchecked`].
pub struct Rows {
    tensor: Tensor,
    shape: Arc<[u64]>,
    /// The first element, and the first that is not part of them any more.
    first: usize,
    last: usize,
    /// How far the strings are passed: bytes, and the elements in them.
    bytes: usize,
    elements: usize,
    /// Where the first element begins.
    start: usize,
}

impl Rows {
    pub fn new(tensor: &Tensor, start: u64, count: u64) -> Result<Self, TensorError> {
        let error = || TensorError::Rows { shape: tensor.shape.to_vec(), start, count };
        let (&height, inner) = tensor.shape.split_first().ok_or_else(error)?;
        let end = start.checked_add(count).filter(|&end| end <= height).ok_or_else(error)?;
        // With a row too large to count there is an outer or inner dimension of 0: no data at all.
        let row = inner.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).unwrap_or(0);
        let (first, last) = (start.saturating_mul(row) as usize, end.saturating_mul(row) as usize);
        let shape = std::iter::once(count).chain(inner.iter().copied()).collect();
        let tensor = tensor.clone();
        Ok(Self { tensor, shape, first, last, bytes: 0, elements: 0, start: 0 })
    }

    /// Passes so many elements more. Whether the rows are found.
    pub fn find(&mut self, more: usize) -> bool {
        if self.tensor.dtype != DType::Bytes {
            return true;
        }
        let data = self.tensor.data.bytes();
        let mut left = more;
        let mut strings = Strings { data: &data[self.bytes..] };
        while left > 0 && self.elements < self.last {
            if self.elements == self.first {
                self.start = data.len() - strings.data.len();
            }
            // The tensor has as many as its shape says.
            if strings.next().is_none() {
                self.elements = self.last;
                break;
            }
            self.elements += 1;
            left -= 1;
        }
        self.bytes = data.len() - strings.data.len();
        self.elements >= self.last
    }

    /// The rows, once the rest is found too.
    pub fn finish(mut self) -> Tensor {
        while !self.find(usize::MAX) {}
        let Self { tensor, shape, first, last, bytes, start, .. } = self;
        let range = match tensor.dtype.size() {
            Some(size) => first.saturating_mul(size)..last.saturating_mul(size),
            None if first == last => 0..0,
            None => start..bytes,
        };
        let data = if tensor.elements == 0 { Bytes::new() } else { tensor.data().slice(range) };
        let data = Data::Here(data);
        Tensor { dtype: tensor.dtype, shape, elements: last - first, data }
    }
}

/// The most dimensions of a tensor, as in NumPy. Shapes are counted as nobody's memory.
pub const MAX_RANK: usize = 64;

/// The product of a shape. Dimensions stay within what native code can express.
fn count(shape: &[u64]) -> Result<usize, TensorError> {
    if shape.len() > MAX_RANK {
        return Err(TensorError::Rank { rank: shape.len() });
    }
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

#[cfg(test)]
#[path = "tensor_tests.rs"]
mod tests;
