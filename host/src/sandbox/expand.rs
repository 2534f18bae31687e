//! What one instance of a component takes once its nested components are unrolled, which is what
//! wasmtime does to compile it: a few bytes can nest and instantiate themselves to billions of
//! instances. Counted without unrolling, in one pass over the file: a component comes before what
//! instantiates it, so each is counted once. Nothing here overflows: counts stop at the largest number.

use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternalKind, ComponentImport, ComponentInstance,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, Encoding, Instance,
    InstanceTypeDeclaration, Payload,
};

/// Bytes of a page of linear memory.
const PAGE: u64 = 64 << 10;

/// Components inside components, and types inside types.
const MAX_NESTING: usize = 100;
/// What an instance may have, unrolled. A component made by a tool has a handful of component
/// instances, dozens of core instances (one for each adapter and shim), mostly one memory.
const MAX_COMPONENT_INSTANCES: u64 = 1000;
const MAX_CORE_INSTANCES: u64 = 10_000;
const MAX_MEMORIES: u64 = 256;
const MAX_TABLES: u64 = 2000;
/// Items of all sections (types, imports, exports, aliases, functions, …), each as often as it is
/// unrolled. wasmtime keeps up to one or two kilobytes for each, while it compiles.
const MAX_ITEMS: u64 = 1_000_000;
/// Entries of instances that wasmtime copies where they are passed on, aliased or exported: about a
/// kilobyte each, while it compiles. An honest composition has some thousands.
const MAX_COPIES: u64 = 250_000;

/// Why a component cannot be counted or is too much.
#[derive(Debug)]
pub enum Excess {
    /// The file is not what it should be.
    Damaged(String),
    /// One sentence.
    TooMuch(String),
}

impl From<wasmparser::BinaryReaderError> for Excess {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// What one instance takes, everything nested included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub component_instances: u64,
    pub core_instances: u64,
    pub memories: u64,
    pub tables: u64,
    /// Bytes of its linear memories when it starts.
    pub initial: u64,
    items: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        let add = |to: &mut u64, more| *to = to.saturating_add(more);
        add(&mut self.component_instances, other.component_instances);
        add(&mut self.core_instances, other.core_instances);
        add(&mut self.memories, other.memories);
        add(&mut self.tables, other.tables);
        add(&mut self.initial, other.initial);
        add(&mut self.items, other.items);
    }
}

/// A number that depends on how large the instances are that a component is given: `fixed` and
/// `times` as much as these.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    fixed: u64,
    times: u64,
}

impl Size {
    /// What is given itself.
    const GIVEN: Self = Self { fixed: 0, times: 1 };

    fn plus(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.saturating_add(other.fixed),
            times: self.times.saturating_add(other.times),
        }
    }

    fn plus_one(self) -> Self {
        self.plus(Self { fixed: 1, times: 0 })
    }

    /// At least as large as either.
    fn max(self, other: Self) -> Self {
        Self { fixed: self.fixed.max(other.fixed), times: self.times.max(other.times) }
    }

    /// The same where `given` is what is given.
    fn of(self, given: Self) -> Self {
        Self {
            fixed: self.fixed.saturating_add(self.times.saturating_mul(given.fixed)),
            times: self.times.saturating_mul(given.times),
        }
    }
}

/// How many entries an instance has, those of the instances in it included.
#[derive(Clone, Copy, Debug, Default)]
struct Entries {
    all: Size,
    /// The largest of the instances in it.
    largest: Size,
}

impl Entries {
    /// Of an instance that a component is given.
    const GIVEN: Self = Self { all: Size::GIVEN, largest: Size::GIVEN };

    /// One more entry that is an instance.
    fn push(&mut self, instance: Entries) {
        self.all = self.all.plus(instance.all).plus_one();
        self.largest = self.largest.max(instance.all).max(instance.largest);
    }
}

/// A component, read to its end.
#[derive(Clone, Copy, Debug, Default)]
struct Component {
    counts: Counts,
    /// What it exports.
    exports: Entries,
    /// Entries that are copied to instantiate it.
    copies: Size,
    /// What is copied with it from the components around it: those that it instantiates.
    captured: u64,
}

/// A component or a core module whose sections are being read.
#[derive(Default)]
struct Scope {
    is_module: bool,
    it: Component,
    /// Index spaces. None: it comes from elsewhere, and nobody knows what it takes.
    modules: Vec<Option<Counts>>,
    components: Vec<Option<Component>>,
    instances: Vec<Entries>,
}

