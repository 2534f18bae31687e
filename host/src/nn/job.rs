//! One call of a graph on its way through queue and session, and its answer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{NnError, Tensor, cancel::Cancel};

/// One call of a graph: checked inputs and outputs, by their positions.
pub struct Job {
    /// In the order of their positions.
    pub inputs: Vec<(usize, Tensor)>,
    pub outputs: Vec<usize>,
    pub reply: oneshot::Sender<Result<Answer, NnError>>,
    pub cancel: Arc<Cancel>,
}

/// What a call gets.
#[derive(Debug)]
pub struct Answer {
    pub tensors: Vec<Tensor>,
    /// Calls that were in the same native run, this one included.
    pub batch: usize,
}
