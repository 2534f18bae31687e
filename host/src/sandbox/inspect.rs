//! What a file is, and how many slots of the pool one instance of it takes. Read from the bytes
//! before an engine exists, since the engine's pool is sized by it, and before wasmtime sees them.

use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload};

use super::{
    error::LoadError,
    expand::{Counts, Excess, Expansion},
};

/// The package that this server speaks, as components name it.
const PACKAGE: &str = "tms:model/";
const VERSION: &str = "0.2.0";
/// The version before, whose components are served as well.
const BEFORE: &str = "0.1.0";

/// What a component exports.
const GUEST: &str = "tms:model/guest@0.2.0";

/// What one instance of a component takes: slots, and memory. Exactly what wasmtime makes: the adapters
/// that it adds between components define no memories and no tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
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
            memories: sum(self.memories, other.memories),
            tables: sum(self.tables, other.tables),
            initial: self.initial.saturating_add(other.initial.saturating_mul(count.into())),
        }
    }

    /// The larger of both in every respect.
    pub fn max(self, other: Self) -> Self {
        Self {
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
    let mut expansion = Expansion::default();
    let mut counts = Counts::default();
    let mut depth = 0u32;
    let mut exports_run = false;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = match payload {
            Ok(payload) => payload,
            Err(e) => return refused(format!("model.wasm is damaged: {e}")),
        };
        match expansion.read(&payload, bytes) {
            Ok(Some(all)) => counts = all,
            Ok(None) => {}
            Err(Excess::Damaged(e)) => return refused(format!("model.wasm is damaged: {e}")),
            Err(Excess::TooMuch(reason)) => return refused(reason),
        }
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
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports.into_iter().flatten() {
                    check_import(import.name.name)?;
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                exports_run |= exports.into_iter().flatten().any(|export| match export.kind {
                    ComponentExternalKind::Instance => export.name.name == GUEST,
                    // As the version before has it.
                    ComponentExternalKind::Func => export.name.name == "run",
                    _ => false,
                });
            }
            _ => {}
        }
    }
    if !exports_run {
        return refused(format!(
            "model.wasm is a component, but not for the world tms:model/model@{VERSION}: it does \
             not export {GUEST}"
        ));
    }
    // The bounds of what may be made are far below.
    let slots = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Footprint {
        memories: slots(counts.memories),
        tables: slots(counts.tables),
        initial: counts.initial,
    })
}

/// Whether a component has core instances in nested components: several were composed into one.
pub fn is_composed(bytes: &[u8]) -> bool {
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(bytes).flatten() {
        match payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::InstanceSection(instances) if depth > 1 && instances.count() > 0 => {
                return true;
            }
            _ => {}
        }
    }
    false
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
    if [VERSION, BEFORE].contains(&theirs) {
        return Ok(());
    }
    refused(format!(
        "model.wasm was built for tms:model@{theirs}, this server speaks tms:model@{VERSION} and \
         {BEFORE}: rebuild it against this version's wit/"
    ))
}
