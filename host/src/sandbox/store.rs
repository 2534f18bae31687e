//! What a store holds: the guest's limits, its handles and the graphs that it may open. How stores are
//! made and what is started in them.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use wasmtime::{Engine, ResourceLimiter, Store, Trap, component::Resource};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::{
    child::region::UNCHARGED,
    config::limits::Limits,
    data::NamedTensor,
    details::Details,
    fair::Flow,
    ledger::{NoRoom, Tenant},
    nn::{ComputeRequest, Graph, NnError, Tensor},
};

use super::{
    account::{self, Account, Full, Usage},
    clock::{CallClock, Late},
    error::{CallError, OverCpu, failure},
    host::{
        grants::Grants,
        lines::{GuestLog, Stdio},
        resources::HostTensor,
    },
    ticker::Ticker,
};

/// The graphs that a model may open, by name.
pub type Graphs = Arc<BTreeMap<String, Graph>>;

/// Handles on tensors, under the names of inputs or outputs.
pub type NamedHandles = Vec<(String, Resource<HostTensor>)>;

/// Elements of one table: function references, mostly.
pub const TABLE_ELEMENTS: usize = 100_000;
/// Bytes of one of them.
const TABLE_ELEMENT: usize = 16;

/// Makes stores for one component, and runs what is to start in them.
pub struct Maker {
    /// The model's.
    pub name: Arc<str>,
    pub graphs: Graphs,
    pub limits: Limits,
    /// The model among those that share graphs.
    pub flow: Flow,
    pub grants: Grants,
    pub usage: Arc<Usage>,
    /// The model, among those that the server's memory is divided between.
    pub tenant: Arc<Tenant>,
    pub engine: Engine,
    pub ticker: Arc<Ticker>,
    /// Whether guests are interrupted and limited.
    pub interruptible: bool,
}

