//! One engine a server: how guests are compiled, where their memories come from, and the epoch's
//! ticker, which interrupts them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::{Component, Linker},
};

use super::{
    CodeCache, Footprint, LoadError,
    host::{bindings::Model, grants, tensors},
    store::State,
};

/// How long a guest runs before it is asked whether it may go on, and others get their turn.
const TICK: Duration = Duration::from_millis(1);
/// The ticker sleeps after so many ticks without a call.
const IDLE_TICKS: u32 = 1000;
/// Stack of the host functions that a guest calls, on the same fiber.
const HOST_STACK: usize = 1 << 20;
/// Elements of one table: function references, mostly.
pub const TABLE_ELEMENTS: usize = 100_000;
/// Memory up to this size is zeroed when its instance ends, and stays: cheaper than to give its pages
/// back and fault them in again. A larger one has its first pages where nothing was written: Rust puts
/// a stack of 1 MiB there, and uses its other end.
const SMALL_MEMORY: u64 = 256 << 10;
/// Address space is reserved for every slot (4 GiB a memory), so their number is bounded.
const MAX_SLOTS: u32 = 8192;

/// How many instances can exist at once, and what the largest of them takes.
#[derive(Clone, Copy, Debug)]
pub struct PoolSize {
    /// Instances of all models on all workers.
    pub instances: u32,
    /// The sum over these instances.
    pub total: Footprint,
    /// The largest single instance.
    pub largest: Footprint,
    /// Bytes of an ended instance's memory that stay for the next one: see [`SMALL_MEMORY`].
    pub kept: usize,
    /// The largest memory limit, in bytes.
    pub memory: usize,
    /// Stack of a guest's code, the same for all models, in bytes.
    pub stack: usize,
    /// Whether guests are interrupted and limited. False only for benches: nothing stops them then.
    pub interruptible: bool,
}

impl PoolSize {
    /// Makes room for so many instances of a component.
    pub fn add(&mut self, component: Footprint, instances: u32) {
        self.instances = self.instances.saturating_add(instances);
        self.total = self.total.plus(component, instances);
        self.largest = self.largest.max(component);
        if component.initial <= SMALL_MEMORY {
            self.kept = self.kept.max(component.initial as usize);
        }
    }
}

/// The engine with all that guests are linked to.
pub struct Sandbox {
    pub(super) engine: Engine,
    pub(super) linker: Arc<Linker<State>>,
    pub(super) cache: Option<CodeCache>,
    /// Components of the models loaded so far, by what they are cached under.
    compiled: Mutex<HashMap<String, Component>>,
    pub(super) ticker: Arc<Ticker>,
    pub(super) interruptible: bool,
}

impl Sandbox {
    pub fn new(pool: PoolSize, cache: Option<CodeCache>) -> Result<Self, LoadError> {
        let context = |context| move |source| LoadError::Wasmtime { context, source };
        let slots = |n: u32| n.clamp(1, MAX_SLOTS);
        let mut pooling = PoolingAllocationConfig::new();
        pooling
            .total_component_instances(slots(pool.instances))
            .total_stacks(slots(pool.instances))
            .total_core_instances(pool.total.core_instances.max(1))
            .total_memories(slots(pool.total.memories))
            .total_tables(slots(pool.total.tables))
            .max_core_instances_per_component(pool.largest.core_instances.max(1))
            .max_memories_per_component(pool.largest.memories.max(1))
            .max_tables_per_component(pool.largest.tables.max(1))
            .max_component_instance_size(4 << 20)
            .max_core_instance_size(4 << 20)
            .table_elements(TABLE_ELEMENTS)
            // More than 4 GiB is for tensors: no 32-bit linear memory can use it.
            .max_memory_size(pool.memory.min(1 << 32))
            // wasmtime could find the pages that were written and reset only these (`pagemap_scan`),
            // but of those it misses what is swapped out or on the move at that moment
            // (github.com/bytecodealliance/wasmtime/pull/14357): the next guest would see it.
            .linear_memory_keep_resident(pool.kept)
            .table_keep_resident(16 << 10);
        let mut config = Config::new();
        config
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pooling))
            .epoch_interruption(pool.interruptible)
            .max_wasm_stack(pool.stack)
            .async_stack_size(pool.stack + HOST_STACK)
            // No guests of WASI 0.3 yet: stores are smaller without.
            .concurrency_support(false);
        let engine = Engine::new(&config).map_err(context("the Wasm engine did not start"))?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(context("linking WASI"))?;
        grants::restrict_lookup(&mut linker).map_err(context("linking WASI"))?;
        Model::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |state| state)
            .and_then(|()| tensors::lend_bytes(&mut linker))
            .map_err(context("linking tms:model"))?;
        let ticker = Ticker::start(engine.clone());
        Ok(Self {
            engine,
            linker: Arc::new(linker),
            cache,
            compiled: Mutex::default(),
            ticker,
            interruptible: pool.interruptible,
        })
    }

    pub(super) fn compiled(&self) -> MutexGuard<'_, HashMap<String, Component>> {
        // A map is never left half changed.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Increments the engine's epoch while guests run; sleeps while none do.
pub struct Ticker {
    /// A guest has run since the last tick, or runs.
    ran: AtomicBool,
    asleep: AtomicBool,
    thread: OnceLock<thread::Thread>,
}

impl Ticker {
    pub fn start(engine: Engine) -> Arc<Self> {
        let ticker = Arc::new(Self {
            ran: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let weak = Arc::downgrade(&ticker);
        let spawned = thread::Builder::new().name("tms-epoch".into()).spawn(move || {
            let mut idle = 0;
            // Ends with the last handle on it.
            while let Some(ticker) = weak.upgrade() {
                engine.increment_epoch();
                idle = match ticker.ran.swap(false, Ordering::SeqCst) {
                    true => 0,
                    false => idle + 1,
                };
                if idle < IDLE_TICKS {
                    drop(ticker);
                    thread::sleep(TICK);
                    continue;
                }
                ticker.asleep.store(true, Ordering::SeqCst);
                let nobody = !ticker.ran.load(Ordering::SeqCst);
                drop(ticker);
                if nobody {
                    // A guest that runs now sees `asleep` and unparks; the time-out lets this
                    // thread notice that the server is gone.
                    thread::park_timeout(Duration::from_secs(1));
                }
                if let Some(ticker) = weak.upgrade() {
                    ticker.asleep.store(false, Ordering::SeqCst);
                }
            }
        });
        match spawned {
            Ok(handle) => {
                let _ = ticker.thread.set(handle.thread().clone());
            }
            // Guests could not be interrupted: nothing may run without it.
            Err(e) => tracing::error!("the epoch's thread did not start: {e}"),
        }
        ticker
    }

    /// To be said before each poll of a guest, and at each tick that it meets. One that runs on and on
    /// meets the next tick long before the ticker would sleep; one that waits is polled again before
    /// it runs.
    pub fn guest_runs(&self) {
        // Mostly it has been said already: then the workers only read what they share.
        if !self.ran.load(Ordering::SeqCst) {
            self.ran.store(true, Ordering::SeqCst);
        }
        if self.asleep.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}
