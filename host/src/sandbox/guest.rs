//! A loaded component: compiled, linked, with the graphs it may open and the limits of its
//! instances.

use std::{sync::Arc, time::Instant};

use wasmtime::{Store, component::Component};
use wasmtime_wasi::{ResourceTable, WasiCtxBuilder};

use super::{
    CallError, Instance, LoadError, Sandbox,
    bindings::{ModelPre, tms::model::log::Level},
    engine::Ticker,
    instance::failure,
    log::{GuestLog, Stdio},
    state::{Graphs, Limits, State},
};

/// A component that instances are made from.
pub struct Guest {
    pub(super) name: Arc<str>,
    pub(super) limits: Limits,
    pub(super) ticker: Arc<Ticker>,
    pre: ModelPre<State>,
    graphs: Graphs,
}

impl Guest {
    /// Compiles `bytes`, or takes the code compiled earlier, and links it. Blocks for the time of
    /// the compilation: seconds for a large component.
    pub fn load(
        sandbox: &Sandbox,
        name: &str,
        bytes: &[u8],
        graphs: Graphs,
        limits: Limits,
    ) -> Result<Self, LoadError> {
        let component = compile(sandbox, bytes)?;
        let pre =
            sandbox.linker.instantiate_pre(&component).map_err(|source| LoadError::Wasmtime {
                context: "model.wasm imports what this server does not provide",
                source,
            })?;
        let pre = ModelPre::new(pre).map_err(|source| LoadError::Wasmtime {
            context: "model.wasm does not export what tms:model/model@0.1.0 asks for",
            source,
        })?;
        Ok(Self { name: name.into(), limits, ticker: sandbox.ticker.clone(), pre, graphs })
    }

    /// A fresh instance with a store of its own, after its `init`.
    pub async fn instantiate(&self) -> Result<Instance, CallError> {
        let log = GuestLog::new(self.name.clone(), self.limits.log_lines);
        let stdio = |level| Stdio { log: log.clone(), level };
        // Nothing is granted: no files, environment, arguments, sockets or stdin.
        let wasi = WasiCtxBuilder::new()
            .stdout(stdio(Level::Info))
            .stderr(stdio(Level::Warn))
            .allow_udp(false)
            .allow_tcp(false)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(self.limits.handles);
        let state = State {
            table,
            wasi,
            graphs: self.graphs.clone(),
            log,
            limits: self.limits,
            used: Default::default(),
            deadline: Instant::now() + self.limits.timeout,
        };
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(|context| {
            Ok(if Instant::now() >= context.data().deadline {
                wasmtime::UpdateDeadline::Interrupt
            } else {
                // Other guests and the connections of this thread get their turn.
                wasmtime::UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
            })
        });
        store.set_epoch_deadline(1);
        let running = self.ticker.running();
        let timeout = self.limits.timeout;
        let instantiate = async {
            let model = self.pre.instantiate_async(&mut store).await?;
            let init = model.call_init(&mut store).await?;
            wasmtime::Result::Ok((model, init))
        };
        let made = tokio::time::timeout(timeout, instantiate).await;
        drop(running);
        match made {
            Ok(Ok((model, Ok(())))) => Ok(Instance::new(store, model, self)),
            Ok(Ok((_, Err(error)))) => Err(error.into()),
            Ok(Err(error)) => Err(failure(&self.name, error, timeout)),
            Err(_) => Err(CallError::Timeout(timeout)),
        }
    }
}

fn compile(sandbox: &Sandbox, bytes: &[u8]) -> Result<Component, LoadError> {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let engine = &sandbox.engine;
    let context = |context| move |source| LoadError::Wasmtime { context, source };
    let mut compiler = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compiler);
    let key = format!("{}-{:016x}", blake3::hash(bytes), compiler.finish());
    if let Some(cache) = &sandbox.cache
        && let Some(code) = cache.get(&key)
    {
        // SAFETY: `CodeCache::get` gives only files that this user alone can write, in a folder
        // that this user alone can write, whose checksum holds: what this server stored there.
        // wasmtime itself refuses code of another version or configuration.
        #[allow(unsafe_code)]
        match unsafe { Component::deserialize(engine, &code) } {
            Ok(component) => return Ok(component),
            Err(e) => tracing::warn!("compiled code is not used, compiling again: {e:#}"),
        }
    }
    let component =
        Component::from_binary(engine, bytes).map_err(context("model.wasm is not valid"))?;
    if let Some(cache) = &sandbox.cache {
        let code = component.serialize().map_err(context("the compiled code cannot be stored"))?;
        cache.put(&key, &code);
    }
    Ok(component)
}
