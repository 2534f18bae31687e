//! From folders to models, at start. One model that fails does not stop the others; a device that
//! was asked for and is not there does, since serving elsewhere would be a silent change.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::{Manifest, ModelSettings, Reuse, Settings, manifest::GraphSettings},
    data::Description,
    limits::Limits,
    metrics::Metrics,
    nn::{self, BatchOptions, Device, Graph, GraphOptions},
    sandbox::{CodeCache, Footprint, Grants, Guest, GuestOptions, PoolSize, Sandbox, inspect},
    schedule::{Breaker, Pool, PoolLimits, WorkerId, Workers},
};

use super::{
    Catalogue, Model,
    folder::{Folder, scan},
    grants::{self, Decided},
    model::Body,
};

/// How long a model may take to describe itself.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(60);

/// Sessions of one graph.
const MAX_SESSIONS: usize = 64;

/// The largest share of a model beside one of weight 1.
const MAX_WEIGHT: u32 = 1000;

/// Rows of one run of a batched graph.
const MAX_BATCH: usize = 1024;

/// What keeps the whole server from starting.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// A folder with what its files and the settings say, before anything is compiled.
pub struct Plan {
    pub folder: Folder,
    manifest: Manifest,
    settings: ModelSettings,
    limits: Limits,
    decided: Decided,
    snapshot: bool,
    /// The component's bytes and what an instance takes.
    pub component: Option<(Vec<u8>, Footprint)>,
}

/// Loads every model in the folder of models.
pub async fn load(
    settings: &Settings,
    runtime: &nn::Runtime,
    workers: &Arc<Workers>,
    metrics: &Metrics,
) -> Result<Catalogue, StartError> {
    let mut catalogue = Catalogue::default();
    let plans = plan_all(settings, &mut catalogue)?;
    let graphs = load_graphs(&plans, runtime, &mut catalogue)?;
    let sandbox = sandbox(settings, &plans)?;
    for plan in plans {
        let name = plan.folder.name.clone();
        if catalogue.has_failed(&name) {
            continue;
        }
        let started = Instant::now();
        match load_one(plan, &sandbox, &graphs, workers, metrics).await {
            Ok(model) => {
                let took = started.elapsed();
                tracing::info!(model = %name, "ready in {took:.1?}: takes {}",
                    model.description.accepted());
                catalogue.add(model);
            }
            Err(reason) => fail(&mut catalogue, name, reason),
        }
    }
    catalogue.keep_graphs(graphs);
    Ok(catalogue)
}

fn fail(catalogue: &mut Catalogue, name: String, reason: String) {
    tracing::error!(model = %name, "not served: {reason}");
    catalogue.fail(name, reason);
}

fn plan_all(settings: &Settings, catalogue: &mut Catalogue) -> Result<Vec<Plan>, StartError> {
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
    let mut plans = Vec::new();
    for folder in folders {
        let name = folder.name.clone();
        match plan(folder, settings) {
            Ok(plan) => plans.push(plan),
            Err(reason) => fail(catalogue, name, reason),
        }
    }
    Ok(plans)
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
            let mut footprint = inspect(&bytes).map_err(|e| e.to_string())?;
            // What gives the snapshot access to the others is one more.
            footprint.core_instances += u32::from(snapshot);
            Some((bytes, footprint))
        }
        None => None,
    };
    Ok(Plan { folder, manifest, settings: own, limits, decided, snapshot, component })
}

