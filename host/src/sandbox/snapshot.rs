//! A component with the state after its `init` baked in, so that a fresh instance starts where
//! `init` ended. Wizer (wasmtime's pre-initializer) gives the component ways to read its memories
//! and globals, and writes them back as the initial ones.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use wasmtime::{
    Store,
    component::{Component, Instance, Lift, WasmList},
};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use super::{
    compile::Compiler,
    error::LoadError,
    host::bindings::{GuestExports, GuestExportsPre},
    store::{Maker, StoreData},
};

/// Compiles the snapshot of a component. `seen` names what its `init` may have seen besides the
/// component: without it the snapshot is taken anew at every start.
pub async fn compile(
    compiler: &Compiler,
    maker: &Maker,
    bytes: &[u8],
    seen: Option<String>,
) -> Result<Component, LoadError> {
    let key = seen.map(|seen| format!("{}-{seen}", compiler.key(bytes)));
    if let Some(component) = key.as_ref().and_then(|key| compiler.cached(key)) {
        return Ok(component);
    }
    // Wizer is written for components that people trust: it panics on some that are odd.
    let taken = AssertUnwindSafe(snapshot(compiler, maker, bytes)).catch_unwind().await;
    let bytes = taken.unwrap_or_else(|_| {
        Err(LoadError::Refused("it cannot be snapshotted: wizer broke down on it".into()))
    })?;
    let component = compiler.compile_uncached(&bytes, "its snapshot is not valid")?;
    match key {
        Some(key) => compiler.stored(&key, component),
        None => Ok(component),
    }
}

/// Runs `init` in an instance of its own and gives the component that starts after it.
async fn snapshot(compiler: &Compiler, maker: &Maker, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let context = |context| move |source| LoadError::Wasmtime { context, source };
    let mut wizer = Wizer::new();
    // `init` stays: the interface asks for it.
    wizer.init_func("init").keep_init_func(true);
    let (parsed, instrumented) =
        wizer.instrument_component(bytes).map_err(context("it cannot be snapshotted"))?;
    let pre = compiler
        .compile(&instrumented)
        .and_then(|component| compiler.link(&component))
        .map_err(|e| LoadError::Refused(format!("it cannot be snapshotted: {e}")))?;
    let mut access = initialised(maker, &pre).await?;
    if access.store.data().table.is_empty() {
        let snapshot = wizer.snapshot_component(&parsed, &mut access).await;
        return snapshot.map_err(context("the snapshot failed"));
    }
    Err(LoadError::Refused(
        "it cannot be snapshotted: its init holds handles (tensors, graphs, streams), which mean \
         nothing to another instance: open graphs at the first request, as tms-guest does"
            .into(),
    ))
}

async fn initialised(maker: &Maker, pre: &GuestExportsPre<StoreData>) -> Result<Access, LoadError> {
    let refused = |e: &dyn std::fmt::Display| LoadError::Refused(format!("its init failed: {e}"));
    let mut store = maker.store().map_err(|e| refused(&e))?;
    let clock = store.data().clock.clone();
    let init = async {
        let instance = pre.instance_pre().instantiate_async(&mut store).await?;
        let exports = GuestExports::new(&mut store, &instance)?;
        Ok((instance, exports.call_init(&mut store).await?))
    };
    let (instance, init) = maker.starting(&clock, init).await.map_err(|e| refused(&e))?;
    init.map_err(|e| refused(&e.message))?;
    // What follows is the host's own work.
    store.data_mut().unlimited();
    Ok(Access { store, instance })
}

/// An instrumented instance, to be read.
struct Access {
    store: Store<StoreData>,
    instance: Instance,
}

impl Access {
    /// Calls an accessor that wizer added. It panics where one is missing, as wizer's own does;
    /// the loader catches that.
    async fn call<R: Lift + Send + Sync + 'static>(&mut self, instance: &str, name: &str) -> R {
        let call = async {
            let (_, instance) = self.instance.get_export(&mut self.store, None, instance)?;
            let (_, function) = self.instance.get_export(&mut self.store, Some(&instance), name)?;
            let function =
                self.instance.get_typed_func::<(), (R,)>(&mut self.store, function).ok()?;
            Some(function.call_async(&mut self.store, ()).await.ok()?.0)
        };
        #[allow(clippy::expect_used)]
        call.await.expect("the accessors of an instrumented component answer")
    }
}

impl ComponentInstanceState for Access {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        name: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        let list: WasmList<u8> = self.call(instance, name).await;
        contents(list.as_le_slice(&self.store));
    }

    async fn call_func_ret_s32(&mut self, instance: &str, name: &str) -> i32 {
        self.call(instance, name).await
    }

    async fn call_func_ret_s64(&mut self, instance: &str, name: &str) -> i64 {
        self.call(instance, name).await
    }

    async fn call_func_ret_f32(&mut self, instance: &str, name: &str) -> u32 {
        self.call::<f32>(instance, name).await.to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, name: &str) -> u64 {
        self.call::<f64>(instance, name).await.to_bits()
    }
}
