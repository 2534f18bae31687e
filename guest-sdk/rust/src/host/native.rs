//! Natively: tensors in plain memory, so that unit tests and benches run a model's own code
//! outside the server. Graphs need the server.

use std::ops::Range;
use std::sync::Arc;

use crate::element::{DType, split};
use crate::{Error, Result, TensorInfo};

/// A tensor's bytes; views share them.
#[derive(Debug, Clone)]
pub(crate) struct RawTensor {
    dtype: DType,
    shape: Vec<u64>,
    data: Arc<[u8]>,
    /// The part of `data` that is this tensor's.
    range: Range<usize>,
}

impl RawTensor {
    pub(crate) fn new(dtype: DType, shape: &[u64], data: &[u8]) -> Self {
        Self { dtype, shape: shape.to_vec(), data: data.into(), range: 0..data.len() }
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(crate) fn shape(&self) -> Vec<u64> {
        self.shape.clone()
    }

    pub(crate) fn byte_length(&self) -> u64 {
        self.range.len() as u64
    }

    pub(crate) fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let start = self.range.start + offset as usize;
        self.data[start..start + length as usize].to_vec()
    }

    pub(crate) fn share(&self) -> Self {
        self.clone()
    }

    pub(crate) fn reshape(&self, shape: &[u64]) -> Self {
        Self { shape: shape.to_vec(), ..self.clone() }
    }

    pub(crate) fn rows(&self, start: u64, count: u64) -> Self {
        let elements_a_row: u64 = self.shape[1..].iter().product();
        let offset = |row: u64| self.range.start + self.bytes_of(row * elements_a_row);
        let range = offset(start)..offset(start + count);
        let mut shape = self.shape.clone();
        shape[0] = count;
        Self { shape, range, ..self.clone() }
    }

    /// How many bytes the first `count` elements take.
    fn bytes_of(&self, count: u64) -> usize {
        let count = count as usize;
        match self.dtype.size() {
            Some(size) => count * size,
            None => split(&self.data[self.range.clone()])
                .take(count)
                .map(|item| 4 + item.map_or(0, <[u8]>::len))
                .sum(),
        }
    }
}

/// A graph; none exist outside the server.
#[derive(Debug)]
pub(crate) enum RawGraph {}

impl RawGraph {
    pub(crate) fn load(name: &str) -> Result<Self> {
        Err(Error::server(format!("graph {name}: graphs run in the server only")))
    }

    pub(crate) fn inputs(&self) -> Vec<TensorInfo> {
        match *self {}
    }

    pub(crate) fn outputs(&self) -> Vec<TensorInfo> {
        match *self {}
    }

    pub(crate) fn compute(
        &self,
        _inputs: Vec<(String, RawTensor)>,
        _outputs: &[String],
    ) -> Result<Vec<(String, RawTensor)>> {
        match *self {}
    }
}
