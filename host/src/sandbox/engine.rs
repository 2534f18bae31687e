//! One engine a server: where guests' memories come from, how guests are interrupted, and what they
//! are linked to.

use std::sync::Arc;

use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::{
    cache::CodeCache,
    compile::{Compiler, Compiling, Settings},
    error::LoadError,
    host,
    inspect::Footprint,
    store::TABLE_ELEMENTS,
    ticker::Ticker,
};

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

/// The engine with all that components are loaded with.
pub struct Sandbox {
    pub(super) engine: Engine,
    pub(super) compiler: Arc<Compiler>,
    /// Lives as long as any guest that it interrupts.
    pub(super) ticker: Arc<Ticker>,
    pub(super) interruptible: bool,
}

impl Sandbox {
    pub fn new(
        pool: PoolSize,
        cache: Option<CodeCache>,
        compiling: Compiling,
    ) -> Result<Self, LoadError> {
        let context = |context| move |source| LoadError::Wasmtime { context, source };
        let slots = |n: u32| n.clamp(1, MAX_SLOTS);
        let mut pooling = PoolingAllocationConfig::new();
        pooling
            .total_component_instances(slots(pool.instances))
            .total_stacks(slots(pool.instances))
            // Only counted, never reserved. wasmtime adds some that are in no file: an adapter
            // wherever one component calls another. `expand` bounds what they come from.
            .total_core_instances(u32::MAX)
            .max_core_instances_per_component(u32::MAX)
            .total_memories(slots(pool.total.memories))
            .total_tables(slots(pool.total.tables))
            .max_memories_per_component(pool.largest.memories.max(1))
            .max_tables_per_component(pool.largest.tables.max(1))
            .max_memories_per_module(pool.largest.memories.max(1))
            .max_tables_per_module(pool.largest.tables.max(1))
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
        let settings = Settings { interruptible: pool.interruptible, stack: pool.stack };
        let mut config = settings.config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
        let engine = Engine::new(&config).map_err(context("the Wasm engine did not start"))?;
        let linker = host::linker(&engine).map_err(context("the host's functions do not link"))?;
        Ok(Self {
            compiler: Arc::new(Compiler::new(engine.clone(), settings, linker, cache, compiling)),
            ticker: Ticker::start(engine.clone()).map_err(LoadError::Ticker)?,
            engine,
            interruptible: pool.interruptible,
        })
    }
}
