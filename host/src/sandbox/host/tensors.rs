//! `tms:model/tensors`: handles on tensors whose bytes stay in the host.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::{
    Result, StoreContextMut,
    component::{Linker, Resource},
    format_err,
};

use crate::nn::{DType, Tensor, TensorInfo};

use crate::sandbox::store::{Charge, State};

use super::bindings::tms::model::{tensors, types};

/// A tensor as a guest holds it; the charge is shared by all handles on the same bytes.
#[derive(Clone, Debug)]
pub struct HostTensor {
    pub tensor: Tensor,
    pub charge: Arc<Charge>,
}

impl HostTensor {
    pub fn new(tensor: Tensor, charge: Arc<Charge>) -> Self {
        Self { tensor, charge }
    }

    /// Another tensor on the same bytes.
    fn view(&self, tensor: Tensor) -> Self {
        Self::new(tensor, self.charge.clone())
    }
}

/// Puts functions that lend a tensor's bytes in place of those generated from the WIT, which would
/// copy them to a list first: so they are copied once, into the guest.
pub fn lend_bytes(linker: &mut Linker<State>) -> Result<()> {
    type Read = (Resource<HostTensor>, u64, u64);
    let read = |store: StoreContextMut<'_, State>, (this, offset, length): Read| {
        Ok((store.data().bytes(&this, offset, length)?,))
    };
    let data = |store: StoreContextMut<'_, State>, (this,): (Resource<HostTensor>,)| {
        let length = store.data().table.get(&this)?.tensor.byte_length();
        Ok((store.data().bytes(&this, 0, length as u64)?,))
    };
    linker.allow_shadowing(true);
    linker.instance("tms:model/tensors@0.1.0")?.func_wrap("[method]tensor.read", read)?;
    linker
        .instance("wasi:nn/tensor@0.2.0-rc-2024-10-28")?
        .func_wrap("[method]tensor.data", data)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl State {
    /// A part of a tensor's bytes.
    fn bytes(&self, this: &Resource<HostTensor>, offset: u64, length: u64) -> Result<Bytes> {
        let data = self.table.get(this)?.tensor.data();
        let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
        let range = range.and_then(|(offset, length)| Some(offset..offset.checked_add(length)?));
        match range.filter(|range| range.end <= data.len()) {
            Some(range) => {
                self.account.read(range.len());
                Ok(data.slice(range))
            }
            None => Err(format_err!(
                "read of {length} bytes at {offset} in a tensor of {} bytes",
                data.len()
            )),
        }
    }
}

impl types::Host for State {}

impl tensors::Host for State {}

impl tensors::HostTensor for State {
    fn new(
        &mut self,
        dtype: tensors::Dtype,
        shape: Vec<u64>,
        data: Vec<u8>,
    ) -> Result<Resource<HostTensor>> {
        let tensor =
            Tensor::new(dtype.into(), shape, Bytes::from(data)).map_err(|e| format_err!("{e}"))?;
        let tensor = self.adopt(tensor)?;
        Ok(self.table.push(tensor)?)
    }

    fn dtype(&mut self, this: Resource<HostTensor>) -> Result<tensors::Dtype> {
        Ok(self.table.get(&this)?.tensor.dtype().into())
    }

    fn shape(&mut self, this: Resource<HostTensor>) -> Result<Vec<u64>> {
        Ok(self.table.get(&this)?.tensor.shape().to_vec())
    }

    fn byte_length(&mut self, this: Resource<HostTensor>) -> Result<u64> {
        Ok(self.table.get(&this)?.tensor.data().len() as u64)
    }

    /// Not called: [`lend_bytes`] is linked in its place.
    fn read(&mut self, this: Resource<HostTensor>, offset: u64, length: u64) -> Result<Vec<u8>> {
        Ok(self.bytes(&this, offset, length)?.to_vec())
    }

    fn share(&mut self, this: Resource<HostTensor>) -> Result<Resource<HostTensor>> {
        let tensor = self.table.get(&this)?.clone();
        Ok(self.table.push(tensor)?)
    }

    fn reshape(
        &mut self,
        this: Resource<HostTensor>,
        shape: Vec<u64>,
    ) -> Result<Resource<HostTensor>> {
        let it = self.table.get(&this)?;
        let tensor = it.tensor.reshape(shape).map_err(|e| format_err!("{e}"))?;
        let view = it.view(tensor);
        Ok(self.table.push(view)?)
    }

    fn rows(
        &mut self,
        this: Resource<HostTensor>,
        start: u64,
        count: u64,
    ) -> Result<Resource<HostTensor>> {
        let it = self.table.get(&this)?;
        let tensor = it.tensor.rows(start, count).map_err(|e| format_err!("{e}"))?;
        let view = it.view(tensor);
        Ok(self.table.push(view)?)
    }

    fn drop(&mut self, this: Resource<HostTensor>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

macro_rules! dtypes {
    ($($wit:ident $host:ident)*) => {
        impl From<tensors::Dtype> for DType {
            fn from(dtype: tensors::Dtype) -> Self {
                match dtype { $(tensors::Dtype::$wit => DType::$host,)* }
            }
        }

        impl From<DType> for tensors::Dtype {
            fn from(dtype: DType) -> Self {
                match dtype { $(DType::$host => tensors::Dtype::$wit,)* }
            }
        }
    };
}

dtypes! {
    Bool Bool  U8 U8  U16 U16  U32 U32  U64 U64  S8 I8  S16 I16  S32 I32  S64 I64
    Fp16 F16  Bf16 BF16  Fp32 F32  Fp64 F64  Bytes Bytes
}

impl From<&TensorInfo> for tensors::TensorInfo {
    fn from(info: &TensorInfo) -> Self {
        Self { name: info.name.clone(), dtype: info.dtype.into(), shape: info.shape.clone() }
    }
}

impl From<tensors::TensorInfo> for TensorInfo {
    fn from(info: tensors::TensorInfo) -> Self {
        Self { name: info.name, dtype: info.dtype.into(), shape: info.shape }
    }
}
