//! Tensors. The bytes stay in the host; a [`Tensor`] is a handle, and handing one on (into a graph,
//! into the reply) costs nothing. Bytes come into the model only when it asks for an array.

use std::ops::Range;

use half::{bf16, f16};
use ndarray::{ArrayBase, ArrayD, Data, Dimension, IxDyn};

use crate::host::RawTensor;
use crate::{DType, Element, Error, Result};

/// An immutable, row-major array of any type and rank.
#[derive(Debug)]
pub struct Tensor {
    raw: RawTensor,
}

impl Tensor {
    /// A tensor of `shape` (outermost dimension first, empty for a scalar) with these elements.
    pub fn new<T: Element>(shape: &[usize], elements: &[T]) -> Result<Self> {
        if count(shape) != Some(elements.len()) {
            let found = elements.len();
            return Err(Error::model(format!("{found} elements do not make a tensor {shape:?}")));
        }
        Ok(Self::of(shape, elements))
    }

    /// Like `new`, for a shape that fits.
    fn of<T: Element>(shape: &[usize], elements: &[T]) -> Self {
        Self { raw: RawTensor::new(T::DTYPE, &wide(shape), &T::encode(elements)) }
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.raw.dtype()
    }

    /// The dimensions, outermost first; empty for a scalar.
    pub fn shape(&self) -> Vec<usize> {
        // A dimension over usize::MAX cannot be: its bytes would not fit into memory. One of an
        // empty tensor could; it reads as usize::MAX.
        let narrow = |size| usize::try_from(size).unwrap_or(usize::MAX);
        self.raw.shape().into_iter().map(narrow).collect()
    }

    /// The size of the data in bytes.
    pub fn byte_length(&self) -> u64 {
        self.raw.byte_length()
    }

    /// Copies the bytes of `range` into the model.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let length = self.byte_length();
        if range.start > range.end || range.end > length {
            return Err(Error::model(format!("bytes {range:?} of a tensor of {length} bytes")));
        }
        Ok(self.raw.read(range.start, range.end - range.start))
    }

    /// Copies the elements into the model, in row-major order. Fails where they are not `T`.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let dtype = self.dtype();
        if dtype != T::DTYPE {
            return Err(Error::model(format!("the tensor is {dtype}, not {}", T::DTYPE)));
        }
        T::decode(self.raw.read(0, self.byte_length()))
    }

    /// Copies the elements into an array. Fails where they are not `T`.
    ///
    /// For a fixed rank: `tensor.to_array::<f32>()?.into_dimensionality::<Ix2>()?`.
    pub fn to_array<T: Element>(&self) -> Result<ArrayD<T>> {
        Ok(ArrayD::from_shape_vec(IxDyn(&self.shape()), self.to_vec()?)?)
    }

    /// Copies the elements into an array, converting numbers of any type (and `bool`).
    pub fn to_f64(&self) -> Result<ArrayD<f64>> {
        let values: Vec<f64> = match self.dtype() {
            DType::Bool => self.map(|value: bool| f64::from(u8::from(value))),
            DType::U8 => self.map(|value: u8| value.into()),
            DType::U16 => self.map(|value: u16| value.into()),
            DType::U32 => self.map(|value: u32| value.into()),
            DType::U64 => self.map(|value: u64| value as f64),
            DType::I8 => self.map(|value: i8| value.into()),
            DType::I16 => self.map(|value: i16| value.into()),
            DType::I32 => self.map(|value: i32| value.into()),
            DType::I64 => self.map(|value: i64| value as f64),
            DType::F16 => self.map(|value: f16| value.into()),
            DType::BF16 => self.map(|value: bf16| value.into()),
            DType::F32 => self.map(|value: f32| value.into()),
            DType::F64 => self.to_vec(),
            DType::Bytes => Err(Error::model("the tensor holds byte strings, not numbers")),
        }?;
        Ok(ArrayD::from_shape_vec(IxDyn(&self.shape()), values)?)
    }

    fn map<T: Element>(&self, convert: impl Fn(T) -> f64) -> Result<Vec<f64>> {
        Ok(self.to_vec()?.into_iter().map(convert).collect())
    }

    /// A second handle on the same bytes.
    pub fn share(&self) -> Self {
        Self { raw: self.raw.share() }
    }

    /// The same bytes under another shape with as many elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        let old = self.shape();
        if count(shape).is_none() || count(shape) != count(&old) {
            return Err(Error::model(format!("a tensor {old:?} does not reshape to {shape:?}")));
        }
        Ok(Self { raw: self.raw.reshape(&wide(shape)) })
    }

    /// Rows of the outermost dimension, as a view on the same bytes.
    pub fn rows(&self, range: Range<usize>) -> Result<Self> {
        let shape = self.shape();
        match shape.first() {
            Some(&rows) if range.start <= range.end && range.end <= rows => {
                let count = range.end - range.start;
                Ok(Self { raw: self.raw.rows(range.start as u64, count as u64) })
            }
            _ => Err(Error::model(format!("a tensor {shape:?} has no rows {range:?}"))),
        }
    }

    pub(crate) fn from_raw(raw: RawTensor) -> Self {
        Self { raw }
    }

    pub(crate) fn into_raw(self) -> RawTensor {
        self.raw
    }
}

