//! What is known of a tensor before there is one.

use crate::DType;

/// What a graph or a model takes or gives under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name of the input or output.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Outermost dimension first; -1 where any size is accepted; empty for a scalar.
    pub shape: Vec<i64>,
}

impl TensorInfo {
    /// `TensorInfo::new("input", DType::F32, [-1, 3, 224, 224])`
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Vec<i64>>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into() }
    }
}
