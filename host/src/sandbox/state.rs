//! What a store holds: the guest's limits, its handles and the graphs that it may open.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use wasmtime::ResourceLimiter;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

use crate::nn::{Graph, Tensor};

use super::{log::GuestLog, tensors::HostTensor};

/// What one instance may use. The operator sets them, a model may lower them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of linear memory and of host-side tensors together.
    pub memory: usize,
    /// Wall-clock time of one call, waiting included.
    pub timeout: std::time::Duration,
    /// Handles (tensors, graphs, contexts, errors) held at once.
    pub handles: usize,
    /// Bytes of one result: JSON and tensors together.
    pub reply: usize,
    /// Lines that one call may log; more are counted and dropped.
    pub log_lines: u32,
}

/// The graphs that a model may open, by name.
pub type Graphs = Arc<BTreeMap<String, Graph>>;

pub struct State {
    pub table: ResourceTable,
    pub wasi: WasiCtx,
    pub graphs: Graphs,
    pub log: GuestLog,
    pub limits: Limits,
    /// Bytes in use, shared with every [`Charge`] that this instance's tensors hold.
    pub used: Arc<AtomicUsize>,
    /// When the current call must have ended; read where the guest is interrupted.
    pub deadline: Instant,
}

impl State {
    /// Accounts for `bytes` on the host's side, or says that the limit is reached.
    pub fn charge(&self, bytes: usize) -> wasmtime::Result<Charge> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let charge = Charge { bytes, used: self.used.clone() };
        if before.saturating_add(bytes) > self.limits.memory {
            // Dropping the charge takes the bytes back.
            drop(charge);
            return Err(self.over_memory(bytes));
        }
        Ok(charge)
    }

    /// A handle's content for a tensor that becomes this instance's.
    pub fn adopt(&self, tensor: Tensor) -> wasmtime::Result<HostTensor> {
        let charge = self.charge(tensor.data().len())?;
        Ok(HostTensor::new(tensor, Arc::new(charge)))
    }

    fn over_memory(&self, bytes: usize) -> wasmtime::Error {
        wasmtime::format_err!(
            "a tensor of {bytes} bytes exceeds the memory limit of {} bytes",
            self.limits.memory
        )
    }
}

/// Bytes of a host-side tensor, counted as the instance's until its last handle is gone.
#[derive(Debug)]
pub struct Charge {
    bytes: usize,
    used: Arc<AtomicUsize>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let before = self.used.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.limits.memory {
            self.used.fetch_sub(more, Ordering::Relaxed);
            // `memory.grow` returns -1: the guest's allocator decides what that means.
            return Ok(false);
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= super::engine::TABLE_ELEMENTS)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
