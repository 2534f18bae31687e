//! A graph without a component, served as it is: tensors in, tensors out.

use std::time::Instant;

use crate::{
    data::{NamedTensor, Output},
    nn::{Computed, Graph},
};

use super::RunError;

/// A graph that answers for a model.
pub struct BareGraph {
    graph: Graph,
}

impl BareGraph {
    pub fn new(graph: Graph) -> Self {
        Self { graph }
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
        let run = self.graph.compute_by(inputs, wanted, deadline);
        match tokio::time::timeout_at(deadline.into(), run).await {
            Ok(Ok(Computed { tensors, batch })) => Ok(Output { json: None, tensors, batch }),
            Ok(Err(error)) => Err(RunError::Graph(error)),
            Err(_) => Err(RunError::GraphLate { had: deadline.saturating_duration_since(began) }),
        }
    }
}
