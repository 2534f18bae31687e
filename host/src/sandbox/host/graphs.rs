//! `tms:model/graphs`: what wasi:nn lacks, on wasi:nn's graphs.

use wasmtime::{Result, component::Resource};

use crate::{
    nn::NnError as ComputeError,
    sandbox::{
        error::one_line,
        store::{NamedHandles, StoreData},
    },
};

use super::{
    bindings::{
        graphs,
        tensors::TensorInfo,
        types::{Error, Fault},
    },
    dtypes::to_nn,
    resources::{HostTensor, NnGraph},
};

impl graphs::Host for StoreData {
    fn inputs(&mut self, graph: Resource<NnGraph>) -> Result<Vec<TensorInfo>> {
        let NnGraph { graph } = self.table.get(&graph)?;
        Ok(graph.inputs().iter().map(Into::into).collect())
    }

    fn outputs(&mut self, graph: Resource<NnGraph>) -> Result<Vec<TensorInfo>> {
        let NnGraph { graph } = self.table.get(&graph)?;
        Ok(graph.outputs().iter().map(Into::into).collect())
    }

    async fn compute(
        &mut self,
        graph: Resource<NnGraph>,
        inputs: NamedHandles,
        outputs: Vec<String>,
    ) -> Result<Result<NamedHandles, Error>> {
        let NnGraph { graph } = self.table.get(&graph)?.clone();
        match self.run_graph(graph, inputs, &outputs).await? {
            Ok(outputs) => Ok(Ok(self.give_tensors(outputs)?)),
            Err(error) => Ok(Err(Error { fault: fault(&error), message: one_line(error) })),
        }
    }

    fn to_nn(
        &mut self,
        tensor: Resource<HostTensor>,
    ) -> Result<Result<Resource<HostTensor>, Error>> {
        let tensor = self.table.get(&tensor)?.clone();
        let inner = &tensor.tensor;
        let problem = if to_nn(inner.dtype()).is_none() {
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
