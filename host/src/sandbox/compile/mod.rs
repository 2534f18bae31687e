//! From a component's bytes to code that is linked with the host: compiled once, kept on disk, shared
//! by the models that have the same component. Compiling is native code on a stranger's input, so it
//! happens in a process of its own.
//!
//! - [`places`]: who compiles when
//! - [`process`]: one child that compiles, as the server sees it
//! - [`child`]: the same, as it sees itself
//! - [`work`]: what it does
//! - [`sealed`]: how components and code pass between both

pub mod child;
mod places;
mod process;
mod sealed;
mod work;

use std::{
    collections::HashMap,
    io::Read,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use crate::{child::region::Lent, cores::Cores};

use self::{places::Places, process::Failed, work::Order};
use super::{cache::CodeCache, error::LoadError, exports::ExportsPre, store::StoreData};

pub use self::{
    process::{Bounds, Children},
    sealed::{Draft, Sealed},
    work::{ACCESS, Field, Form, Settings, Value},
};

/// Where components are compiled.
#[derive(Clone)]
pub enum Compiling {
    /// In this process, without bounds: for benches and fuzzing.
    Here,
    /// In a child for each.
    Child(Children),
}

/// Reads a component. It is read when it is needed: those of all models together may be more than there
/// is memory.
pub type Source = Arc<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>;

pub struct Compiler {
    engine: Engine,
    settings: Settings,
    /// What `engine` and whoever compiles for it must agree on.
    fingerprint: u64,
    /// The host's side of all that a component may import.
    linker: Linker<StoreData>,
    cache: Option<CodeCache>,
    /// Components of the models loaded so far, by what they are cached under.
    shared: Mutex<HashMap<String, Component>>,
    compiling: Compiling,
    places: Arc<Places>,
    cores: Arc<Cores>,
}

/// What is to be compiled.
pub struct Job {
    pub source: Source,
    /// The key of the component that the source is to give.
    pub component: String,
    pub form: Form,
    /// The contents of memories that the form speaks of.
    pub memories: Option<Arc<Sealed>>,
    /// What the code is kept under. None where it is not.
    pub key: Option<String>,
    pub bounds: Bounds,
}

/// What a compiler made.
enum Code {
    InMemory(Vec<u8>),
    InFile(Sealed),
}

impl Compiler {
    pub fn new(
        engine: Engine,
        settings: Settings,
        linker: Linker<StoreData>,
        cache: Option<CodeCache>,
        compiling: Compiling,
    ) -> Self {
        let cores = Arc::<Cores>::default();
        Self {
            fingerprint: work::fingerprint(&engine),
            places: Places::new(cores.count()),
            shared: Mutex::default(),
            engine,
            settings,
            linker,
            cache,
            compiling,
            cores,
        }
    }

    /// Reads a component, and gives its key with what `look` finds out about it.
    pub async fn look_up<T: Send + 'static>(
        self: &Arc<Self>,
        source: &Source,
        look: impl FnOnce(&Self, &str, &[u8]) -> T + Send + 'static,
    ) -> Result<(String, T), LoadError> {
        let source = source.clone();
        self.on_a_core(move |compiler| {
            let bytes = source().map_err(LoadError::Refused)?;
            let key = compiler.key(&bytes);
            let found = look(compiler, &key, &bytes);
            Ok((key, found))
        })
        .await
    }

    /// Compiles a component as it is, or takes the code compiled earlier; keeps it for the next model
    /// that has it.
    pub async fn compile_shared(
        self: &Arc<Self>,
        source: Source,
        bounds: Bounds,
    ) -> Result<Component, LoadError> {
        let (key, found) = self.look_up(&source, |compiler, key, _| compiler.kept(key)).await?;
        if let Some(component) = found {
            return Ok(component);
        }
        let component = self
            .compile(Job {
                source,
                component: key.clone(),
                form: Form::Plain,
                memories: None,
                key: Some(key.clone()),
                bounds,
            })
            .await?;
        Ok(self.share(&key, component))
    }

    /// Compiles, in turn with others: seconds for a large component.
    pub async fn compile(self: &Arc<Self>, job: Job) -> Result<Component, LoadError> {
        let Job { source, component, form, memories, key, bounds } = job;
        let mut order =
            Order { settings: self.settings, fingerprint: self.fingerprint, threads: 1, form };
        for attempt in 0.. {
            let place = self.places.place(attempt).await;
            // Meanwhile another model with the same component may have been here.
            if let Some(kept) = self.kept_meanwhile(key.clone()).await? {
                return Ok(kept);
            }
            order.threads = place.threads();
            let bytes = self.read_again(source.clone(), component.clone());
            let code = match &self.compiling {
                Compiling::Here => {
                    let bytes = bytes.await?;
                    self.on_a_core(move |_| here(&order, &bytes, memories.as_deref())).await?
                }
                Compiling::Child(children) => {
                    let bytes = bytes.await?;
                    let sealed = self.on_a_core(move |_| Ok(Sealed::of(&bytes)?)).await?;
                    let made =
                        children.compile(&order, &sealed, memories.as_deref(), bounds, &place);
                    match made.await {
                        Ok(code) => Code::InFile(code),
                        Err(Failed::Reason(reason)) => return Err(LoadError::Refused(reason)),
                        Err(Failed::GaveWay) => {
                            tracing::debug!("compiling gives way to others, to begin again");
                            continue;
                        }
                    }
                }
            };
            drop(place);
            return self.on_a_core(move |compiler| compiler.take(key.as_deref(), code)).await;
        }
        Err(LoadError::Refused("compiling it never came to an end".into()))
    }

    /// Links a component with the host.
    pub fn link(&self, component: &Component) -> Result<ExportsPre, LoadError> {
        let context = |context| move |source| LoadError::Wasmtime { context, source };
        let pre = self
            .linker
            .instantiate_pre(component)
            .map_err(context("model.wasm imports what this server does not provide"))?;
        ExportsPre::new(pre).map_err(context("model.wasm does not export what tms:model asks for"))
    }

    /// The code that an earlier start stored under `key`.
    pub fn cached(&self, key: &str) -> Option<Component> {
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

    /// What compiled code is stored under: what was compiled, and by what.
    fn key(&self, bytes: &[u8]) -> String {
        format!("{}-{:016x}", blake3::hash(bytes), self.fingerprint)
    }

    /// The code of a component that another model has, or of an earlier start.
    fn kept(&self, key: &str) -> Option<Component> {
        let shared = self.shared().get(key).cloned();
        shared.or_else(|| Some(self.share(key, self.cached(key)?)))
    }

    /// Keeps a component for the next model that has it. Where another one has come first, that is the one:
    /// each would have its code in memory of its own.
    fn share(&self, key: &str, component: Component) -> Component {
        self.shared().entry(key.to_owned()).or_insert(component).clone()
    }

    async fn kept_meanwhile(
        self: &Arc<Self>,
        key: Option<String>,
    ) -> Result<Option<Component>, LoadError> {
        match key {
            Some(key) => self.on_a_core(move |compiler| Ok(compiler.kept(&key))).await,
            None => Ok(None),
        }
    }

    /// Reads a component that was looked up before. What is made of it is kept under its key.
    async fn read_again(
        self: &Arc<Self>,
        source: Source,
        key: String,
    ) -> Result<Vec<u8>, LoadError> {
        self.on_a_core(move |compiler| {
            let bytes = source().map_err(LoadError::Refused)?;
            match compiler.key(&bytes) == key {
                true => Ok(bytes),
                false => {
                    Err(LoadError::Refused("model.wasm has changed while it was loaded".into()))
                }
            }
        })
        .await
    }

    /// Puts fresh code into the cache, and gives it from there, where it takes less memory.
    fn take(&self, key: Option<&str>, code: Code) -> Result<Component, LoadError> {
        if let (Some(cache), Some(key)) = (&self.cache, key) {
            match &code {
                Code::InMemory(code) => cache.put(key, &code[..]),
                Code::InFile(code) => cache.put(key, code.reader()?),
            }
            if let Some(component) = self.cached(key) {
                return Ok(component);
            }
        }
        // SAFETY: a compiler of this very program made it, with this engine's settings (its fingerprint
        // was compared), and nobody changes it: it is in our own memory, or in a file that the kernel
        // has sealed against writing.
        #[allow(unsafe_code)]
        let loaded = unsafe {
            match code {
                Code::InMemory(code) => Component::deserialize(&self.engine, code),
                Code::InFile(code) => Component::deserialize_file(&self.engine, code.path())
                    .or_else(|_| {
                        let mut bytes = Vec::new();
                        code.reader()?.read_to_end(&mut bytes)?;
                        Component::deserialize(&self.engine, bytes)
                    }),
            }
        };
        loaded.map_err(|source| LoadError::Wasmtime {
            context: "the compiled code cannot be used",
            source,
        })
    }

    /// Runs what blocks as soon as a core is free.
    async fn on_a_core<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, LoadError> {
        let compiler = self.clone();
        self.cores.run(move || work(&compiler)).await.map_err(LoadError::Refused)?
    }

    fn shared(&self) -> MutexGuard<'_, HashMap<String, Component>> {
        // A map is never left half changed.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compiles in this process.
fn here(order: &Order, component: &[u8], memories: Option<&Sealed>) -> Result<Code, LoadError> {
    let memories = match memories {
        Some(memories) => Some(Lent::map(&memories.reader()?.into())?),
        None => None,
    };
    let code = work::compile(order, component, memories.as_ref());
    code.map(Code::InMemory).map_err(LoadError::Refused)
}