/// The count, while the file is read.
#[derive(Default)]
pub struct Expansion {
    scopes: Vec<Scope>,
}

impl Expansion {
    /// Counts the next payload of the file. Gives what one instance takes at its end.
    pub fn read(&mut self, payload: &Payload<'_>, file: &[u8]) -> Result<Option<Counts>, Excess> {
        match payload {
            Payload::Version { encoding, .. } => {
                if self.scopes.len() >= MAX_NESTING {
                    return too_much("nests components", None, MAX_NESTING as u64);
                }
                self.scopes
                    .push(Scope { is_module: *encoding == Encoding::Module, ..Scope::default() });
            }
            Payload::End(_) => return self.end(),
            _ => {}
        }
        let Some((scope, outer)) = self.scopes.split_last_mut() else { return Ok(None) };
        match payload {
            Payload::MemorySection(memories) => {
                let counts = &mut scope.it.counts;
                counts.memories = counts.memories.saturating_add(memories.count().into());
                for memory in memories.clone() {
                    let bytes = memory?.initial.saturating_mul(PAGE);
                    counts.initial = counts.initial.saturating_add(bytes);
                }
            }
            Payload::TableSection(tables) => {
                let counts = &mut scope.it.counts;
                counts.tables = counts.tables.saturating_add(tables.count().into());
            }
            Payload::CoreTypeSection(types) => scope.items(types.count()),
            Payload::ComponentCanonicalSection(functions) => scope.items(functions.count()),
            Payload::ComponentStartSection { .. } => scope.items(1u64),
            Payload::ComponentTypeSection(types) => {
                scope.items(declarations(file, types.range())?);
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone() {
                    scope.import(import?.ty);
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    scope.core_instance(instance?)?;
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances.clone() {
                    scope.instance(instance?)?;
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    scope.alias(alias?, outer);
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    scope.export(export.kind, export.index);
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// The innermost component or module ends: it is one that those around it can instantiate.
    fn end(&mut self) -> Result<Option<Counts>, Excess> {
        let Some(Scope { is_module, it, .. }) = self.scopes.pop() else { return Ok(None) };
        let Some(around) = self.scopes.last_mut() else {
            return check(it).map(Some);
        };
        around.items(1u64);
        if is_module {
            around.modules.push(Some(it.counts));
        } else {
            around.copy(Size { fixed: it.captured, times: 0 });
            around.components.push(Some(it));
        }
        Ok(None)
    }
}

impl Scope {
    fn items(&mut self, more: impl Into<u64>) {
        let items = &mut self.it.counts.items;
        *items = items.saturating_add(more.into());
    }

    fn copy(&mut self, entries: Size) {
        self.it.copies = self.it.copies.plus(entries);
    }

    fn import(&mut self, ty: ComponentTypeRef) {
        self.items(1u64);
        match ty {
            ComponentTypeRef::Module(_) => self.modules.push(None),
            ComponentTypeRef::Component(_) => self.components.push(None),
            ComponentTypeRef::Instance(_) => self.instances.push(Entries::GIVEN),
            _ => {}
        }
    }

    fn core_instance(&mut self, instance: Instance<'_>) -> Result<(), Excess> {
        match instance {
            Instance::Instantiate { module_index, args } => {
                let module = self.modules.get(module_index as usize).copied().flatten();
                let module = module.ok_or_else(|| unknown("a core module"))?;
                self.it.counts.add(Counts { core_instances: 1, items: 0, ..module });
                self.items(1 + args.len() as u64);
            }
            Instance::FromExports(exports) => self.items(1 + exports.len() as u64),
        }
        Ok(())
    }

    fn instance(&mut self, instance: ComponentInstance<'_>) -> Result<(), Excess> {
        let mut entries = Entries::default();
        match instance {
            ComponentInstance::Instantiate { component_index, args } => {
                let component = self.components.get(component_index as usize).copied().flatten();
                let component = component.ok_or_else(|| unknown("a component"))?;
                let mut given = Size::default();
                for arg in &args {
                    given = given.plus(self.entries(arg.kind, arg.index).all).plus_one();
                }
                self.items(1 + args.len() as u64);
                self.it.counts.add(component.counts);
                self.it.counts.add(Counts { component_instances: 1, ..Counts::default() });
                self.copy(given);
                self.copy(Size { fixed: component.captured, times: 0 });
                self.copy(component.copies.of(given));
                entries.all = component.exports.all.of(given);
                entries.largest = component.exports.largest.of(given);
            }
            ComponentInstance::FromExports(exports) => {
                self.items(1 + exports.len() as u64);
                for export in &exports {
                    entries.push(self.entries(export.kind, export.index));
                }
            }
        }
        self.copy(entries.all);
        self.instances.push(entries);
        Ok(())
    }

    fn alias(&mut self, alias: ComponentAlias<'_>, outer: &mut [Scope]) {
        self.items(1u64);
        match alias {
            ComponentAlias::InstanceExport { kind, instance_index, .. } => match kind {
                ComponentExternalKind::Module => self.modules.push(None),
                ComponentExternalKind::Component => self.components.push(None),
                ComponentExternalKind::Instance => {
                    let from = self.entries(kind, instance_index);
                    self.copy(from.largest);
                    self.instances.push(Entries { all: from.largest, largest: from.largest });
                }
                _ => {}
            },
            ComponentAlias::Outer { kind, count, index } => {
                let (count, index) = (count as usize, index as usize);
                // How far out; 0 is this one.
                let Some(at) = outer.len().checked_sub(count) else { return };
                let scope = outer.get(at).unwrap_or(self);
                match kind {
                    ComponentOuterAliasKind::CoreModule => {
                        let module = scope.modules.get(index).copied().flatten();
                        self.modules.push(module);
                    }
                    ComponentOuterAliasKind::Component => {
                        let component = scope.components.get(index).copied().flatten();
                        // It is captured by all that lie between, with what it captures itself.
                        let captured = component.map_or(1, |c| c.captured.saturating_add(1));
                        for scope in outer.iter_mut().skip(at + 1) {
                            scope.capture(captured);
                        }
                        if count > 0 {
                            self.capture(captured);
                        }
                        self.copy(Size { fixed: captured, times: 0 });
                        self.components.push(component);
                    }
                    _ => {}
                }
            }
            ComponentAlias::CoreInstanceExport { .. } => {}
        }
    }

    /// An export is one more of its kind, and part of what an instance has.
    fn export(&mut self, kind: ComponentExternalKind, index: u32) {
        self.items(1u64);
        let entries = self.entries(kind, index);
        self.it.exports.push(entries);
        match kind {
            ComponentExternalKind::Module => {
                self.modules.push(self.modules.get(index as usize).copied().flatten());
            }
            ComponentExternalKind::Component => {
                self.components.push(self.components.get(index as usize).copied().flatten());
            }
            ComponentExternalKind::Instance => {
                self.copy(entries.all);
                self.instances.push(entries);
            }
            _ => {}
        }
    }

    fn capture(&mut self, captured: u64) {
        self.it.captured = self.it.captured.saturating_add(captured);
    }

    /// Of an instance; nothing for anything else.
    fn entries(&self, kind: ComponentExternalKind, index: u32) -> Entries {
        match kind {
            ComponentExternalKind::Instance => {
                self.instances.get(index as usize).copied().unwrap_or_default()
            }
            _ => Entries::default(),
        }
    }
}

/// Holds the whole component against the bounds.
fn check(it: Component) -> Result<Counts, Excess> {
    let counts = it.counts;
    // What the host gives it are names, not maps to be copied.
    let copies = it.copies.of(Size { fixed: 1, times: 0 }).fixed;
    for (what, count, most) in [
        ("makes component instances", counts.component_instances, MAX_COMPONENT_INSTANCES),
        ("makes core instances", counts.core_instances, MAX_CORE_INSTANCES),
        ("has memories", counts.memories, MAX_MEMORIES),
        ("has tables", counts.tables, MAX_TABLES),
        ("has items (types, imports, exports, aliases, functions)", counts.items, MAX_ITEMS),
        ("copies entries of instances", copies, MAX_COPIES),
    ] {
        if count > most {
            return too_much(what, Some(count), most);
        }
    }
    Ok(counts)
}

fn too_much<T>(what: &str, count: Option<u64>, most: u64) -> Result<T, Excess> {
    let count = count.map_or_else(|| format!("more than {most}"), |count| count.to_string());
    Err(Excess::TooMuch(format!(
        "model.wasm {what}: {count} with all that is nested in it unrolled; at most {most} are taken"
    )))
}

/// One that the file does not hold: what it takes cannot be known before it is there.
fn unknown(what: &str) -> Excess {
    Excess::TooMuch(format!(
        "model.wasm instantiates {what} that it imports or takes from an instance: only those that \
         lie in the file itself can be instantiated"
    ))
}

/// How many types a section declares, nested ones and their parts included. Types may be nested, and
/// wasmparser reads them by recursion: so deep ones end here.
fn declarations(file: &[u8], range: std::ops::Range<usize>) -> Result<u64, Excess> {
    enum In {
        /// A section: types only.
        Section,
        /// The type of a component or of an instance: declarations.
        Type,
    }
    let mut reader = BinaryReader::new(file.get(range.clone()).unwrap_or_default(), range.start);
    let mut declared = 0u64;
    let mut open = vec![(In::Section, reader.read_var_u32()?)];
    while let Some((place, left)) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        declared += 1;
        if let In::Type = place {
            match reader.clone().read_u8()? {
                0x01 => {
                    reader.read_u8()?;
                }
                0x03 => {
                    reader.read_u8()?;
                    reader.read::<ComponentImport<'_>>()?;
                    continue;
                }
                _ => {
                    reader.read::<InstanceTypeDeclaration<'_>>()?;
                    continue;
                }
            }
        }
        match reader.clone().read_u8()? {
            0x41 | 0x42 => {
                reader.read_u8()?;
                let inside = reader.read_var_u32()?;
                if open.len() >= MAX_NESTING {
                    return too_much("nests types", None, MAX_NESTING as u64);
                }
                open.push((In::Type, inside));
            }
            _ => {
                reader.read::<ComponentType<'_>>()?;
            }
        }
    }
    Ok(declared)
}

#[cfg(test)]
mod tests {
    use wasmparser::Parser;
    use wasmtime::{Engine, component::Component};

    use super::*;

    fn counts(text: &str) -> Result<Counts, String> {
        let bytes = wat::parse_str(text).unwrap();
        let mut expansion = Expansion::default();
        for payload in Parser::new(0).parse_all(&bytes) {
            match expansion.read(&payload.unwrap(), &bytes) {
                Ok(None) => {}
                Ok(Some(counts)) => return Ok(counts),
                Err(Excess::Damaged(why) | Excess::TooMuch(why)) => return Err(why),
            }
        }
        panic!("it has no end")
    }

    const NESTED: &str = r#"
        (core module $m (memory 2) (memory 1) (table 3 funcref) (func (export "f")))
        (component $a
          (core module $m (memory 1) (func (export "f")))
          (core instance (instantiate $m))
          (core instance $i (instantiate $m))
          (func (export "f") (canon lift (core func $i "f"))))
        (component $b
          (alias outer 1 $m (core module $m))
          (import "f" (func $f))
          (core func $lowered (canon lower (func $f)))
          (core instance (instantiate $m))
          (core module $calls (import "" "f" (func $f)) (start $f))
          (core instance (instantiate $calls
            (with "" (instance (export "f" (func $lowered)))))))
        (instance $a1 (instantiate $a))
        (instance (instantiate $b (with "f" (func $a1 "f"))))
        (instance (instantiate $b (with "f" (func $a1 "f"))))"#;

    /// wasmtime finds the same in what it has compiled, adapters included.
    #[test]
    fn memories_and_tables_are_those_that_wasmtime_makes() {
        let text = format!("(component {NESTED})");
        let counts = counts(&text).unwrap();
        let bytes = wat::parse_str(&text).unwrap();
        let component = Component::from_binary(&Engine::default(), &bytes).unwrap();
        let made = component.resources_required().unwrap();
        assert_eq!((made.num_memories, made.num_tables), (6, 2));
        assert_eq!((counts.memories, counts.tables), (6, 2));
        assert_eq!((counts.component_instances, counts.core_instances), (3, 6));
        assert_eq!(counts.initial, (2 + 2 * 3) * PAGE);
    }

    #[test]
    fn what_is_never_instantiated_takes_nothing() {
        let text = format!("(component (component {NESTED}))");
        let counts = counts(&text).unwrap();
        assert_eq!((counts.component_instances, counts.memories), (0, 0));
    }

    #[test]
    fn entries_are_followed_through_arguments_and_exports() {
        // What `$twice` is given comes back twice, and so on.
        let mut text = String::from(
            r#"(component (component $twice
              (import "i" (instance $i))
              (instance $both (export "a" (instance $i)) (export "b" (instance $i)))
              (export "both" (instance $both)))
            (instance $i0)"#,
        );
        for level in 0..20 {
            text += &format!(
                r#"(instance $t{level} (instantiate $twice (with "i" (instance $i{level}))))
                   (alias export $t{level} "both" (instance $i{}))"#,
                level + 1
            );
        }
        let refused = counts(&(text + ")")).unwrap_err();
        assert!(refused.contains("copies entries of instances: "), "{refused}");
    }
}
