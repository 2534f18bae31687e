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
    error::{LoadError, one_line},
    host::bindings::{GuestExports, GuestExportsPre},
    inspect::is_composed,
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
    if is_composed(bytes) {
        return refused(
            "it is composed of several components, and a snapshot holds the memory of one: set \
             snapshot = false"
                .into(),
        );
    }
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
    if !access.store.data().table.is_empty() {
        return refused(
            "its init holds handles (tensors, graphs, streams), which mean nothing to another \
             instance: open graphs at the first request, as tms-guest does"
                .into(),
        );
    }
    // A memory is read in one piece, within what one call of the host may copy.
    let (bytes, most) = (access.store.data().account.used(), maker.limits.memory / 4);
    if bytes > most {
        return refused(format!(
            "it has {bytes} bytes of memory after its init, of which a snapshot takes at most \
             {most}, a quarter of its limit `memory`"
        ));
    }
    let snapshot = wizer.snapshot_component(&parsed, &mut access).await;
    match access.failed {
        Some(reason) => refused(reason),
        None => snapshot.map_err(context("the snapshot failed")),
    }
}

fn refused<T>(why: String) -> Result<T, LoadError> {
    Err(LoadError::Refused(format!("it cannot be snapshotted: {why}")))
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
    Ok(Access { store, instance, failed: None })
}

/// An instrumented instance, to be read. What cannot be read is empty or zero, since wizer takes no
/// errors: then its snapshot is of no use, and `failed` says why.
struct Access {
    store: Store<StoreData>,
    instance: Instance,
    failed: Option<String>,
}

impl Access {
    /// Calls an accessor that wizer added.
    async fn call<R: Lift + Send + Sync + 'static>(
        &mut self,
        instance: &str,
        name: &str,
    ) -> Option<R> {
        let missing = || wasmtime::format_err!("what wizer added is not there");
        let call = async {
            let export = self.instance.get_export(&mut self.store, None, instance);
            let (_, instance) = export.ok_or_else(missing)?;
            let export = self.instance.get_export(&mut self.store, Some(&instance), name);
            let (_, function) = export.ok_or_else(missing)?;
            let function = self.instance.get_typed_func::<(), (R,)>(&mut self.store, function)?;
            wasmtime::Result::Ok(function.call_async(&mut self.store, ()).await?.0)
        };
        let read: wasmtime::Result<R> = call.await;
        match read {
            Ok(read) => Some(read),
            Err(error) => {
                let why = one_line(error.root_cause());
                self.failed.get_or_insert(format!("its memory cannot be read: {why}"));
                None
            }
        }
    }
}

impl ComponentInstanceState for Access {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        name: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        match self.call::<WasmList<u8>>(instance, name).await {
            Some(list) => contents(list.as_le_slice(&self.store)),
            None => contents(&[]),
        }
    }

    async fn call_func_ret_s32(&mut self, instance: &str, name: &str) -> i32 {
        self.call(instance, name).await.unwrap_or_default()
    }

    async fn call_func_ret_s64(&mut self, instance: &str, name: &str) -> i64 {
        self.call(instance, name).await.unwrap_or_default()
    }

    async fn call_func_ret_f32(&mut self, instance: &str, name: &str) -> u32 {
        self.call::<f32>(instance, name).await.unwrap_or_default().to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, name: &str) -> u64 {
        self.call::<f64>(instance, name).await.unwrap_or_default().to_bits()
    }
}
