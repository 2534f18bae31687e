//! Our host for `wasi:nn` 0.2.0-rc-2024-10-28: graphs by name only, any of their dtypes, and a
//! `compute` that suspends the guest instead of blocking a thread.

use bytes::Bytes;
use wasmtime::{
    Result, StoreContextMut,
    component::{Linker, Resource},
    format_err,
};

use crate::{
    nn::{NnError as ComputeError, Tensor},
    sandbox::{
        error::one_line,
        store::{NamedHandles, StoreData},
    },
};

use super::{
    bindings::wasi::nn::{
        errors::{self, ErrorCode},
        graph, inference, tensor,
    },
    dtypes::{from_nn, to_nn},
    resources::{HostTensor, NnContext, NnError, NnErrorKind, NnGraph},
};

/// Puts a function that lends a tensor's bytes in place of the generated one, as for our own tensors.
pub fn lend_bytes(linker: &mut Linker<StoreData>) -> Result<()> {
    linker.instance("wasi:nn/tensor@0.2.0-rc-2024-10-28")?.func_wrap_async(
        "[method]tensor.data",
        |mut store: StoreContextMut<'_, StoreData>, (this,): (Resource<HostTensor>,)| {
            Box::new(async move {
                let length = store.data().table.get(&this)?.tensor.byte_length();
                Ok((store.data_mut().read_tensor(&this, 0, length as u64).await?,))
            })
        },
    )
}

impl StoreData {
    fn nn_error<T>(
        &mut self,
        kind: NnErrorKind,
        message: String,
    ) -> Result<Result<T, Resource<NnError>>> {
        let charge = self.charge_tensor(message.len(), 0)?;
        Ok(Err(self.table.push(NnError { kind, message, _charge: charge })?))
    }
}

impl tensor::Host for StoreData {}

impl tensor::HostTensor for StoreData {
    fn new(
        &mut self,
        dimensions: Vec<u32>,
        ty: tensor::TensorType,
        data: Vec<u8>,
    ) -> Result<Resource<HostTensor>> {
        let charge = self.charge_tensor(data.len(), dimensions.len())?;
        let shape: Vec<u64> = dimensions.into_iter().map(u64::from).collect();
        let tensor =
            Tensor::new(from_nn(ty), shape, Bytes::from(data)).map_err(|e| format_err!("{e}"))?;
        Ok(self.table.push(HostTensor::new(tensor, charge))?)
    }

    fn dimensions(&mut self, this: Resource<HostTensor>) -> Result<Vec<u32>> {
        let shape = self.table.get(&this)?.tensor.shape();
        Ok(shape.iter().map(|d| u32::try_from(*d).unwrap_or(u32::MAX)).collect())
    }

    fn ty(&mut self, this: Resource<HostTensor>) -> Result<tensor::TensorType> {
        let dtype = self.table.get(&this)?.tensor.dtype();
        to_nn(dtype).ok_or_else(|| {
            format_err!("wasi:nn has no type for {}: use tms:model/graphs", dtype.name())
        })
    }

    /// Not called: [`lend_bytes`] is linked in its place.
    async fn data(&mut self, this: Resource<HostTensor>) -> Result<Vec<u8>> {
        let length = self.table.get(&this)?.tensor.byte_length();
        Ok(self.read_tensor(&this, 0, length as u64).await?.to_vec())
    }

    fn drop(&mut self, this: Resource<HostTensor>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl graph::Host for StoreData {
    fn load(
        &mut self,
        _builder: Vec<Vec<u8>>,
        _encoding: graph::GraphEncoding,
        _target: graph::ExecutionTarget,
    ) -> Result<Result<Resource<NnGraph>, Resource<NnError>>> {
        self.nn_error(
            NnErrorKind::Unsupported,
            "graphs are loaded by name: a model's graphs are the files in its folder".into(),
        )
    }

    fn load_by_name(
        &mut self,
        name: String,
    ) -> Result<Result<Resource<NnGraph>, Resource<NnError>>> {
        let Some(graph) = self.graphs.get(&name) else {
            let names: Vec<_> = self.graphs.keys().map(|n| format!("`{n}`")).collect();
            let there = match names.as_slice() {
                [] => "this model has no graphs".into(),
                names => format!("this model has {}", names.join(", ")),
            };
            // A guest's own text comes back to it, shortened and escaped.
            let name: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            let message = format!("no graph named `{name}`: {there}");
            return self.nn_error(NnErrorKind::NotFound, message);
        };
        let graph = NnGraph { graph: graph.clone() };
        Ok(Ok(self.table.push(graph)?))
    }
}

impl graph::HostGraph for StoreData {
    fn init_execution_context(
        &mut self,
        this: Resource<NnGraph>,
    ) -> Result<Result<Resource<NnContext>, Resource<NnError>>> {
        let NnGraph { graph } = self.table.get(&this)?.clone();
        Ok(Ok(self.table.push(NnContext { graph })?))
    }

    fn drop(&mut self, this: Resource<NnGraph>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl inference::Host for StoreData {}

impl inference::HostGraphExecutionContext for StoreData {
    async fn compute(
        &mut self,
        this: Resource<NnContext>,
        inputs: NamedHandles,
    ) -> Result<Result<NamedHandles, Resource<NnError>>> {
        let graph = self.table.get(&this)?.graph.clone();
        match self.run_graph(graph, inputs, &[]).await? {
            Ok(outputs) => Ok(Ok(self.give_tensors(outputs)?)),
            Err(error) => {
                let kind = match error {
                    ComputeError::InvalidInput(_) => NnErrorKind::InvalidArgument,
                    _ => NnErrorKind::Runtime,
                };
                self.nn_error(kind, one_line(error))
            }
        }
    }

    fn drop(&mut self, this: Resource<NnContext>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl errors::Host for StoreData {}

impl errors::HostError for StoreData {
    fn code(&mut self, this: Resource<NnError>) -> Result<ErrorCode> {
        Ok(match self.table.get(&this)?.kind {
            NnErrorKind::InvalidArgument => ErrorCode::InvalidArgument,
            NnErrorKind::NotFound => ErrorCode::NotFound,
            NnErrorKind::Runtime => ErrorCode::RuntimeError,
            NnErrorKind::Unsupported => ErrorCode::UnsupportedOperation,
        })
    }

    fn data(&mut self, this: Resource<NnError>) -> Result<String> {
        Ok(self.table.get(&this)?.message.clone())
    }

    fn drop(&mut self, this: Resource<NnError>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
