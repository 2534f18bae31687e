//! What a file is, and how many slots of the pool one instance of it takes. Read from the bytes
//! before an engine exists, since the engine's pool is sized by it.

use wasmparser::{ComponentExternalKind, Encoding, Instance, Parser, Payload};

use super::error::LoadError;

/// The package that this server speaks, as components name it.
const PACKAGE: &str = "tms:model/";
const VERSION: &str = "0.1.0";
/// Bytes of a page of linear memory.
const PAGE: u64 = 64 << 10;

/// What one instance of a component takes: slots, and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    pub core_instances: u32,
    pub memories: u32,
    pub tables: u32,
    /// Bytes of its linear memories when it starts.
    pub initial: u64,
}

impl Footprint {
    /// With `count` more instances of `other`.
    pub fn plus(self, other: Self, count: u32) -> Self {
        let sum = |a: u32, b: u32| a.saturating_add(b.saturating_mul(count));
        Self {
            core_instances: sum(self.core_instances, other.core_instances),
            memories: sum(self.memories, other.memories),
            tables: sum(self.tables, other.tables),
            initial: self.initial.saturating_add(other.initial.saturating_mul(count.into())),
        }
    }

    /// The larger of both in every respect.
    pub fn max(self, other: Self) -> Self {
        Self {
            core_instances: self.core_instances.max(other.core_instances),
            memories: self.memories.max(other.memories),
            tables: self.tables.max(other.tables),
            initial: self.initial.max(other.initial),
        }
    }
}

/// Refuses what is no component for this server, in words that say what to do.
pub fn inspect(bytes: &[u8]) -> Result<Footprint, LoadError> {
    let refused = |text: String| Err(LoadError::Refused(text));
    if !bytes.starts_with(b"\0asm") {
        return refused("model.wasm is not WebAssembly".into());
    }
    let mut footprint = Footprint::default();
    let mut depth = 0u32;
    let mut exports_run = false;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = match payload {
            Ok(payload) => payload,
            Err(e) => return refused(format!("model.wasm is damaged: {e}")),
        };
        match payload {
            Payload::Version { encoding, .. } => {
                if depth == 0 && encoding == Encoding::Module {
                    return refused(
                        "model.wasm is a core module, not a component: build it with \
                         `cargo build --target wasm32-wasip2` or `cargo component build`"
                            .into(),
                    );
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            // Counts are what the file says: nothing has checked them yet.
            Payload::MemorySection(memories) => {
                footprint.memories = footprint.memories.saturating_add(memories.count());
                let pages = memories.into_iter().flatten().map(|memory| memory.initial);
                let bytes = pages.fold(0, u64::saturating_add).saturating_mul(PAGE);
                footprint.initial = footprint.initial.saturating_add(bytes);
            }
            Payload::TableSection(tables) => {
                footprint.tables = footprint.tables.saturating_add(tables.count());
            }
            Payload::InstanceSection(instances) => {
                let instantiated =
                    instances.into_iter().filter(|i| matches!(i, Ok(Instance::Instantiate { .. })));
                footprint.core_instances += instantiated.count() as u32;
            }
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports.into_iter().flatten() {
                    check_import(import.name.name)?;
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                exports_run |= exports
                    .into_iter()
                    .flatten()
                    .any(|e| e.kind == ComponentExternalKind::Func && e.name.name == "run");
            }
            _ => {}
        }
    }
    if !exports_run {
        return refused(format!(
            "model.wasm is a component, but not for the world tms:model/model@{VERSION}: it \
             exports no function `run`"
        ));
    }
    Ok(footprint)
}

/// What components may import, by the start of the name. All of WASI 0.2 links; nothing of it is
/// granted.
const PROVIDED: [&str; 8] = [
    PACKAGE,
    "wasi:nn/",
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Refuses what this server does not provide: compiling takes long, and ends in less clear words.
fn check_import(import: &str) -> Result<(), LoadError> {
    let refused = |text: String| Err(LoadError::Refused(text));
    // Names without a package are types that the world names.
    if import.contains(':') && !PROVIDED.iter().any(|start| import.starts_with(start)) {
        let hint = match import.starts_with("wasi:http/") {
            true => " (build a JavaScript component without it: --disable http)",
            false => "",
        };
        return refused(format!(
            "model.wasm imports {import}, which this server does not provide{hint}"
        ));
    }
    // Imports of our package must be of our version.
    let Some(rest) = import.strip_prefix(PACKAGE) else {
        return Ok(());
    };
    let theirs = rest.split_once('@').map_or("?", |(_, version)| version);
    if theirs == VERSION {
        return Ok(());
    }
    refused(format!(
        "model.wasm was built for tms:model@{theirs}, this server speaks tms:model@{VERSION}: \
         rebuild it against this version's wit/"
    ))
}
