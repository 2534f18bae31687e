//! What a store holds: the guest's limits, its handles and the graphs that it may open.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use wasmtime::ResourceLimiter;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::{
    config::limits::Limits,
    fair::Flow,
    nn::{Graph, Tensor},
};

use super::{
    Grants,
    clock::CallClock,
    host::bindings::tms::model::log::Level,
    host::log::{GuestLog, Stdio},
    host::tensors::HostTensor,
};

/// The graphs that a model may open, by name.
pub type Graphs = Arc<BTreeMap<String, Graph>>;

/// What is worth giving back to the system when it is gone, in bytes.
const LARGE: usize = 16 << 20;

/// What a model's instances use, and what became of them.
#[derive(Debug, Default)]
pub struct Usage {
    /// Host-side bytes of all tensors.
    pub tensor_bytes: AtomicUsize,
    /// Bytes of tensors that guests have read: each is a copy into a guest.
    pub bytes_read: AtomicU64,
    pub log_lines_dropped: AtomicU64,
    pub instances_created: AtomicU64,
    pub instances_discarded: AtomicU64,
    /// Tensors of more than [`LARGE`] that are gone.
    pub large_freed: AtomicU64,
}

/// What one instance uses.
#[derive(Debug)]
pub struct Account {
    /// Linear memory and host-side tensors, in bytes.
    used: AtomicUsize,
    usage: Arc<Usage>,
}

impl Account {
    pub fn new(usage: Arc<Usage>) -> Self {
        usage.instances_created.fetch_add(1, Ordering::Relaxed);
        Self { used: AtomicUsize::new(0), usage }
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The guest reads so many bytes of a tensor.
    pub fn read(&self, bytes: usize) {
        self.usage.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Adds `bytes` unless that exceeds `limit`.
    fn add(&self, bytes: usize, limit: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= limit;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

/// An instance is gone with the last of what it used: its store, and tensors that a native run still
/// holds. One that failed to start is counted too.
impl Drop for Account {
    fn drop(&mut self) {
        self.usage.instances_discarded.fetch_add(1, Ordering::Relaxed);
    }
}

pub struct State {
    pub table: ResourceTable,
    /// Made when the guest first asks for it: many never do.
    pub wasi: Option<WasiCtx>,
    pub graphs: Graphs,
    /// Whose its calls of graphs are.
    pub flow: Flow,
    pub grants: Grants,
    pub log: GuestLog,
    pub limits: Limits,
    /// Shared with every [`Charge`] that this instance's tensors hold.
    pub account: Arc<Account>,
    /// When the current call must have ended; read where the guest is interrupted.
    pub deadline: Instant,
    /// CPU time that the current call may take, and what it has taken.
    pub cpu: Duration,
    pub clock: Arc<CallClock>,
    /// The most calls that were in one native run with the current one.
    pub batch: Option<usize>,
}

impl State {
    /// A new call begins, and must end by `deadline`.
    pub fn begin(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.cpu = self.limits.cpu;
        self.batch = None;
        self.log.renew(&self.limits);
    }

    /// Makes the guest's WASI with the folders that it was granted.
    pub fn open_folders(&mut self) -> wasmtime::Result<()> {
        let mut wasi = wasi(&self.log, &self.limits, &self.grants);
        self.grants.open_folders(&mut wasi)?;
        self.wasi = Some(wasi.build());
        Ok(())
    }

    /// What runs now is the host's own.
    pub fn unlimited(&mut self) {
        self.deadline += Duration::from_secs(3600);
        self.cpu = Duration::MAX;
    }

    /// Accounts for `bytes` on the host's side, or says that the limit is reached.
    pub fn charge(&self, bytes: usize) -> wasmtime::Result<Charge> {
        if !self.account.add(bytes, self.limits.memory) {
            return Err(self.over_memory(bytes));
        }
        self.account.usage.tensor_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Charge { bytes, account: self.account.clone() })
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
    account: Arc<Account>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.usage.tensor_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.bytes > LARGE {
            self.account.usage.large_freed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Where not, `memory.grow` returns -1: the guest's allocator decides what that means.
        Ok(self.account.add(desired.saturating_sub(current), self.limits.memory))
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
        let make = || wasi(&self.log, &self.limits, &self.grants).build();
        WasiCtxView { ctx: self.wasi.get_or_insert_with(make), table: &mut self.table }
    }
}

/// A guest's WASI, but for folders, whose opening can fail.
fn wasi(log: &GuestLog, limits: &Limits, grants: &Grants) -> WasiCtxBuilder {
    let stdio = |level| Stdio { log: log.clone(), level };
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(stdio(Level::Info)).stderr(stdio(Level::Warn));
    wasi.max_random_size(limits.max_random as u64);
    grants.apply(&mut wasi);
    wasi
}
