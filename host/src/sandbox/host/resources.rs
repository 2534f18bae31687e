//! What guests hold handles on.

use std::sync::Arc;

use crate::{
    nn::{Graph, Tensor},
    sandbox::account::Charge,
};

/// A tensor as a guest holds it; the charge is shared by all handles on the same bytes.
#[derive(Clone, Debug)]
pub struct HostTensor {
    pub tensor: Tensor,
    pub charge: Arc<Charge>,
}

impl HostTensor {
    /// Another tensor on the same bytes.
    pub fn view(&self, tensor: Tensor) -> Self {
        Self { tensor, charge: self.charge.clone() }
    }
}

/// A graph as a guest holds it.
#[derive(Clone)]
pub struct NnGraph {
    pub graph: Graph,
}

/// An execution context: wasi:nn wants one between a graph and `compute`; there is nothing in it.
pub struct NnContext {
    pub graph: Graph,
}

/// An error of wasi:nn as a guest holds it.
pub struct NnError {
    pub kind: NnErrorKind,
    pub message: String,
}

/// What we use of wasi:nn's error codes.
#[derive(Clone, Copy)]
pub enum NnErrorKind {
    InvalidArgument,
    NotFound,
    Runtime,
    Unsupported,
}
