//! Version 0.1.0 of our interfaces: the same functions under older names.

use wasmtime::{
    Result,
    component::{HasSelf, Linker, Resource},
};

use crate::sandbox::store::{NamedHandles, StoreData};

use super::{
    bindings::{
        self,
        v0_1::{
            graphs, log,
            tensors::{self, Dtype, TensorInfo},
            types::{self, Error, Fault},
        },
    },
    resources::{HostTensor, NnGraph},
};

/// Links them beside today's.
pub fn add_to_linker(linker: &mut Linker<StoreData>) -> Result<()> {
    types::add_to_linker::<_, HasSelf<_>>(linker, |data| data)?;
    tensors::add_to_linker::<_, HasSelf<_>>(linker, |data| data)?;
    graphs::add_to_linker::<_, HasSelf<_>>(linker, |data| data)?;
    log::add_to_linker::<_, HasSelf<_>>(linker, |data| data)
}

impl types::Host for StoreData {}

impl tensors::Host for StoreData {}

impl tensors::HostTensor for StoreData {
    async fn new(
        &mut self,
        dtype: Dtype,
        shape: Vec<u64>,
        data: Vec<u8>,
    ) -> Result<Resource<HostTensor>> {
        bindings::tensors::HostTensor::new(self, dtype.into(), shape, data).await
    }

    fn dtype(&mut self, this: Resource<HostTensor>) -> Result<Dtype> {
        Ok(bindings::tensors::HostTensor::dtype(self, this)?.into())
    }

    fn shape(&mut self, this: Resource<HostTensor>) -> Result<Vec<u64>> {
        bindings::tensors::HostTensor::shape(self, this)
    }

    fn byte_length(&mut self, this: Resource<HostTensor>) -> Result<u64> {
        bindings::tensors::HostTensor::byte_length(self, this)
    }

    async fn read(
        &mut self,
        this: Resource<HostTensor>,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>> {
        bindings::tensors::HostTensor::read(self, this, offset, length).await
    }

    fn share(&mut self, this: Resource<HostTensor>) -> Result<Resource<HostTensor>> {
        bindings::tensors::HostTensor::share(self, this)
    }

    fn reshape(
        &mut self,
        this: Resource<HostTensor>,
        shape: Vec<u64>,
    ) -> Result<Resource<HostTensor>> {
        bindings::tensors::HostTensor::reshape(self, this, shape)
    }

    async fn rows(
        &mut self,
        this: Resource<HostTensor>,
        start: u64,
        count: u64,
    ) -> Result<Resource<HostTensor>> {
        bindings::tensors::HostTensor::rows(self, this, start, count).await
    }

    fn drop(&mut self, this: Resource<HostTensor>) -> Result<()> {
        bindings::tensors::HostTensor::drop(self, this)
    }
}

impl graphs::Host for StoreData {
    fn inputs(&mut self, graph: Resource<NnGraph>) -> Result<Vec<TensorInfo>> {
        Ok(infos(bindings::graphs::Host::inputs(self, graph)?))
    }

    fn outputs(&mut self, graph: Resource<NnGraph>) -> Result<Vec<TensorInfo>> {
        Ok(infos(bindings::graphs::Host::outputs(self, graph)?))
    }

    async fn compute(
        &mut self,
        graph: Resource<NnGraph>,
        inputs: NamedHandles,
        outputs: Vec<String>,
    ) -> Result<Result<NamedHandles, Error>> {
        let computed = bindings::graphs::Host::compute(self, graph, inputs, outputs).await?;
        Ok(computed.map_err(older))
    }

    fn to_nn(
        &mut self,
        tensor: Resource<HostTensor>,
    ) -> Result<Result<Resource<HostTensor>, Error>> {
        Ok(bindings::graphs::Host::to_nn(self, tensor)?.map_err(older))
    }

    fn from_nn(&mut self, tensor: Resource<HostTensor>) -> Result<Resource<HostTensor>> {
        bindings::graphs::Host::from_nn(self, tensor)
    }
}

impl log::Host for StoreData {
    fn log(&mut self, level: log::Level, message: String) -> Result<()> {
        let level = match level {
            log::Level::Trace => bindings::log::Level::Trace,
            log::Level::Debug => bindings::log::Level::Debug,
            log::Level::Info => bindings::log::Level::Info,
            log::Level::Warn => bindings::log::Level::Warn,
            log::Level::Error => bindings::log::Level::Error,
        };
        bindings::log::Host::log(self, level, message)
    }
}

fn infos(infos: Vec<bindings::tensors::TensorInfo>) -> Vec<TensorInfo> {
    let older = |info: bindings::tensors::TensorInfo| TensorInfo {
        name: info.name,
        dtype: info.dtype.into(),
        shape: info.shape,
    };
    infos.into_iter().map(older).collect()
}

fn older(error: bindings::types::Error) -> Error {
    let fault = match error.fault {
        bindings::types::Fault::Caller => Fault::Caller,
        bindings::types::Fault::Model => Fault::Model,
        bindings::types::Fault::Server => Fault::Server,
    };
    Error { fault, message: error.message }
}
