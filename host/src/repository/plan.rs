//! What the folders, their manifests and the settings say of each model, before anything is compiled.

use std::fs;

use crate::{
    config::limits::Limits,
    config::{Manifest, ModelSettings, Settings, manifest::GraphSettings},
    nn::{BatchOptions, GraphOptions},
    sandbox::{Footprint, inspect},
};

use super::{
    folder::{Folder, scan},
    grants::{self, Decided},
    load::StartError,
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
    pub snapshot: bool,
    /// The component's bytes and what an instance takes.
    pub component: Option<(Vec<u8>, Footprint)>,
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
        let component = self.component.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64);
        let graphs = self.folder.graphs.values();
        component + graphs.map(|path| fs::metadata(path).map_or(0, |file| file.len())).sum::<u64>()
    }
}

/// A model's name, and its plan or the reason why it cannot be served.
pub type Named = (String, Result<Plan, String>);

/// All that the folder of models has.
pub fn all(settings: &Settings) -> Result<Vec<Named>, StartError> {
    let models = settings.models.display();
    let folders = scan(&settings.models)
        .map_err(|e| StartError(format!("the folder of models `{models}` cannot be read: {e}")))?;
    if folders.is_empty() {
        return Err(StartError(format!(
            "there are no models in `{models}`: a model is a folder in it, with model.wasm (a \
             component), a graph (*.onnx), or both"
        )));
    }
    for name in settings.model.keys() {
        if !folders.iter().any(|folder| &folder.name == name) {
            return Err(StartError(format!(
                "tms.toml speaks of a model `{name}`, but `{models}` has no folder of that name"
            )));
        }
    }
    let named = |folder: Folder| (folder.name.clone(), plan(folder, settings));
    Ok(folders.into_iter().map(named).collect())
}

/// Reads what a folder and the settings say. Fails where it cannot be served.
pub fn plan(folder: Folder, settings: &Settings) -> Result<Plan, String> {
    if let Some(problem) = folder.problem() {
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
    let decided = grants::decide(&manifest.asks, &own.grants)?;
    let snapshot = own.snapshot.or(manifest.snapshot).unwrap_or(false);
    let component = match &folder.component {
        Some(path) => {
            let size = fs::metadata(path).map_or(0, |file| file.len());
            if size > limits.max_component as u64 {
                return Err(format!(
                    "model.wasm has {size} bytes, the limit is {} (max_component)",
                    limits.max_component
                ));
            }
            let bytes = fs::read(path).map_err(|e| format!("model.wasm cannot be read: {e}"))?;
            let footprint = inspect(&bytes).map_err(|e| e.to_string())?;
            Some((bytes, footprint))
        }
        None => None,
    };
    Ok(Plan { folder, manifest, settings: own, limits, decided, snapshot, component })
}

/// The operator's word on a graph, then the author's, then the default.
pub fn options(plan: &Plan, graph: &str) -> Result<GraphOptions, String> {
    let unset = GraphSettings::default();
    let manifest = &plan.manifest;
    let own = manifest.graphs.get(graph).unwrap_or(&unset);
    let chosen = plan.settings.graph.over(&own.over(&manifest.graph()));
    let mut options = GraphOptions {
        queue: plan.limits.max_queue,
        max_elements: plan.limits.max_elements,
        ..GraphOptions::default()
    };
    if let Some(device) = &chosen.device {
        options.device = device.parse()?;
    }
    if let Some(backend) = &chosen.backend {
        options.backend = backend.parse()?;
    }
    if let Some(sessions) = chosen.sessions {
        if !(1..=MAX_SESSIONS).contains(&sessions) {
            return Err(format!(
                "sessions = {sessions} is not between 1 and {MAX_SESSIONS}: each holds a copy of \
                 the weights"
            ));
        }
        options.sessions = Some(sessions);
    }
    options.batch = batch(&chosen)?;
    options.fallback_cpu = match chosen.fallback.as_deref() {
        None => false,
        Some("cpu") => true,
        Some(other) => return Err(format!("`{other}` is not a fallback: cpu")),
    };
    Ok(options)
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
        batch.memory = usize::try_from(memory.as_u64()).unwrap_or(usize::MAX);
    }
    Ok(Some(batch))
}
