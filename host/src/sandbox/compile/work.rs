//! What is made of a component's bytes, wherever that happens: with wizer's accessors or with the state
//! after its `init` where that is asked for, and compiled.

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use wasmtime::{Config, Engine};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use crate::child::region::Lent;

/// What an engine and its compiler must agree on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Whether guests are interrupted and limited. False only for benches: nothing stops them then.
    pub interruptible: bool,
    /// Stack of a guest's code, in bytes.
    pub stack: usize,
}

/// Stack of the host functions that a guest calls, on the same fiber.
const HOST_STACK: usize = 1 << 20;

impl Settings {
    /// The one configuration of the engine that runs code and of those that make it. Where memories
    /// come from is left open: code does not depend on it.
    pub fn config(self) -> Config {
        let mut config = Config::new();
        config
            .epoch_interruption(self.interruptible)
            .max_wasm_stack(self.stack)
            .async_stack_size(self.stack + HOST_STACK)
            // No guests of WASI 0.3 yet: stores are smaller without.
            .concurrency_support(false);
        config
    }
}

/// A number for all that compiled code depends on besides the component: wasmtime's version, the
/// configuration, the processor.
pub fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// What is to be done with a component's bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub settings: Settings,
    /// The [`fingerprint`] of the engine that the code is for.
    pub fingerprint: u64,
    /// How many threads are to compile.
    pub threads: usize,
    pub form: Form,
}

/// What of the component is compiled.
#[derive(Debug, Serialize, Deserialize)]
pub enum Form {
    /// It, as it is.
    Plain,
    /// It, with exports that read its state ([`ACCESS`]).
    Readable,
    /// It, starting in this state. The memories' contents lie elsewhere.
    Started(Vec<Field>),
}

/// The exported instance of a readable component whose functions read its state: one for each global,
/// one for each memory.
pub const ACCESS: &str = "wasmtime:wizer/access";

/// One part of a component's state.
#[derive(Debug, Serialize, Deserialize)]
pub struct Field {
    /// The function that read it.
    pub name: String,
    pub value: Value,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Value {
    S32(i32),
    S64(i64),
    /// The bits of a number.
    F32(u32),
    F64(u64),
    /// Where a memory's contents lie among those of all.
    Memory {
        offset: u64,
        length: u64,
    },
}

/// Does it: gives compiled code as wasmtime stores it, or the reason in words.
pub fn compile(
    order: &Order,
    component: &[u8],
    memories: Option<&Lent>,
) -> Result<Vec<u8>, String> {
    let mut config = order.settings.config();
    config.parallel_compilation(order.threads > 1);
    let engine = Engine::new(&config).map_err(|e| format!("the compiler did not start: {e:#}"))?;
    if fingerprint(&engine) != order.fingerprint {
        return Err("the program that compiles makes other code than the server runs".into());
    }
    // Both are written for what people trust: they may panic on something odd.
    let bytes = catch_unwind(AssertUnwindSafe(|| formed(&order.form, component, memories)))
        .unwrap_or_else(|_| Err("it cannot be snapshotted: wizer broke down on it".into()))?;
    let compiled = catch_unwind(AssertUnwindSafe(|| engine.precompile_component(&bytes)))
        .map_err(|_| "compiling it broke down".to_owned())?;
    compiled.map_err(|e| format!("{}: {e:#}", order.form.context()))
}

impl Form {
    fn context(&self) -> &'static str {
        match self {
            Self::Plain => "model.wasm is not valid",
            Self::Readable => "it cannot be snapshotted: model.wasm is not valid",
            Self::Started(_) => "its snapshot is not valid",
        }
    }
}

/// The component in the form that is asked for.
fn formed<'a>(
    form: &Form,
    component: &'a [u8],
    memories: Option<&Lent>,
) -> Result<Cow<'a, [u8]>, String> {
    if matches!(form, Form::Plain) {
        return Ok(component.into());
    }
    let mut wizer = Wizer::new();
    // `init` stays: the interface asks for it.
    wizer.init_func("init").keep_init_func(true);
    let (parsed, readable) = wizer
        .instrument_component(component)
        .map_err(|e| format!("it cannot be snapshotted: {e:#}"))?;
    let Form::Started(fields) = form else { return Ok(readable.into()) };
    let fields = fields.iter().map(|field| (field.name.as_str(), field.value)).collect();
    let mut state = State { fields, memories, missing: false };
    // It waits for nothing: the state has been read.
    let started = wizer.snapshot_component(&parsed, &mut state).now_or_never();
    match started {
        Some(Ok(started)) if !state.missing => Ok(started.into()),
        Some(Err(e)) => Err(format!("the snapshot failed: {e:#}")),
        _ => Err("the snapshot failed: a part of the state is missing".into()),
    }
}

/// A state that was read, as wizer asks for it. It takes no errors: what is missing is zero or empty.
struct State<'a> {
    fields: HashMap<&'a str, Value>,
    memories: Option<&'a Lent>,
    missing: bool,
}

impl State<'_> {
    fn field(&mut self, instance: &str, name: &str) -> Option<Value> {
        let field = self.fields.get(name).copied().filter(|_| instance == ACCESS);
        self.missing |= field.is_none();
        field
    }

    fn number<T: Default>(
        &mut self,
        instance: &str,
        name: &str,
        of: impl Fn(Value) -> Option<T>,
    ) -> T {
        let number = self.field(instance, name).and_then(of);
        self.missing |= number.is_none();
        number.unwrap_or_default()
    }
}

macro_rules! number {
    ($function:ident, $number:ty, $variant:ident) => {
        async fn $function(&mut self, instance: &str, name: &str) -> $number {
            self.number(instance, name, |value| match value {
                Value::$variant(number) => Some(number),
                _ => None,
            })
        }
    };
}

impl ComponentInstanceState for State<'_> {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        name: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        let bytes = match (self.field(instance, name), self.memories) {
            (Some(Value::Memory { offset, length }), Some(memories)) => {
                let place = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
                place.and_then(|(offset, length)| memories.bytes(offset, length))
            }
            _ => None,
        };
        self.missing |= bytes.is_none();
        contents(bytes.unwrap_or_default());
    }

    number!(call_func_ret_s32, i32, S32);
    number!(call_func_ret_s64, i64, S64);
    number!(call_func_ret_f32, u32, F32);
    number!(call_func_ret_f64, u64, F64);
}