/// Copies an array's elements into a tensor of the same shape.
impl<T: Element, S: Data<Elem = T>, D: Dimension> From<&ArrayBase<S, D>> for Tensor {
    fn from(array: &ArrayBase<S, D>) -> Self {
        let array = array.as_standard_layout();
        match array.as_slice() {
            Some(elements) => Self::of(array.shape(), elements),
            // Not reached, as the layout is now standard; correct all the same.
            None => Self::of(array.shape(), &array.iter().cloned().collect::<Vec<_>>()),
        }
    }
}

/// Copies an array's elements into a tensor of the same shape.
impl<T: Element, S: Data<Elem = T>, D: Dimension> From<ArrayBase<S, D>> for Tensor {
    fn from(array: ArrayBase<S, D>) -> Self {
        Self::from(&array)
    }
}

/// The number of elements; none where it does not fit into a `usize`.
fn count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

fn wide(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|&size| size as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    #[test]
    fn arrays_survive() {
        let grid = array![[1i64, 2, 3], [4, 5, 6]];
        let tensor = Tensor::from(&grid);
        assert_eq!((tensor.dtype(), tensor.shape()), (DType::I64, vec![2, 3]));
        assert_eq!(tensor.to_array::<i64>().unwrap(), grid.clone().into_dyn());
        assert_eq!(Tensor::from(grid.t()).to_vec::<i64>().unwrap(), [1, 4, 2, 5, 3, 6]);
        assert_eq!(tensor.to_f64().unwrap().sum(), 21.0);
        assert!(tensor.to_vec::<f32>().is_err());
    }

    #[test]
    fn scalars_and_empty_tensors() {
        let scalar = Tensor::new(&[], &[1.5f32]).unwrap();
        assert_eq!(scalar.to_array::<f32>().unwrap().ndim(), 0);
        assert!(scalar.rows(0..1).is_err());
        let empty = Tensor::from(Array2::<u8>::zeros((0, 4)));
        assert_eq!(empty.to_array::<u8>().unwrap().shape(), [0, 4]);
    }

    #[test]
    fn views_share_bytes() {
        let words = ["a", "bc", "", "def"].map(String::from);
        let tensor = Tensor::new(&[2, 2], &words).unwrap();
        let second = tensor.share().rows(1..2).unwrap();
        assert_eq!(second.shape(), [1, 2]);
        assert_eq!(second.to_vec::<String>().unwrap(), ["", "def"]);
        assert_eq!(tensor.reshape(&[4]).unwrap().to_vec::<String>().unwrap(), words);
        assert_eq!(tensor.read(4..5).unwrap(), b"a");
    }

    #[test]
    fn what_would_trap_is_an_error() {
        let tensor = Tensor::from(array![1u8, 2, 3]);
        assert!(Tensor::new(&[2], &[1u8]).is_err());
        assert!(tensor.reshape(&[usize::MAX, 2]).is_err());
        assert!(tensor.rows(2..4).is_err());
        assert!(tensor.read(0..4).is_err());
    }
}
