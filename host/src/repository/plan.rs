//! What the folders, their manifests and the settings say of each model, before anything is compiled.

use std::{
    fs,
    io::{self, Read},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use crate::{
    config::limits::Limits,
    config::{
        GraphSettings, Manifest, ModelSettings, Settings,
        manifest::{ChosenGraph, Source},
    },
    nn::{BatchOptions, GraphOptions},
    sandbox::{Footprint, inspect},
};

use super::{
    error::StartError,
    folder::{Contents, Folder, read, scan},
    grants::{self, Decided},
};

/// Sessions of one graph.
const MAX_SESSIONS: usize = 64;

/// The largest share of a model beside one of weight 1.
const MAX_WEIGHT: u32 = 1000;

/// Rows of one run of a batched graph.
const MAX_BATCH: usize = 1024;

/// A folder with what its files and the settings say, before anything is compiled.
pub struct Plan {
    pub folder: Folder,
    pub manifest: Manifest,
    pub settings: ModelSettings,
    pub limits: Limits,
    pub decided: Decided,
    /// Whether instances start from a snapshot.
    pub snapshot: bool,
    pub component: Option<ComponentFile>,
}

/// A component's file as it was read for the plan. Its bytes are read again when it is loaded: those of
/// all models together may be more than there is memory.
pub struct ComponentFile {
    pub path: PathBuf,
    /// Its length in bytes.
    bytes: u64,
    /// The pool has room for these bytes, and no others.
    hash: blake3::Hash,
    /// What an instance takes of the pool.
    pub footprint: Footprint,
}

impl ComponentFile {
    /// Reads a file that is no longer than `longest`.
    fn open(path: PathBuf, longest: usize) -> Result<Self, String> {
        let bytes = read_component(&path, longest)?;
        let footprint = inspect(&bytes).map_err(|e| e.to_string())?;
        let (hash, bytes) = (blake3::hash(&bytes), bytes.len() as u64);
        Ok(Self { path, bytes, hash, footprint })
    }

    /// The same bytes again; fails where the file has changed.
    pub fn read(&self) -> Result<Vec<u8>, String> {
        let bytes = read_component(&self.path, usize::try_from(self.bytes).unwrap_or(usize::MAX))?;
        if blake3::hash(&bytes) != self.hash {
            return Err("model.wasm has changed while the server started".into());
        }
        Ok(bytes)
    }
}

/// Reads at most `longest` bytes, however long the file says that it is, or becomes.
fn read_component(path: &Path, longest: usize) -> Result<Vec<u8>, String> {
    let unreadable = |e: io::Error| format!("model.wasm cannot be read: {e}");
    let file = fs::File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut bytes = Vec::new();
    if size <= longest as u64 {
        file.take(longest as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if size > longest as u64 || bytes.len() > longest {
        let size = size.max(bytes.len() as u64);
        return Err(format!("model.wasm has {size} bytes, the limit is {longest} (max_component)"));
    }
    Ok(bytes)
}

impl Plan {
    /// A graph of this model as others name it: "model/graph".
    pub fn full_name(&self, graph: &str) -> String {
        format!("{}/{graph}", self.folder.name)
    }

    /// All of its graphs' full names.
    pub fn full_names(&self) -> impl Iterator<Item = String> {
        self.folder.graphs.keys().map(|graph| self.full_name(graph))
    }

    /// Of its component and its graphs' files.
    pub fn bytes(&self) -> u64 {
        let component = self.component.as_ref().map_or(0, |file| file.bytes);
        let graphs = self.folder.graphs.values();
        component + graphs.map(|path| fs::metadata(path).map_or(0, |file| file.len())).sum::<u64>()
    }
}

/// A model's name, and its plan or the reason why it cannot be served.
pub type Named = (String, Result<Plan, String>);

/// All that the folder of models has.
pub fn all(settings: &Settings) -> Result<Vec<Named>, StartError> {
    let models = settings.models.display();
    let mut scan = scan(&settings.models)
        .map_err(|e| StartError(format!("the folder of models `{models}` cannot be read: {e}")))?;
    let mut named = Vec::new();
    for name in settings.model.keys() {
        // The operator speaks of it: callers hear that it is not served, not that there is none.
        if let Some(reason) = scan.passed_over.remove(name) {
            named.push((name.clone(), Err(reason)));
        } else if !scan.folders.iter().any(|folder| &folder.name == name) {
            return Err(StartError(format!(
                "tms.toml speaks of a model `{name}`, but `{models}` has no folder of that name"
            )));
        }
    }
    for (name, reason) in &scan.passed_over {
        tracing::warn!("{} is passed over: {reason}", settings.models.join(name).display());
    }
    if scan.folders.is_empty() && named.is_empty() {
        if let Contents::Model(Folder { problem: None, .. }) = read(&settings.models) {
            return Err(StartError(format!(
                "`{models}` is a model's own folder: serve the folder that it lies in"
            )));
        }
        return Err(StartError(format!(
            "there are no models in `{models}`: a model is a folder in it, with model.wasm (a \
             component), a graph (*.onnx), or both"
        )));
    }
    named.extend(plan_each(scan.folders, settings));
    named.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(named)
}

/// Plans each folder for itself: also one on which a library breaks down fails alone.
pub fn plan_each(folders: Vec<Folder>, settings: &Settings) -> impl Iterator<Item = Named> {
    folders.into_iter().map(|folder| {
        let name = folder.name.clone();
        let planned = panic::catch_unwind(AssertUnwindSafe(|| plan(folder, settings)));
        (name, planned.unwrap_or_else(|_| Err("reading it broke down: the log says where".into())))
    })
}

/// Reads what a folder and the settings say. Fails where it cannot be served.
fn plan(folder: Folder, settings: &Settings) -> Result<Plan, String> {
    if let Some(problem) = folder.problem.clone() {
        return Err(problem);
    }
    let manifest: Manifest = match &folder.manifest {
        Some(path) => crate::config::read(path).map_err(|e| e.to_string())?,
        None => Manifest::default(),
    };
    for graph in manifest.graphs.keys() {
        if !folder.graphs.contains_key(graph) {
            let there: Vec<_> = folder.graphs.keys().map(String::as_str).collect();
            return Err(format!(
                "model.toml speaks of a graph `{graph}`, the folder has: {}",
                there.join(", ")
            ));
        }
    }
    let own = settings.model.get(&folder.name).cloned().unwrap_or_default();
    if let Some(weight) = own.weight
        && !(1..=MAX_WEIGHT).contains(&weight)
    {
        return Err(format!("weight = {weight} is not between 1 and {MAX_WEIGHT}"));
    }
    let limits = Limits::default().set(&settings.limits).set(&own.limits).lower(&manifest.limits);
    if let Some(key) = useless(&limits) {
        return Err(format!("{key} = 0 in [limits]: no call could be answered"));
    }
    let decided = grants::decide(&manifest.asks, &own.grants)?;
    let snapshot = own.snapshot.or(manifest.snapshot).unwrap_or(false);
    let component = match &folder.component {
        Some(path) => {
            let file = ComponentFile::open(path.clone(), limits.max_component)?;
            Some(file)
        }
        None => None,
    };
    Ok(Plan { folder, manifest, settings: own, limits, decided, snapshot, component })
}

/// A limit within which nothing at all can be done.
fn useless(limits: &Limits) -> Option<&'static str> {
    let zero = [
        ("memory", limits.memory == 0),
        ("timeout", limits.timeout.is_zero()),
        ("cpu", limits.cpu.is_zero()),
        ("init", limits.init.is_zero()),
        ("handles", limits.handles == 0),
        ("max_reply", limits.max_reply == 0),
        ("max_elements", limits.max_elements == 0),
    ];
    zero.into_iter().find(|(_, is_zero)| *is_zero).map(|(key, _)| key)
}

/// How a graph is to be loaded.
pub struct GraphPlan {
    pub options: GraphOptions,
    /// On whose word it is on its device.
    pub device_from: Source,
}

/// The operator's word on a graph, then the author's, then the default.
pub fn graph(plan: &Plan, graph: &str) -> Result<GraphPlan, String> {
    let author = plan.manifest.graph(graph, &GraphSettings::default()).settings;
    let ChosenGraph { settings: chosen, device_from } =
        plan.manifest.graph(graph, &plan.settings.graph);
    let mut options = GraphOptions {
        queue: plan.limits.max_queue,
        max_elements: plan.limits.max_elements,
        process: plan.settings.process,
        timeout: plan.limits.timeout,
        max_output: plan.limits.memory,
        max_failures: plan.limits.max_failures,
        ..GraphOptions::default()
    };
    if let Some(device) = &chosen.device {
        options.device = device.parse()?;
    }
    if let Some(backend) = &chosen.backend {
        options.backend = backend.parse()?;
    }
    options.sessions = sessions(plan.settings.graph.sessions)?;
    options.asked_sessions = sessions(author.sessions)?;
    options.batch = batch(&chosen)?;
    options.fallback_cpu = match chosen.fallback.as_deref() {
        None => false,
        Some("cpu") => true,
        Some(other) => return Err(format!("`{other}` is not a fallback: cpu")),
    };
    Ok(GraphPlan { options, device_from })
}

/// A number of sessions, if it can be one.
fn sessions(number: Option<usize>) -> Result<Option<usize>, String> {
    match number {
        Some(number) if !(1..=MAX_SESSIONS).contains(&number) => Err(format!(
            "sessions = {number} is not between 1 and {MAX_SESSIONS}: each holds a copy of the weights"
        )),
        number => Ok(number),
    }
}

/// How calls are put together, where they are to be.
fn batch(chosen: &GraphSettings) -> Result<Option<BatchOptions>, String> {
    match chosen.batch {
        Some(true) => {}
        // Switched off, whatever a model's author set.
        Some(false) => return Ok(None),
        None if chosen.max_batch.is_some() || chosen.max_batch_memory.is_some() => {
            return Err("max_batch and max_batch_memory need batch = true".into());
        }
        None => return Ok(None),
    }
    let mut batch = BatchOptions::default();
    if let Some(rows) = chosen.max_batch {
        if !(2..=MAX_BATCH).contains(&rows) {
            return Err(format!("max_batch = {rows} is not between 2 and {MAX_BATCH}"));
        }
        batch.rows = rows;
    }
    if let Some(memory) = chosen.max_batch_memory {
        batch.memory = memory.into();
    }
    Ok(Some(batch))
}
