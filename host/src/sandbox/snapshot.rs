//! A component with the state after its `init` baked in, so that a fresh instance starts where
//! `init` ended. Wizer (wasmtime's pre-initializer) gives the component ways to read its memories
//! and globals, and writes them back as the initial ones, both where components are compiled; `init`
//! runs here, with what the model is granted, and here its state is read.

use std::sync::Arc;

use wasmtime::{
    Store,
    component::{Component, Instance, Lift, Type, WasmList, types::ComponentItem},
};

use super::{
    compile::{ACCESS, Bounds, Compiler, Draft, Field, Form, Job, Sealed, Source, Value},
    error::{LoadError, one_line},
    exports::ExportsPre,
    inspect::is_composed,
    store::{Maker, StoreData},
};

/// Bytes of a memory that are copied at once: others get their turn in between.
const PART: usize = 1 << 20;

/// Compiles the snapshot of a component. `seen` names what its `init` may have seen besides the
/// component: without it the snapshot is taken anew at every start.
pub async fn compile(
    compiler: &Arc<Compiler>,
    maker: &Maker,
    source: Source,
    seen: Option<String>,
) -> Result<Component, LoadError> {
    let bounds = Bounds::of(&maker.limits);
    let (component, (composed, kept, key)) = compiler
        .look_up(&source, move |compiler, key, bytes| {
            let key = seen.map(|seen| format!("{key}-{seen}"));
            let kept = key.as_ref().and_then(|key| compiler.cached(key));
            (is_composed(bytes), kept, key)
        })
        .await?;
    if let Some(kept) = kept {
        return Ok(kept);
    }
    if composed {
        return refused(
            "it is composed of several components, and a snapshot holds the memory of one: set \
             snapshot = false"
                .into(),
        );
    }
    let readable = Job {
        source: source.clone(),
        form: Form::Readable,
        memories: None,
        key: Some(format!("{component}-readable")),
        component: component.clone(),
        bounds,
    };
    let readable = compiler.compile(readable).await?;
    let pre = compiler
        .link(&readable)
        .map_err(|e| LoadError::Refused(format!("it cannot be snapshotted: {e}")))?;
    let State { fields, memories } = state(maker, &readable, &pre).await?;
    let form = Form::Started(fields);
    let memories = Some(Arc::new(memories));
    compiler.compile(Job { source, component, form, memories, key, bounds }).await
}

/// What a component holds after its `init`.
struct State {
    fields: Vec<Field>,
    memories: Sealed,
}

/// Runs `init` in an instance of its own and reads what it left.
async fn state(maker: &Maker, readable: &Component, pre: &ExportsPre) -> Result<State, LoadError> {
    let mut access = initialised(maker, pre).await?;
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
    let mut memories = Draft::new()?;
    let mut fields = Vec::new();
    for (name, kind) in accessors(maker, readable) {
        let read = access.read(&name, kind, &mut memories).await;
        let value = read.or_else(|error| {
            let why = one_line(error.root_cause());
            refused(format!("its memory cannot be read: {why}"))
        })?;
        fields.push(Field { name, value });
    }
    // A file of no bytes cannot be mapped.
    memories.write(&[0])?;
    Ok(State { fields, memories: memories.finish()? })
}

/// The functions that wizer added to read the state, with what they give.
fn accessors(maker: &Maker, readable: &Component) -> Vec<(String, Kind)> {
    let component = readable.component_type();
    let access = component.exports(&maker.engine).find(|(name, _)| *name == ACCESS);
    let Some((_, ComponentItem::ComponentInstance(access))) = access.map(|(n, e)| (n, e.ty)) else {
        return Vec::new();
    };
    let functions = access.exports(&maker.engine).filter_map(|(name, export)| {
        let ComponentItem::ComponentFunc(function) = export.ty else { return None };
        let kind = match function.results().next()? {
            Type::S32 => Kind::S32,
            Type::S64 => Kind::S64,
            Type::Float32 => Kind::F32,
            Type::Float64 => Kind::F64,
            Type::List(_) => Kind::Memory,
            _ => return None,
        };
        Some((name.to_owned(), kind))
    });
    functions.collect()
}

/// What a function gives that reads a part of the state.
#[derive(Clone, Copy)]
enum Kind {
    S32,
    S64,
    F32,
    F64,
    Memory,
}

fn refused<T>(why: String) -> Result<T, LoadError> {
    Err(LoadError::Refused(format!("it cannot be snapshotted: {why}")))
}

async fn initialised(maker: &Maker, pre: &ExportsPre) -> Result<Access, LoadError> {
    let refused = |e: &dyn std::fmt::Display| LoadError::Refused(format!("its init failed: {e}"));
    let mut store = maker.store().map_err(|e| refused(&e))?;
    let clock = store.data().clock.clone();
    let init = async {
        let (instance, exports) = pre.instantiate(&mut store).await?;
        Ok((instance, exports.init(&mut store).await?))
    };
    let (instance, init) = maker.starting(&clock, init).await.map_err(|e| refused(&e))?;
    init.map_err(|e| refused(&e.message))?;
    // What follows is the host's own work.
    store.data_mut().unlimited();
    Ok(Access { store, instance })
}

/// A readable instance.
struct Access {
    store: Store<StoreData>,
    instance: Instance,
}

impl Access {
    async fn read(
        &mut self,
        name: &str,
        kind: Kind,
        memories: &mut Draft,
    ) -> wasmtime::Result<Value> {
        Ok(match kind {
            Kind::S32 => Value::S32(self.call(name).await?),
            Kind::S64 => Value::S64(self.call(name).await?),
            Kind::F32 => Value::F32(self.call::<f32>(name).await?.to_bits()),
            Kind::F64 => Value::F64(self.call::<f64>(name).await?.to_bits()),
            Kind::Memory => {
                let list: WasmList<u8> = self.call(name).await?;
                let offset = memories.position()?;
                let mut length = 0;
                while let Some(rest @ [_, ..]) = list.as_le_slice(&self.store).get(length..) {
                    let part = rest.get(..PART).unwrap_or(rest);
                    memories.write(part)?;
                    length += part.len();
                    tokio::task::yield_now().await;
                }
                Value::Memory { offset, length: length as u64 }
            }
        })
    }

    /// Calls an accessor that wizer added.
    async fn call<R: Lift + Send + Sync + 'static>(&mut self, name: &str) -> wasmtime::Result<R> {
        let missing = || wasmtime::format_err!("what wizer added is not there");
        let export = self.instance.get_export(&mut self.store, None, ACCESS);
        let (_, instance) = export.ok_or_else(missing)?;
        let export = self.instance.get_export(&mut self.store, Some(&instance), name);
        let (_, function) = export.ok_or_else(missing)?;
        let function = self.instance.get_typed_func::<(), (R,)>(&mut self.store, function)?;
        Ok(function.call_async(&mut self.store, ()).await?.0)
    }
}