/// All graphs, as "model/graph". A model one of whose graphs fails has failed.
fn load_graphs(
    plans: &[Plan],
    runtime: &nn::Runtime,
    catalogue: &mut Catalogue,
) -> Result<BTreeMap<String, Graph>, StartError> {
    let mut graphs = BTreeMap::new();
    for plan in plans {
        let name = &plan.folder.name;
        for (graph, path) in &plan.folder.graphs {
            let full = format!("{name}/{graph}");
            let loaded = options(plan, graph).and_then(|options| {
                let loaded = runtime.load(&full, path, &options);
                match loaded {
                    Err(e) if options.device != Device::Cpu && !options.fallback_cpu => {
                        Ok(Err(StartError(format!("graph {full}: {e}"))))
                    }
                    Err(e) => Err(format!("graph {graph}: {e}")),
                    Ok(graph) => Ok(Ok(graph)),
                }
            });
            match loaded {
                Ok(graph) => {
                    graphs.insert(full, graph?);
                }
                Err(reason) => {
                    fail(catalogue, name.clone(), reason);
                    break;
                }
            }
        }
    }
    Ok(graphs)
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
    if !chosen.batch.unwrap_or(false) {
        return match chosen.max_batch.is_some() || chosen.max_batch_memory.is_some() {
            true => Err("max_batch and max_batch_memory need batch = true".into()),
            false => Ok(None),
        };
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

/// The engine, with room for every instance that the permits allow.
fn sandbox(settings: &Settings, plans: &[Plan]) -> Result<Sandbox, StartError> {
    let mut pool = PoolSize {
        instances: 0,
        total: Footprint::default(),
        largest: Footprint::default(),
        kept: 0,
        // At least this much, so that a component over a low limit fails with the limit's words.
        memory: 256 << 20,
        stack: settings.stack,
        interruptible: true,
    };
    for plan in plans {
        let Some((_, footprint)) = plan.component else {
            continue;
        };
        let instances = plan.limits.max_instances.max(1).saturating_mul(settings.workers);
        let instances = u32::try_from(instances).unwrap_or(u32::MAX);
        pool.add(footprint, instances);
        pool.memory = pool.memory.max(plan.limits.memory);
    }
    let cache = settings.cache.as_deref().and_then(|folder| {
        CodeCache::open(folder)
            .inspect_err(|e| {
                tracing::warn!(
                    "compiled code is not cached: the folder {} is not used: {e}",
                    folder.display()
                );
            })
            .ok()
    });
    Sandbox::new(pool, cache).map_err(|e| StartError(e.to_string()))
}

async fn load_one(
    plan: Plan,
    sandbox: &Sandbox,
    graphs: &BTreeMap<String, Graph>,
    workers: &Arc<Workers>,
    metrics: &Metrics,
) -> Result<Model, String> {
    let name = plan.folder.name.clone();
    let Decided { grants, given, withheld } = plan.decided;
    if !given.is_empty() {
        tracing::info!(model = %name, "granted: {}", given.join(", "));
    }
    if !withheld.is_empty() {
        tracing::warn!(model = %name, "asks for what tms.toml does not grant: {}", withheld.join(", "));
    }
    let own =
        |graph: &String| Some((graph.clone(), graphs.get(&format!("{name}/{graph}"))?.clone()));
    let mut usable: BTreeMap<_, _> = plan.folder.graphs.keys().filter_map(own).collect();
    for granted in &plan.settings.graphs {
        let graph = graphs.get(granted).ok_or_else(|| {
            format!("tms.toml lets it use the graph `{granted}`, which is not there")
        })?;
        usable.insert(granted.clone(), graph.clone());
    }
    let (limits, timeout) = (plan.limits, plan.limits.timeout);
    let breaker = Breaker::new(limits.max_failures);
    let outcomes = metrics.model(&name);
    let Some((bytes, _)) = plan.component else {
        let graph = usable.into_values().next().ok_or("its graph is not there")?;
        return Ok(Model {
            description: Description {
                tensors: true,
                inputs: graph.inputs().to_vec(),
                outputs: graph.outputs().to_vec(),
                ..Description::default()
            },
            input_shape: None,
            timeout,
            body: Body::Graph(graph),
            breaker,
            outcomes,
            name,
        });
    };
    let reuse = plan.settings.reuse.or(plan.manifest.reuse).unwrap_or_default();
    let options = GuestOptions {
        name: name.clone(),
        graphs: Arc::new(usable),
        snapshot_key: snapshot_key(&plan.folder, &plan.settings, &grants),
        limits,
        grants,
        fresh: reuse == Reuse::Never,
        snapshot: plan.snapshot,
    };
    let guest = Guest::load(sandbox, &bytes, options).await.map_err(|e| e.to_string())?;
    // The first instance answers for the model, and then waits on the first worker's shelf.
    let deadline = Instant::now() + DESCRIBE_TIMEOUT;
    let mut instance =
        guest.instantiate().await.map_err(|e| format!("its first instance failed: {e}"))?;
    let description =
        instance.describe(deadline).await.map_err(|e| format!("describe failed: {e}"))?;
    let input_shape =
        instance.input_shape(deadline).await.map_err(|e| format!("get-input-shape failed: {e}"))?;
    let limits = PoolLimits {
        instances: limits.max_instances,
        queue: limits.max_queue,
        weight: plan.settings.weight.unwrap_or(1),
    };
    let pool = Pool::new(guest, workers.clone(), limits);
    if reuse == Reuse::Serial {
        pool.stock(WorkerId(0), instance);
    }
    let body = Body::Component(pool);
    Ok(Model { name, description, input_shape, timeout, body, breaker, outcomes })
}

/// What a model's `init` may see besides the component: its graphs. None where it may see more, which
/// is not followed.
fn snapshot_key(folder: &Folder, settings: &ModelSettings, grants: &Grants) -> Option<String> {
    if !grants.is_empty() || !settings.graphs.is_empty() {
        return None;
    }
    let mut hash = blake3::Hasher::new();
    for (name, file) in &folder.graphs {
        hash.update(name.as_bytes()).update(&[0]);
        hash.update_reader(fs::File::open(file).ok()?).ok()?;
    }
    Some(hash.finalize().to_hex()[..16].to_owned())
}
