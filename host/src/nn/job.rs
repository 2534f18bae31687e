//! One call of a graph on its way through queue and session, and its answer.

use std::{sync::Arc, time::Instant};

use tokio::sync::oneshot;

use super::{NnError, Tensor, cancel::Cancel};
use crate::fair::Flow;

/// One call of a graph: checked inputs and outputs, by their positions.
pub struct Job {
    /// Whose call it is, among those that share the graph.
    pub flow: Flow,
    /// Orders the calls of one flow.
    pub deadline: Instant,
    /// In the order of their positions.
    pub inputs: Vec<(usize, Tensor)>,
    /// Those that are wanted, in the order wanted.
    pub outputs: Vec<usize>,
    /// Large outputs may stay where they are computed.
    pub may_stay: bool,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Answer, NnError>>,
    /// Whether the caller has left.
    pub cancel: Arc<Cancel>,
}

/// What a call gets.
#[derive(Debug)]
pub struct Answer {
    pub tensors: Vec<Tensor>,
    /// Calls that were in the same native run, this one included.
    pub batch_size: usize,
}
