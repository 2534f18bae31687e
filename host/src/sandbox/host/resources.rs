//! What guests hold handles on.

use std::sync::Arc;

use crate::{
    nn::{Graph, Tensor},
    sandbox::account::Charge,
};

/// A tensor as a guest holds it.
#[derive(Clone, Debug)]
pub struct HostTensor {
    pub tensor: Tensor,
    /// Shared by all handles on the same bytes.
    pub data: Arc<Charge>,
    /// Of a tensor on the bytes of another one.
    pub view: Option<Arc<Charge>>,
}

impl HostTensor {
    /// One whose bytes no other handle is on.
    pub fn new(tensor: Tensor, charge: Charge) -> Self {
        Self { tensor, data: Arc::new(charge), view: None }
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
    /// Of the message: there may be many.
    pub _charge: Charge,
}

/// What we use of wasi:nn's error codes.
#[derive(Clone, Copy)]
pub enum NnErrorKind {
    InvalidArgument,
    NotFound,
    Runtime,
    Unsupported,
}
