//! A loaded component: compiled, linked, with the graphs it may open and the limits of its
//! instances.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures_util::FutureExt;
use wasmtime::{
    Engine, Store,
    component::{Component, Linker},
};
use wasmtime_wasi::ResourceTable;

use crate::{config::limits::Limits, fair::Flow};

use super::{
    CallError, CodeCache, Grants, Instance, LoadError, Sandbox,
    clock::{CallClock, Late},
    engine::Ticker,
    host::bindings::ModelPre,
    host::log::GuestLog,
    instance::failure,
    snapshot::snapshot,
    store::{Account, Graphs, State, Usage},
};

/// What a component is loaded with.
pub struct GuestOptions {
    pub name: String,
    pub graphs: Graphs,
    /// The model among those that share graphs.
    pub flow: Flow,
    pub limits: Limits,
    pub grants: Grants,
    /// An instance answers one call only.
    pub fresh: bool,
    /// Instances start from a snapshot taken after `init`.
    pub snapshot: bool,
    /// Names what `init` may have seen besides the component, if that can be named: the snapshot is
    /// kept with the compiled code under it.
    pub snapshot_key: Option<String>,
}

/// A component that instances are made from.
pub struct Guest {
    pub(super) maker: Maker,
    pre: ModelPre<State>,
}

/// Makes stores, and runs what is to start in them.
pub struct Maker {
    pub(super) name: Arc<str>,
    pub(super) options: GuestOptions,
    pub(super) usage: Arc<Usage>,
    pub(super) ticker: Arc<Ticker>,
    engine: Engine,
    linker: Arc<Linker<State>>,
    cache: Option<CodeCache>,
    interruptible: bool,
}

impl Guest {
    /// Compiles `bytes`, or takes the code compiled earlier, and links it. Blocks for the time of
    /// the compilation: seconds for a large component.
    pub async fn load(
        sandbox: &Sandbox,
        bytes: &[u8],
        options: GuestOptions,
    ) -> Result<Self, LoadError> {
        let maker = Maker {
            name: options.name.as_str().into(),
            options,
            usage: Arc::default(),
            ticker: sandbox.ticker.clone(),
            engine: sandbox.engine.clone(),
            linker: sandbox.linker.clone(),
            cache: sandbox.cache.clone(),
            interruptible: sandbox.interruptible,
        };
        let component = match maker.options.snapshot {
            true => maker.compile_snapshot(bytes).await?,
            false => maker.compile_shared(sandbox, bytes)?,
        };
        let pre = maker.link(&component)?;
        Ok(Self { maker, pre })
    }

    /// A fresh instance with a store of its own, after its `init`.
    pub async fn instantiate(&self) -> Result<Instance, CallError> {
        let mut store = self.maker.store()?;
        let clock = store.data().clock.clone();
        let start = async {
            let model = self.pre.instantiate_async(&mut store).await?;
            let init = match self.maker.options.snapshot {
                true => Ok(()),
                false => model.call_init(&mut store).await?,
            };
            wasmtime::Result::Ok((model, init))
        };
        let (model, init) = self.maker.starting(&clock, start).await?;
        init?;
        Ok(Instance::new(store, model, &self.maker))
    }

    /// Whether an instance answers one call only.
    pub fn fresh(&self) -> bool {
        self.maker.options.fresh
    }

    /// What its instances use and have used, together.
    pub fn usage(&self) -> &Usage {
        &self.maker.usage
    }
}

