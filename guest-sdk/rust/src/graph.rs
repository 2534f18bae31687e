//! The networks beside the component: opened by name, run natively by the host.

use crate::data::Tensors;
use crate::host::RawGraph;
use crate::{Fault, Result, Tensor, TensorInfo};

/// A loaded graph. Opening one is cheap: the host loaded it when it started.
#[derive(Debug)]
pub struct Graph {
    raw: RawGraph,
}

impl Graph {
    /// Opens a graph of this model's folder by its file's name without the extension.
    pub fn load(name: &str) -> Result<Self> {
        Ok(Self { raw: RawGraph::load(name)? })
    }

    /// The graph's inputs, in its order.
    pub fn inputs(&self) -> Vec<TensorInfo> {
        self.raw.inputs()
    }

    /// The graph's outputs, in its order.
    pub fn outputs(&self) -> Vec<TensorInfo> {
        self.raw.outputs()
    }

    /// Runs the graph with every input named once, and returns all its outputs.
    ///
    /// `graph.compute([("input", tensor)])`; an `ndarray` array does for a tensor.
    pub fn compute<N, T>(&self, inputs: impl IntoIterator<Item = (N, T)>) -> Result<Tensors>
    where
        N: Into<String>,
        T: Into<Tensor>,
    {
        self.compute_some(inputs, &[])
    }

    /// Like [`compute`](Self::compute), for these outputs only, in this order.
    pub fn compute_some<N, T>(
        &self,
        inputs: impl IntoIterator<Item = (N, T)>,
        outputs: &[&str],
    ) -> Result<Tensors>
    where
        N: Into<String>,
        T: Into<Tensor>,
    {
        let inputs = inputs
            .into_iter()
            .map(|(name, tensor)| (name.into(), tensor.into().into_raw()))
            .collect();
        let outputs: Vec<String> = outputs.iter().map(|&name| name.to_owned()).collect();
        Ok(Tensors::from_raw(self.raw.compute(inputs, &outputs)?, Fault::Model))
    }
}
