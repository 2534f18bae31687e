//! Our host for `wasi:nn` 0.2.0-rc-2024-10-28: graphs by name only, any of their dtypes, and a
//! `compute` that suspends the guest instead of blocking a thread.

use bytes::Bytes;
use wasmtime::{Result, component::Resource, format_err};

use crate::nn::{DType, Graph, NnError as ComputeError, Tensor};

use crate::sandbox::store::State;

use super::{
    bindings::wasi::nn::{
        errors::{self, ErrorCode},
        graph, inference, tensor,
    },
    tensors::HostTensor,
};

/// A graph as a guest holds it.
#[derive(Clone)]
pub struct NnGraph(pub Graph);

/// An execution context: wasi:nn wants one between a graph and `compute`; there is nothing in it.
pub struct NnContext(Graph);

/// An error as a guest holds it.
pub struct NnError {
    code: ErrorCode,
    message: String,
}

type Handles = Vec<(String, Resource<HostTensor>)>;

impl State {
    fn nn_error<T>(
        &mut self,
        code: ErrorCode,
        message: String,
    ) -> Result<Result<T, Resource<NnError>>> {
        Ok(Err(self.table.push(NnError { code, message })?))
    }
}

impl tensor::Host for State {}

impl tensor::HostTensor for State {
    fn new(
        &mut self,
        dimensions: Vec<u32>,
        ty: tensor::TensorType,
        data: Vec<u8>,
    ) -> Result<Resource<HostTensor>> {
        let shape: Vec<u64> = dimensions.into_iter().map(u64::from).collect();
        let tensor =
            Tensor::new(dtype(ty), shape, Bytes::from(data)).map_err(|e| format_err!("{e}"))?;
        let tensor = self.adopt(tensor)?;
        Ok(self.table.push(tensor)?)
    }

    fn dimensions(&mut self, this: Resource<HostTensor>) -> Result<Vec<u32>> {
        let shape = self.table.get(&this)?.tensor.shape();
        Ok(shape.iter().map(|d| u32::try_from(*d).unwrap_or(u32::MAX)).collect())
    }

    fn ty(&mut self, this: Resource<HostTensor>) -> Result<tensor::TensorType> {
        let dtype = self.table.get(&this)?.tensor.dtype();
        tensor_type(dtype).ok_or_else(|| {
            format_err!("wasi:nn has no type for {}: use tms:model/graphs", dtype.name())
        })
    }

    /// Not called: `tensors::lend_bytes` is linked in its place.
    fn data(&mut self, this: Resource<HostTensor>) -> Result<Vec<u8>> {
        Ok(self.table.get(&this)?.tensor.data().to_vec())
    }

    fn drop(&mut self, this: Resource<HostTensor>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl graph::Host for State {
    fn load(
        &mut self,
        _builder: Vec<Vec<u8>>,
        _encoding: graph::GraphEncoding,
        _target: graph::ExecutionTarget,
    ) -> Result<Result<Resource<NnGraph>, Resource<NnError>>> {
        self.nn_error(
            ErrorCode::UnsupportedOperation,
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
            return self.nn_error(ErrorCode::NotFound, message);
        };
        let graph = NnGraph(graph.clone());
        Ok(Ok(self.table.push(graph)?))
    }
}

impl graph::HostGraph for State {
    fn init_execution_context(
        &mut self,
        this: Resource<NnGraph>,
    ) -> Result<Result<Resource<NnContext>, Resource<NnError>>> {
        let NnGraph(graph) = self.table.get(&this)?.clone();
        Ok(Ok(self.table.push(NnContext(graph))?))
    }

    fn drop(&mut self, this: Resource<NnGraph>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl inference::Host for State {}

impl inference::HostGraphExecutionContext for State {
    async fn compute(
        &mut self,
        this: Resource<NnContext>,
        inputs: Handles,
    ) -> Result<Result<Handles, Resource<NnError>>> {
        let graph = self.table.get(&this)?.0.clone();
        match self.run(graph, inputs, &[]).await? {
            Ok(outputs) => Ok(Ok(self.give_tensors(outputs)?)),
            Err(error) => {
                let code = match error {
                    ComputeError::InvalidInput(_) => ErrorCode::InvalidArgument,
                    _ => ErrorCode::RuntimeError,
                };
                self.nn_error(code, error.to_string())
            }
        }
    }

    fn drop(&mut self, this: Resource<NnContext>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl errors::Host for State {}

impl errors::HostError for State {
    fn code(&mut self, this: Resource<NnError>) -> Result<ErrorCode> {
        Ok(self.table.get(&this)?.code)
    }

    fn data(&mut self, this: Resource<NnError>) -> Result<String> {
        Ok(self.table.get(&this)?.message.clone())
    }

    fn drop(&mut self, this: Resource<NnError>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

fn dtype(ty: tensor::TensorType) -> DType {
    match ty {
        tensor::TensorType::Fp16 => DType::F16,
        tensor::TensorType::Fp32 => DType::F32,
        tensor::TensorType::Fp64 => DType::F64,
        tensor::TensorType::Bf16 => DType::BF16,
        tensor::TensorType::U8 => DType::U8,
        tensor::TensorType::I32 => DType::I32,
        tensor::TensorType::I64 => DType::I64,
    }
}

/// None for the types that wasi:nn lacks.
pub fn tensor_type(dtype: DType) -> Option<tensor::TensorType> {
    Some(match dtype {
        DType::F16 => tensor::TensorType::Fp16,
        DType::F32 => tensor::TensorType::Fp32,
        DType::F64 => tensor::TensorType::Fp64,
        DType::BF16 => tensor::TensorType::Bf16,
        DType::U8 => tensor::TensorType::U8,
        DType::I32 => tensor::TensorType::I32,
        DType::I64 => tensor::TensorType::I64,
        _ => return None,
    })
}
