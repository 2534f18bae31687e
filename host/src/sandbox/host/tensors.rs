//! `tms:model/tensors`: handles on tensors whose bytes stay in the host.

use bytes::Bytes;
use wasmtime::{
    Result, StoreContextMut,
    component::{Linker, Resource},
    format_err,
};

use crate::{
    nn::{Rows, Unchecked},
    sandbox::store::StoreData,
};

use super::{
    bindings::{tensors, types},
    resources::HostTensor,
};

/// Elements of a large tensor that are looked at before others get their turn: a fraction of a
/// millisecond.
const STEP: usize = 64 << 10;

/// Puts a function that lends a tensor's bytes in place of the one generated from the WIT, which would
/// copy them to a list first: so they are copied once, into the guest.
pub fn lend_bytes(linker: &mut Linker<StoreData>) -> Result<()> {
    type Read = (Resource<HostTensor>, u64, u64);
    for interface in ["tms:model/tensors@0.2.0", "tms:model/tensors@0.1.0"] {
        linker.instance(interface)?.func_wrap_async(
            "[method]tensor.read",
            |mut store: StoreContextMut<'_, StoreData>, (this, offset, length): Read| {
                Box::new(async move {
                    Ok((store.data_mut().read_tensor(&this, offset, length).await?,))
                })
            },
        )?;
    }
    Ok(())
}

impl types::Host for StoreData {}

impl tensors::Host for StoreData {}

impl tensors::HostTensor for StoreData {
    async fn new(
        &mut self,
        dtype: tensors::Dtype,
        shape: Vec<u64>,
        data: Vec<u8>,
    ) -> Result<Resource<HostTensor>> {
        let wrong = |e| format_err!("{e}");
        let charge = self.charge_tensor(data.len(), shape.len())?;
        let mut data = Unchecked::new(dtype.into(), shape, Bytes::from(data)).map_err(wrong)?;
        while !data.check(STEP).map_err(wrong)? {
            self.pause().await?;
        }
        let tensor = data.finish().map_err(wrong)?;
        Ok(self.table.push(HostTensor::new(tensor, charge))?)
    }

    fn dtype(&mut self, this: Resource<HostTensor>) -> Result<tensors::Dtype> {
        Ok(self.table.get(&this)?.tensor.dtype().into())
    }

    fn shape(&mut self, this: Resource<HostTensor>) -> Result<Vec<u64>> {
        Ok(self.table.get(&this)?.tensor.shape().to_vec())
    }

    fn byte_length(&mut self, this: Resource<HostTensor>) -> Result<u64> {
        Ok(self.table.get(&this)?.tensor.byte_length() as u64)
    }

    /// Not called: [`lend_bytes`] is linked in its place.
    async fn read(
        &mut self,
        this: Resource<HostTensor>,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>> {
        Ok(self.read_tensor(&this, offset, length).await?.to_vec())
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
        let tensor = &self.table.get(&this)?.tensor;
        let tensor = tensor.reshape(shape).map_err(|e| format_err!("{e}"))?;
        self.give_view(&this, tensor)
    }

    async fn rows(
        &mut self,
        this: Resource<HostTensor>,
        start: u64,
        count: u64,
    ) -> Result<Resource<HostTensor>> {
        let tensor = self.table.get(&this)?.tensor.clone();
        tensor.fetch().await?;
        let mut rows = Rows::new(&tensor, start, count).map_err(|e| format_err!("{e}"))?;
        while !rows.find(STEP) {
            self.pause().await?;
        }
        self.give_view(&this, rows.finish())
    }

    fn drop(&mut self, this: Resource<HostTensor>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
