//! A graph without a component, served as it is: tensors in, tensors out.

use std::time::Instant;

use crate::{
    data::{NamedTensor, Output},
    fair::Flow,
    nn::{ComputeRequest, Computed, Graph},
};

use super::RunError;

/// A graph that answers for a model.
pub struct BareGraph {
    graph: Graph,
    /// The model among those that share graphs.
    flow: Flow,
}

impl BareGraph {
    pub fn new(graph: Graph, flow: Flow) -> Self {
        Self { graph, flow }
    }

    /// The inference library that runs it.
    pub fn backend(&self) -> &str {
        self.graph.backend()
    }

    /// The outputs that are wanted, in that order; all where none is named.
    pub async fn run(
        &self,
        inputs: Vec<NamedTensor>,
        wanted: &[String],
        deadline: Instant,
    ) -> Result<Output, RunError> {
        let began = Instant::now();
        let request =
            ComputeRequest { inputs, outputs: wanted, flow: self.flow, deadline, may_stay: false };
        let run = self.graph.compute(request);
        match tokio::time::timeout_at(deadline.into(), run).await {
            Ok(Ok(Computed { tensors, batch_size })) => {
                Ok(Output { tensors, batch: batch_size, ..Output::default() })
            }
            Ok(Err(error)) => Err(RunError::Graph(error)),
            Err(_) => Err(RunError::GraphLate { had: deadline.saturating_duration_since(began) }),
        }
    }
}