impl Maker {
    pub fn store(&self) -> Result<Store<StoreData>, CallError> {
        let limits = &self.limits;
        let log = GuestLog::new(self.name.clone(), self.usage.clone());
        log.renew(limits);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let mut data = StoreData {
            name: self.name.clone(),
            table,
            wasi: None,
            graphs: self.graphs.clone(),
            flow: self.flow,
            grants: self.grants.clone(),
            log,
            limits: *limits,
            account: Arc::new(Account::new(self.usage.clone(), &self.tenant)),
            tenant: self.tenant.clone(),
            deadline: Instant::now() + limits.init,
            cpu: limits.init,
            clock: Arc::new(CallClock::new(self.ticker.clone())),
            details: None,
            batch: None,
            out_of_memory: false,
            no_room: None,
            growing: 0,
        };
        if !self.grants.folders.is_empty() {
            data.open_folders().map_err(|e| {
                tracing::warn!(model = %self.name, "a grant cannot be given: {e:#}");
                CallError::Server("a folder that it was granted cannot be opened".into())
            })?;
        }
        let mut store = Store::new(&self.engine, data);
        // Copying does not yield: so much takes a tenth of a second, all of it would take half of one.
        store.set_hostcall_fuel(limits.memory / 4);
        store.set_max_component_handles(limits.handles);
        if !self.interruptible {
            return Ok(store);
        }
        store.limiter(|data| data);
        store.epoch_deadline_callback(|context| {
            let data = context.data();
            data.in_time()?;
            // Other guests and the connections of this thread get their turn.
            Ok(wasmtime::UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store.set_epoch_deadline(1);
        Ok(store)
    }

    /// Runs the start of an instance within the time that it may take.
    pub async fn starting<T>(
        &self,
        clock: &CallClock,
        start: impl Future<Output = wasmtime::Result<T>>,
    ) -> Result<T, CallError> {
        let limit = self.limits.init;
        match clock.run(Instant::now() + limit, start).await {
            Ok(Ok(started)) => Ok(started),
            Ok(Err(error)) => Err(match failure(&self.name, error, limit, limit) {
                CallError::Timeout(_) | CallError::Cpu(_) => CallError::Start(limit),
                other => other,
            }),
            Err(Late) => Err(CallError::Start(limit)),
        }
    }
}

/// What the host's functions see of the instance that calls them.
pub struct StoreData {
    /// The model's.
    pub name: Arc<str>,
    /// What its handles stand for.
    pub table: ResourceTable,
    /// Made when the guest first asks for it: many never do.
    pub wasi: Option<WasiCtx>,
    pub graphs: Graphs,
    /// Whose its calls of graphs are.
    pub flow: Flow,
    pub grants: Grants,
    pub log: GuestLog,
    pub limits: Limits,
    /// Shared with the charges of this instance's tensors.
    pub account: Arc<Account>,
    /// The model, among those that the server's memory is divided between.
    pub tenant: Arc<Tenant>,
    /// When the current call must have ended; read where the guest is interrupted.
    pub deadline: Instant,
    /// CPU time that the current call may take, and what it has taken.
    pub cpu: Duration,
    pub clock: Arc<CallClock>,
    /// What the current call has beside its data: mostly nothing.
    details: Option<Box<Details>>,
    /// The most calls that were in one native run with the current one.
    pub batch: Option<usize>,
    /// The guest was refused memory in the current call.
    pub out_of_memory: bool,
    /// That was because the server's memory was taken.
    pub no_room: Option<NoRoom>,
    /// Bytes that the guest was last allowed to grow by. Whether it then did, is heard only if not.
    growing: usize,
}

impl StoreData {
    /// A new call begins, and must end by `deadline`.
    pub fn begin(&mut self, deadline: Instant, details: Option<Box<Details>>) {
        self.deadline = deadline;
        self.details = details;
        self.cpu = self.limits.cpu;
        self.batch = None;
        self.out_of_memory = false;
        self.no_room = None;
        self.log.renew(&self.limits);
    }

    /// The call has ended: nobody waits for parts of its result, nor calls other models.
    pub fn end(&mut self) {
        self.details = None;
    }

    /// What the current call has beside its data.
    pub fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    /// The call has until then.
    pub fn extend(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.clock.set_deadline(deadline);
    }

    /// A part of the result has gone: the limits of a call hold for the next one, and `until` for all.
    pub fn next_part(&mut self, now: Instant, until: Instant) {
        self.extend(until.min(now + self.limits.timeout));
        self.cpu = self.clock.counted().saturating_add(self.limits.cpu);
    }

    /// Fails where the current call has had its time. To be asked while the call is polled.
    fn in_time(&self) -> wasmtime::Result<()> {
        if Instant::now() >= self.deadline {
            return Err(Trap::Interrupt.into());
        }
        if self.clock.spent() >= self.cpu {
            return Err(OverCpu.into());
        }
        Ok(())
    }

    /// To be awaited between the steps of what the host does for long on behalf of the guest: others
    /// get their turn, and the call's time is heeded.
    pub async fn pause(&mut self) -> wasmtime::Result<()> {
        self.in_time()?;
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Makes the guest's WASI with the folders that it was granted.
    fn open_folders(&mut self) -> wasmtime::Result<()> {
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

    /// Makes a tensor this instance's, counted against its memory. Its bytes are charged to the server's
    /// already: they are of a request, or of a graph.
    pub fn give_tensor(&mut self, tensor: Tensor) -> wasmtime::Result<Resource<HostTensor>> {
        let (bytes, rank) = (tensor.byte_length(), tensor.shape().len());
        let whose = if bytes < UNCHARGED { account::Bytes::Own } else { account::Bytes::Charged };
        let charge = self.charge(bytes, whose, rank)?;
        Ok(self.table.push(HostTensor::new(tensor, charge))?)
    }

    /// Counts a tensor that the guest makes, before it is made.
    pub fn charge_tensor(
        &mut self,
        bytes: usize,
        rank: usize,
    ) -> wasmtime::Result<account::Charge> {
        self.charge(bytes, account::Bytes::Own, rank)
    }

    /// A tensor on the bytes of another one of this instance.
    pub fn give_view(
        &mut self,
        of: &Resource<HostTensor>,
        tensor: Tensor,
    ) -> wasmtime::Result<Resource<HostTensor>> {
        let data = self.table.get(of)?.data.clone();
        let view = self.charge(0, account::Bytes::Own, tensor.shape().len())?;
        Ok(self.table.push(HostTensor { tensor, data, view: Some(Arc::new(view)) })?)
    }

    fn charge(
        &mut self,
        bytes: usize,
        whose: account::Bytes,
        rank: usize,
    ) -> wasmtime::Result<account::Charge> {
        let limit = self.limits.memory;
        self.account.tensor(bytes, whose, rank, limit).map_err(|full| {
            self.refused(full);
            match full {
                Full::Limit => wasmtime::format_err!(
                    "a tensor of {bytes} bytes exceeds the memory limit of {limit} bytes"
                ),
                Full::Server(no_room) => no_room.into(),
            }
        })
    }

    fn refused(&mut self, full: Full) {
        self.out_of_memory = true;
        if let Full::Server(no_room) = full {
            self.no_room = Some(no_room);
        }
    }

    /// Whether the guest may grow by `bytes`.
    fn may_grow(&mut self, bytes: usize) -> bool {
        self.growing = 0;
        match self.account.grow(bytes, self.limits.memory) {
            Ok(()) => self.growing = bytes,
            Err(full) => self.refused(full),
        }
        self.growing == bytes
    }

    /// The guest did not grow, although it was allowed to.
    fn did_not_grow(&mut self) {
        self.account.did_not_grow(std::mem::take(&mut self.growing));
        self.out_of_memory = true;
    }

    /// Makes tensors this instance's, counted against its memory: all of them or none.
    pub fn give_tensors(&mut self, tensors: Vec<NamedTensor>) -> wasmtime::Result<NamedHandles> {
        let mut handles = Vec::with_capacity(tensors.len());
        for (name, tensor) in tensors {
            match self.give_tensor(tensor) {
                Ok(handle) => handles.push((name, handle)),
                Err(error) => {
                    // The guest never hears of these, and could not drop them.
                    self.take_tensors(handles)?;
                    return Err(error);
                }
            }
        }
        Ok(handles)
    }

    /// A part of a tensor's bytes, for the guest to have.
    pub async fn read_tensor(
        &mut self,
        tensor: &Resource<HostTensor>,
        offset: u64,
        length: u64,
    ) -> wasmtime::Result<Bytes> {
        let tensor = self.table.get(tensor)?.tensor.clone();
        tensor.fetch().await?;
        let data = tensor.data();
        let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
        let range = range.and_then(|(offset, length)| Some(offset..offset.checked_add(length)?));
        match range.filter(|range| range.end <= data.len()) {
            Some(range) => {
                self.account.read(range.len());
                Ok(data.slice(range))
            }
            None => Err(wasmtime::format_err!(
                "read of {length} bytes at {offset} in a tensor of {} bytes",
                data.len()
            )),
        }
    }

    /// Takes the tensors out of their handles: they are given away.
    pub fn take_tensors(&mut self, handles: NamedHandles) -> wasmtime::Result<Vec<NamedTensor>> {
        handles
            .into_iter()
            .map(|(name, handle)| Ok((name, self.table.delete(handle)?.tensor)))
            .collect()
    }

    /// Takes the tensors out of their handles, like [`Self::take_tensors`], but they go on counting as this
    /// instance's for as long as what `lent` gets is there.
    pub fn lend_tensors(
        &mut self,
        handles: NamedHandles,
        lent: &mut Vec<Lent>,
    ) -> wasmtime::Result<Vec<NamedTensor>> {
        let mut tensors = Vec::with_capacity(handles.len());
        for (name, handle) in handles {
            let HostTensor { tensor, data, view } = self.table.delete(handle)?;
            lent.push(Lent { _data: data, _view: view });
            tensors.push((name, tensor));
        }
        Ok(tensors)
    }

    /// Runs a graph; the inputs are given away, and count as this instance's until the run ends.
    pub async fn run_graph(
        &mut self,
        graph: Graph,
        inputs: NamedHandles,
        outputs: &[String],
    ) -> wasmtime::Result<Result<Vec<NamedTensor>, NnError>> {
        let mut lent = Vec::with_capacity(inputs.len());
        let tensors = self.lend_tensors(inputs, &mut lent)?;
        let request = ComputeRequest {
            inputs: tensors,
            outputs,
            flow: self.flow,
            deadline: self.deadline,
            may_stay: true,
        };
        let result = graph.compute(request).await;
        drop(lent);
        if let Err(NnError::NoRoom(no_room)) = result {
            self.no_room = Some(no_room);
        }
        Ok(result.map(|computed| {
            self.batch = self.batch.max(computed.batch_size);
            computed.tensors
        }))
    }
}

/// Keeps a tensor counted as its instance's.
pub struct Lent {
    _data: Arc<account::Charge>,
    _view: Option<Arc<account::Charge>>,
}

/// Where a growth is refused, `memory.grow` and `table.grow` return -1: the guest's allocator decides what
/// that means.
impl ResourceLimiter for StoreData {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // wasmtime would refuse it, too, and say nothing of how much was asked for.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.may_grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // This one comes before it asks whether the guest may grow, so nothing was added.
        if !error.to_string().contains("memory type's limits") {
            self.did_not_grow();
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.may_grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT)))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if !error.to_string().contains("overflow calculating") {
            self.did_not_grow();
        }
        Ok(())
    }
}

impl WasiView for StoreData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let make = || wasi(&self.log, &self.limits, &self.grants).build();
        WasiCtxView { ctx: self.wasi.get_or_insert_with(make), table: &mut self.table }
    }
}

/// A guest's WASI, but for folders, whose opening can fail.
fn wasi(log: &GuestLog, limits: &Limits, grants: &Grants) -> WasiCtxBuilder {
    let stdio = |level| Stdio { log: log.clone(), level };
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(stdio(tracing::Level::INFO)).stderr(stdio(tracing::Level::WARN));
    wasi.max_random_size(limits.max_random as u64);
    grants.apply(&mut wasi);
    wasi
}
