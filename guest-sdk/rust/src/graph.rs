//! The networks beside the component: opened by name, run natively by the host.

use std::cell::OnceCell;

use crate::data::Tensors;
use crate::host::RawGraph;
use crate::{Error, Fault, Result, Tensor, TensorInfo};

/// A loaded graph. Opening one is cheap: the host loaded it when it started.
///
/// Its handle is taken at the first run, so that `init` may open graphs and its result be
/// snapshotted: a handle means nothing to another instance.
#[derive(Debug)]
pub struct Graph {
    name: String,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    raw: OnceCell<RawGraph>,
}

impl Graph {
    /// Opens a graph: one of this model's folder by its file's name without the extension, or one of another
    /// model that the operator shares, as `model/graph`.
    pub fn load(name: &str) -> Result<Self> {
        let raw = RawGraph::load(name)?;
        let (inputs, outputs) = (raw.inputs(), raw.outputs());
        Ok(Self { name: name.to_owned(), inputs, outputs, raw: OnceCell::new() })
    }

    /// The graph's inputs, in its order.
    pub fn inputs(&self) -> Vec<TensorInfo> {
        self.inputs.clone()
    }

    /// The graph's outputs, in its order.
    pub fn outputs(&self) -> Vec<TensorInfo> {
        self.outputs.clone()
    }

    fn raw(&self) -> Result<&RawGraph> {
        if self.raw.get().is_none() {
            // Nobody else has set it: an instance has one thread.
            let _ = self.raw.set(RawGraph::load(&self.name)?);
        }
        self.raw.get().ok_or_else(|| Error::server("the graph is not open"))
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
        Ok(Tensors::from_raw(self.raw()?.compute(inputs, &outputs)?, Fault::Model))
    }
}
