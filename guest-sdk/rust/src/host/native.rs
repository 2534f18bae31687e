//! Natively: tensors in plain memory, so that unit tests and benches run a model's own code
//! outside the server. Graphs need the server.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use crate::context::{Sequence, Trace};
use crate::element::{DType, split};
use crate::{Error, Input, Output, Result, TensorInfo};

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

thread_local! {
    /// Parts that were emitted, where a test collects them.
    static EMITTED: RefCell<Option<Vec<Output>>> = const { RefCell::new(None) };
}

/// Runs `call` as one whose caller takes parts, and gives what it emitted.
pub(crate) fn collect<T>(call: impl FnOnce() -> T) -> (T, Vec<Output>) {
    EMITTED.set(Some(Vec::new()));
    let result = call();
    (result, EMITTED.take().unwrap_or_default())
}

pub(crate) fn streaming() -> bool {
    EMITTED.with_borrow(Option::is_some)
}

pub(crate) fn emit(part: Output) -> Result<()> {
    EMITTED.with_borrow_mut(|emitted| match emitted {
        Some(parts) => {
            parts.push(part);
            Ok(())
        }
        None => Err(Error::caller("the caller takes one answer")),
    })
}

pub(crate) fn other_models() -> Vec<String> {
    Vec::new()
}

pub(crate) fn run_other(model: &str, _input: Input, _args: &str) -> Result<Output> {
    Err(Error::model(format!("model {model}: other models are there in the server only")))
}

pub(crate) fn run_other_batch(
    model: &str,
    _inputs: Vec<Input>,
    _args: &str,
) -> Result<Vec<Output>> {
    Err(Error::model(format!("model {model}: other models are there in the server only")))
}

pub(crate) fn request_id() -> String {
    String::new()
}

pub(crate) fn model_name() -> String {
    String::new()
}

pub(crate) fn model_version() -> String {
    String::new()
}

pub(crate) fn time_left() -> u64 {
    u64::MAX
}

pub(crate) fn sequence() -> Option<Sequence> {
    None
}

pub(crate) fn parameters() -> String {
    "{}".into()
}

pub(crate) fn metadata() -> Vec<(String, String)> {
    Vec::new()
}

pub(crate) fn trace() -> Option<Trace> {
    None
}
