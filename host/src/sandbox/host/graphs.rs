//! `tms:model/graphs`: what wasi:nn lacks, on wasi:nn's graphs.

use wasmtime::{Result, component::Resource};

use crate::{
    data::NamedTensor,
    nn::{ComputeRequest, Graph, NnError as ComputeError},
};

use crate::sandbox::store::State;

use super::{
    bindings::tms::model::{
        graphs,
        tensors::TensorInfo,
        types::{Error, Fault},
    },
    tensors::HostTensor,
    wasi_nn::{NnGraph, tensor_type},
};

type Handles = Vec<(String, Resource<HostTensor>)>;

impl State {
    /// Takes the tensors out of their handles: they are given away.
    pub fn take_tensors(&mut self, handles: Handles) -> Result<Vec<NamedTensor>> {
        handles
            .into_iter()
            .map(|(name, handle)| Ok((name, self.table.delete(handle)?.tensor)))
            .collect()
    }

    /// Runs a graph; the inputs are given away, and count as this instance's until the run ends.
    pub async fn run(
        &mut self,
        graph: Graph,
        inputs: Handles,
        outputs: &[String],
    ) -> Result<Result<Vec<NamedTensor>, ComputeError>> {
        let mut charges = Vec::with_capacity(inputs.len());
        let mut tensors = Vec::with_capacity(inputs.len());
        for (name, handle) in inputs {
            let HostTensor { tensor, charge } = self.table.delete(handle)?;
            charges.push(charge);
            tensors.push((name, tensor));
        }
        let (flow, deadline) = (self.flow, self.deadline);
        let request = ComputeRequest { inputs: tensors, outputs, flow, deadline };
        let result = graph.compute(request).await;
        drop(charges);
        Ok(result.map(|computed| {
            self.batch = self.batch.max(computed.batch_size);
            computed.tensors
        }))
    }

    /// Makes tensors this instance's, counted against its memory.
    pub fn give_tensors(&mut self, tensors: Vec<NamedTensor>) -> Result<Handles> {
        tensors
            .into_iter()
            .map(|(name, tensor)| {
                let tensor = self.adopt(tensor)?;
                Ok((name, self.table.push(tensor)?))
            })
            .collect()
    }
}

impl graphs::Host for State {
    fn inputs(&mut self, graph: Resource<NnGraph>) -> Result<Vec<TensorInfo>> {
        let NnGraph(graph) = self.table.get(&graph)?;
        Ok(graph.inputs().iter().map(Into::into).collect())
    }

    fn outputs(&mut self, graph: Resource<NnGraph>) -> Result<Vec<TensorInfo>> {
        let NnGraph(graph) = self.table.get(&graph)?;
        Ok(graph.outputs().iter().map(Into::into).collect())
    }

    async fn compute(
        &mut self,
        graph: Resource<NnGraph>,
        inputs: Handles,
        outputs: Vec<String>,
    ) -> Result<Result<Handles, Error>> {
        let NnGraph(graph) = self.table.get(&graph)?.clone();
        match self.run(graph, inputs, &outputs).await? {
            Ok(outputs) => Ok(Ok(self.give_tensors(outputs)?)),
            Err(error) => Ok(Err(Error { fault: fault(&error), message: error.to_string() })),
        }
    }

    fn to_nn(
        &mut self,
        tensor: Resource<HostTensor>,
    ) -> Result<Result<Resource<HostTensor>, Error>> {
        let tensor = self.table.get(&tensor)?.clone();
        let inner = &tensor.tensor;
        let problem = if tensor_type(inner.dtype()).is_none() {
            Some(format!("wasi:nn has no type for {}", inner.dtype().name()))
        } else if inner.shape().iter().any(|d| u32::try_from(*d).is_err()) {
            Some("wasi:nn's dimensions are 32-bit".into())
        } else {
            None
        };
        if let Some(message) = problem {
            let fault = Fault::Model;
            return Ok(Err(Error { fault, message }));
        }
        Ok(Ok(self.table.push(tensor)?))
    }

    fn from_nn(&mut self, tensor: Resource<HostTensor>) -> Result<Resource<HostTensor>> {
        let tensor = self.table.get(&tensor)?.clone();
        Ok(self.table.push(tensor)?)
    }
}

/// Whose fault a failed `compute` is, seen from the guest.
fn fault(error: &ComputeError) -> Fault {
    match error {
        ComputeError::InvalidInput(_) => Fault::Model,
        _ => Fault::Server,
    }
}