impl Maker {
    pub(super) fn store(&self) -> Result<Store<State>, CallError> {
        let GuestOptions { limits, graphs, grants, .. } = &self.options;
        let log = GuestLog::new(self.name.clone(), self.usage.clone());
        log.renew(limits);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let mut state = State {
            table,
            wasi: None,
            graphs: graphs.clone(),
            flow: self.options.flow,
            grants: grants.clone(),
            log,
            limits: *limits,
            account: Arc::new(Account::new(self.usage.clone())),
            deadline: Instant::now() + limits.init,
            cpu: limits.init,
            clock: Arc::new(CallClock::new(self.ticker.clone())),
            batch: None,
        };
        if !grants.folders.is_empty() {
            state.open_folders().map_err(|e| {
                tracing::warn!(model = %self.name, "a grant cannot be given: {e:#}");
                CallError::Server("a folder that it was granted cannot be opened".into())
            })?;
        }
        let mut store = Store::new(&self.engine, state);
        // Copying does not yield: so much takes a tenth of a second, all of it would take half of one.
        store.set_hostcall_fuel(limits.memory / 4);
        store.set_max_component_handles(limits.handles);
        if !self.interruptible {
            return Ok(store);
        }
        store.limiter(|state| state);
        store.epoch_deadline_callback(|context| {
            let state = context.data();
            if Instant::now() >= state.deadline {
                return Ok(wasmtime::UpdateDeadline::Interrupt);
            }
            if state.clock.spent() >= state.cpu {
                return Err(OverCpu.into());
            }
            // Other guests and the connections of this thread get their turn.
            Ok(wasmtime::UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store.set_epoch_deadline(1);
        Ok(store)
    }

    /// Runs the start of an instance within the time that it may take.
    pub(super) async fn starting<T>(
        &self,
        clock: &CallClock,
        start: impl Future<Output = wasmtime::Result<T>>,
    ) -> Result<T, CallError> {
        let limit = self.options.limits.init;
        match clock.run(Instant::now() + limit, start).await {
            Ok(Ok(started)) => Ok(started),
            Ok(Err(error)) => Err(match failure(&self.name, error, limit, limit) {
                CallError::Timeout(_) | CallError::Cpu(_) => CallError::Start(limit),
                other => other,
            }),
            Err(Late) => Err(CallError::Start(limit)),
        }
    }

    pub(super) fn link(&self, component: &Component) -> Result<ModelPre<State>, LoadError> {
        let context = |context| move |source| LoadError::Wasmtime { context, source };
        let pre = self
            .linker
            .instantiate_pre(component)
            .map_err(context("model.wasm imports what this server does not provide"))?;
        ModelPre::new(pre)
            .map_err(context("model.wasm does not export what tms:model/model@0.1.0 asks for"))
    }

    /// Models with the same component share its code.
    fn compile_shared(&self, sandbox: &Sandbox, bytes: &[u8]) -> Result<Component, LoadError> {
        let key = self.key(bytes);
        if let Some(component) = sandbox.compiled().get(&key) {
            return Ok(component.clone());
        }
        let component = self.compile_as(&key, bytes)?;
        sandbox.compiled().insert(key, component.clone());
        Ok(component)
    }

    pub(super) fn compile(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        self.compile_as(&self.key(bytes), bytes)
    }

    fn compile_as(&self, key: &str, bytes: &[u8]) -> Result<Component, LoadError> {
        if let Some(component) = self.cached(key) {
            return Ok(component);
        }
        let component = Component::from_binary(&self.engine, bytes)
            .map_err(|source| LoadError::Wasmtime { context: "model.wasm is not valid", source })?;
        self.stored(key, component)
    }

    /// Compiles the snapshot of a component. One whose `init` may read files, variables or hosts
    /// is taken anew at every start.
    async fn compile_snapshot(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        let seen = self.options.snapshot_key.as_ref();
        let key = seen.map(|seen| format!("{}-{seen}", self.key(bytes)));
        if let Some(component) = key.as_ref().and_then(|key| self.cached(key)) {
            return Ok(component);
        }
        // Wizer is written for components that people trust: it panics on some that are odd.
        let taken = AssertUnwindSafe(snapshot(self, bytes)).catch_unwind().await;
        let bytes = taken.unwrap_or_else(|_| {
            Err(LoadError::Refused("it cannot be snapshotted: wizer broke down on it".into()))
        })?;
        let component = Component::from_binary(&self.engine, &bytes).map_err(|source| {
            LoadError::Wasmtime { context: "its snapshot is not valid", source }
        })?;
        match key {
            Some(key) => self.stored(&key, component),
            None => Ok(component),
        }
    }

    /// What compiled code is stored under: what was compiled, and by what.
    fn key(&self, bytes: &[u8]) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut compiler = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut compiler);
        format!("{}-{:016x}", blake3::hash(bytes), compiler.finish())
    }

    fn cached(&self, key: &str) -> Option<Component> {
        let code = self.cache.as_ref()?.get(key)?;
        // SAFETY: `CodeCache::get` gives only files that this user alone can write, in a folder
        // that this user alone can write, whose checksum holds: what this server stored there, and
        // does not change any more. wasmtime itself refuses code of another version or configuration.
        #[allow(unsafe_code)]
        let loaded = unsafe {
            Component::deserialize_file(&self.engine, code.path())
                .or_else(|_| Component::deserialize(&self.engine, code.read()?))
        };
        loaded
            .inspect_err(|e| tracing::warn!("compiled code is not used, compiling again: {e:#}"))
            .ok()
    }

    /// Puts fresh code into the cache, and gives it from there, where it takes less memory.
    fn stored(&self, key: &str, component: Component) -> Result<Component, LoadError> {
        let Some(cache) = &self.cache else { return Ok(component) };
        let code = component.serialize().map_err(|source| LoadError::Wasmtime {
            context: "the compiled code cannot be stored",
            source,
        })?;
        cache.put(key, &code);
        Ok(self.cached(key).unwrap_or(component))
    }
}

/// The guest has had its CPU time.
#[derive(Debug, thiserror::Error)]
#[error("over the limit of CPU time")]
pub struct OverCpu;
