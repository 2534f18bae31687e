//! From a component's bytes to code that is linked with the host: compiled once, kept on disk, shared
//! by the models that have the same component.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use super::{
    cache::CodeCache, error::LoadError, host::bindings::GuestExportsPre, store::StoreData,
};

pub struct Compiler {
    engine: Engine,
    /// The host's side of all that a component may import.
    linker: Linker<StoreData>,
    cache: Option<CodeCache>,
    /// Components of the models loaded so far, by what they are cached under.
    shared: Mutex<HashMap<String, Component>>,
}

impl Compiler {
    pub fn new(engine: Engine, linker: Linker<StoreData>, cache: Option<CodeCache>) -> Self {
        Self { engine, linker, cache, shared: Mutex::default() }
    }

    /// Compiles `bytes`, or takes the code compiled earlier. Blocks for the time of the compilation:
    /// seconds for a large component.
    pub fn compile(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        self.compile_as(&self.key(bytes), bytes)
    }

    /// The same, and keeps it for the next model with this component.
    pub fn compile_shared(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        let key = self.key(bytes);
        if let Some(component) = self.shared().get(&key) {
            return Ok(component.clone());
        }
        let component = self.compile_as(&key, bytes)?;
        self.shared().insert(key, component.clone());
        Ok(component)
    }

    /// The same without keeping it, and the reason under a name of its own.
    pub fn compile_uncached(
        &self,
        bytes: &[u8],
        context: &'static str,
    ) -> Result<Component, LoadError> {
        Component::from_binary(&self.engine, bytes)
            .map_err(|source| LoadError::Wasmtime { context, source })
    }

    /// Links a component with the host.
    pub fn link(&self, component: &Component) -> Result<GuestExportsPre<StoreData>, LoadError> {
        let context = |context| move |source| LoadError::Wasmtime { context, source };
        let pre = self
            .linker
            .instantiate_pre(component)
            .map_err(context("model.wasm imports what this server does not provide"))?;
        GuestExportsPre::new(pre)
            .map_err(context("model.wasm does not export what tms:model/model@0.1.0 asks for"))
    }

    /// What compiled code is stored under: what was compiled, and by what.
    pub fn key(&self, bytes: &[u8]) -> String {
        let mut compiler = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut compiler);
        format!("{}-{:016x}", blake3::hash(bytes), compiler.finish())
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

    /// Puts fresh code into the cache, and gives it from there, where it takes less memory.
    pub fn stored(&self, key: &str, component: Component) -> Result<Component, LoadError> {
        let Some(cache) = &self.cache else { return Ok(component) };
        let code = component.serialize().map_err(|source| LoadError::Wasmtime {
            context: "the compiled code cannot be stored",
            source,
        })?;
        cache.put(key, &code);
        Ok(self.cached(key).unwrap_or(component))
    }

    fn compile_as(&self, key: &str, bytes: &[u8]) -> Result<Component, LoadError> {
        if let Some(component) = self.cached(key) {
            return Ok(component);
        }
        let component = self.compile_uncached(bytes, "model.wasm is not valid")?;
        self.stored(key, component)
    }

    fn shared(&self) -> MutexGuard<'_, HashMap<String, Component>> {
        // A map is never left half changed.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
