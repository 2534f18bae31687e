//! From plans to models, at start: all at once, so that a model is called as soon as it is ready and
//! does not wait for the others. One model that fails does not stop the others. A device that the
//! operator asked for and that is not there does, since serving elsewhere would be a silent change.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::future::{try_join, try_join_all};
use tokio::sync::OnceCell;

use crate::{
    config::{ModelSettings, Reuse, Settings, manifest},
    cores::{Cores, in_thread},
    data::Description,
    fair::Flow,
    ledger::Tenant,
    models::{
        Body, Model,
        bare_graph::BareGraph,
        component::{Component, ComponentOptions},
        others::Callable,
        outcome::Outcomes,
        sequences::SequenceLimits,
    },
    nn::{self, Graph, LoadError},
    sandbox::{
        CodeCache, Compiling, Footprint, Grants, Guest, GuestOptions, PoolSize, Sandbox, Source,
    },
    schedule::{Pool, PoolLimits, WorkerId, Workers},
};

use super::{
    Catalogue, StartError,
    folder::Folder,
    grants::Decided,
    plan::{self, ComponentFile, GraphPlan, Named, Plan},
};

/// How long a model may take to describe itself.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(60);

/// With more models than this, most wait long for their first call: first instances are not kept.
const MANY: usize = 256;

/// Plans every model in the folder of models. The catalogue has all of their names.
pub fn begin(settings: &Settings) -> Result<(Arc<Catalogue>, Vec<Plan>), StartError> {
    Ok(begin_with(plan::all(settings)?))
}

/// A catalogue with all names that are planned, and the plans of those that can be loaded.
pub fn begin_with(planned: Vec<Named>) -> (Arc<Catalogue>, Vec<Plan>) {
    let names = planned.iter().map(|(name, _)| name.clone());
    let graphs = planned.iter().filter_map(|(_, plan)| plan.as_ref().ok());
    let graphs = graphs.flat_map(Plan::full_names);
    let catalogue = Arc::new(Catalogue::new(names, graphs));
    let mut plans = Vec::new();
    for (name, plan) in planned {
        match plan {
            Ok(plan) => plans.push(plan),
            Err(reason) => fail(&catalogue, &name, reason),
        }
    }
    (catalogue, plans)
}

/// Loads models into the catalogue, the smallest first: most of them are ready soon.
pub async fn load(
    catalogue: Arc<Catalogue>,
    mut plans: Vec<Plan>,
    settings: &Settings,
    native: nn::Options,
    workers: Arc<Workers>,
    compiling: Compiling,
) -> Result<(), StartError> {
    let graphs = plans.iter().flat_map(|plan| plan.folder.graphs.values());
    let graphs = graphs.cloned().collect();
    let refusing = Some(catalogue.refusing.clone());
    let native = nn::Options { graphs, refusing, ..native };
    let loader = Arc::new(Loader {
        catalogue,
        sandbox: sandbox(settings, &plans, compiling)?,
        options: native,
        native: OnceCell::new(),
        longest: longest_calls(&plans),
        cores: Cores::default(),
        keeps: plans.len() <= MANY,
        workers: workers.clone(),
    });
    plans.sort_by_key(Plan::bytes);
    let tasks: Vec<_> = plans
        .into_iter()
        .enumerate()
        .map(|(at, plan)| {
            let worker = WorkerId(at % workers.count());
            let name = plan.folder.name.clone();
            let graphs: Vec<_> = plan.full_names().collect();
            let task = workers.spawn(worker, loader.clone().model(plan, worker));
            let catalogue = loader.catalogue.clone();
            async move {
                let panic = match task.await {
                    Ok(loaded) => return loaded,
                    Err(e) if e.is_panic() => format!("loading it broke down: {e}"),
                    Err(e) => return Err(StartError(format!("loading ended early: {e}"))),
                };
                for graph in graphs {
                    catalogue.slots_of_graphs().set(&graph, Err(panic.clone()));
                }
                fail(&catalogue, &name, panic);
                Ok(())
            }
        })
        .collect();
    // A library that was asked for and is not there is an error even where no graph needs it.
    let (native, _) = try_join(loader.native(), try_join_all(tasks)).await?;
    native.settle();
    Ok(())
}

fn fail(catalogue: &Catalogue, name: &str, reason: String) {
    tracing::error!(target: "tms::not_served", model = %name, "not served: {reason}");
    catalogue.fail(name, reason);
}

/// The longest that models which are granted a graph of another one may take, by the graph.
fn longest_calls(plans: &[Plan]) -> BTreeMap<String, Duration> {
    let mut longest = BTreeMap::<String, Duration>::new();
    for plan in plans {
        for graph in &plan.settings.graphs {
            let longest = longest.entry(graph.clone()).or_default();
            *longest = plan.limits.timeout.max(*longest);
        }
    }
    longest
}

/// How native code runs, as the settings say.
pub fn native(settings: &Settings) -> nn::Options {
    nn::Options {
        onnxruntime: settings.onnxruntime.clone(),
        threads: Some(settings.threads),
        process: settings.process,
        program: Some(settings.program.clone()),
        native_memory: settings.native_memory.map(|size| usize::from(size) as u64),
        ..nn::Options::default()
    }
}

/// The engine, with room for every instance that may exist.
fn sandbox(
    settings: &Settings,
    plans: &[Plan],
    compiling: Compiling,
) -> Result<Sandbox, StartError> {
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
        let Some(ComponentFile { footprint, .. }) = plan.component else {
            continue;
        };
        let instances = plan.limits.max_instances.max(1).saturating_mul(settings.workers);
        let instances = instances.saturating_add(plan.limits.max_sequences);
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
    Sandbox::new(pool, cache, compiling).map_err(|e| StartError(e.to_string()))
}

/// What all models are loaded with.
struct Loader {
    catalogue: Arc<Catalogue>,
    workers: Arc<Workers>,
    sandbox: Sandbox,
    options: nn::Options,
    native: OnceCell<nn::Runtime>,
    /// How long calls of graphs may take, by "model/graph", where another model may have more time
    /// than its owner.
    longest: BTreeMap<String, Duration>,
    /// Reading a graph takes a core.
    cores: Cores,
    /// The first instance of each model waits for its first call.
    keeps: bool,
}

impl Loader {
    /// The inference libraries, found by whoever needs them first.
    async fn native(&self) -> Result<&nn::Runtime, StartError> {
        let start = async || {
            let options = self.options.clone();
            let started = in_thread(move || nn::Runtime::start(&options)).await;
            let native = started.map_err(StartError)?.map_err(|e| StartError(e.to_string()))?;
            self.catalogue.set_native(native.clone());
            Ok(native)
        };
        self.native.get_or_try_init(start).await
    }

    /// Loads one model, whatever becomes of it.
    async fn model(self: Arc<Self>, plan: Plan, worker: WorkerId) -> Result<(), StartError> {
        let name = plan.folder.name.clone();
        self.read_graphs(&plan).await?;
        let started = Instant::now();
        let loaded = match self.usable(&plan).await {
            Ok(graphs) => self.body(plan, graphs, worker).await,
            Err(reason) => Err(reason),
        };
        match loaded {
            Ok(model) => {
                let took = started.elapsed();
                let about = model.about.as_deref().map(|about| format!(": {about}"));
                tracing::info!(model = %name, "ready in {took:.1?}: takes {}{}",
                    model.description.accepted(), about.unwrap_or_default());
                self.catalogue.add(model);
            }
            Err(reason) => fail(&self.catalogue, &name, reason),
        }
        Ok(())
    }

    /// Reads a model's own graphs, for itself and for others that may use them.
    async fn read_graphs(&self, plan: &Plan) -> Result<(), StartError> {
        for (graph, path) in &plan.folder.graphs {
            let full = plan.full_name(graph);
            let read = match plan::graph(plan, graph) {
                Ok(graph_plan) => self.read_graph(&full, path, graph_plan).await?,
                Err(reason) => Err(reason),
            };
            let read = read.map_err(|reason| format!("graph {graph}: {reason}"));
            self.catalogue.slots_of_graphs().set(&full, read);
        }
        Ok(())
    }

    /// Reads one graph. Where its device is not there, that is an error of the whole server if the
    /// operator asked for it, and the model's own otherwise.
    async fn read_graph(
        &self,
        name: &str,
        path: &Path,
        graph_plan: GraphPlan,
    ) -> Result<Result<Graph, String>, StartError> {
        let runtime = self.native().await?.clone();
        let GraphPlan { mut options, device_from } = graph_plan;
        if let Some(longest) = self.longest.get(name) {
            options.timeout = options.timeout.max(*longest);
        }
        let (full, path) = (name.to_owned(), path.to_owned());
        match self.cores.run(move || runtime.load(&full, &path, &options)).await {
            Ok(Err(e @ LoadError::Device(_))) if device_from == manifest::Source::Operator => {
                Err(StartError(format!("graph {name}: {e}")))
            }
            Ok(read) => Ok(read.map_err(|e| e.to_string())),
            Err(broke_down) => Ok(Err(broke_down)),
        }
    }

    /// The graphs that a model may use: its own and those that it is granted.
    async fn usable(&self, plan: &Plan) -> Result<BTreeMap<String, Graph>, String> {
        let graphs = self.catalogue.slots_of_graphs();
        let mut usable = BTreeMap::new();
        for graph in plan.folder.graphs.keys() {
            let full = plan.full_name(graph);
            let read = graphs.wait(&full).await.ok_or("its graph is not there")?;
            usable.insert(graph.clone(), read.clone()?);
        }
        for granted in &plan.settings.graphs {
            let Some(Ok(graph)) = graphs.wait(granted).await else {
                return Err(format!(
                    "tms.toml lets it use the graph `{granted}`, which is not there"
                ));
            };
            usable.insert(granted.clone(), graph.clone());
        }
        Ok(usable)
    }

    /// What answers for a model: its component, or its only graph.
    async fn body(
        self: &Arc<Self>,
        plan: Plan,
        graphs: BTreeMap<String, Graph>,
        worker: WorkerId,
    ) -> Result<Model, String> {
        let Decided { given, withheld, .. } = &plan.decided;
        let name = &plan.folder.name;
        if !given.is_empty() {
            tracing::info!(model = %name, "granted: {}", given.join(", "));
        }
        if !withheld.is_empty() {
            tracing::warn!(model = %name, "asks for what tms.toml does not grant: {}", withheld.join(", "));
        }
        let weight = plan.settings.weight.unwrap_or(1);
        let flow = self.workers.join(weight);
        let tenant = self.options.ledger.tenant(weight);
        match plan.component {
            Some(_) => self.component(plan, graphs, flow, tenant, worker).await,
            None => {
                let graph = graphs.into_values().next().ok_or("its graph is not there")?;
                Ok(bare(plan, graph, flow, tenant))
            }
        }
    }

    /// Loads a model's component, and asks its first instance what it takes.
    async fn component(
        self: &Arc<Self>,
        plan: Plan,
        graphs: BTreeMap<String, Graph>,
        flow: Flow,
        tenant: Arc<Tenant>,
        worker: WorkerId,
    ) -> Result<Model, String> {
        let name = plan.folder.name.clone();
        let about = plan.manifest.description.clone();
        let limits = plan.limits;
        let reuse = plan.settings.reuse.or(plan.manifest.reuse).unwrap_or_default();
        let own = graphs.values().cloned().collect();
        let metadata = plan.decided.metadata.clone();
        let callable = self.callable(&plan)?;
        let guest = self.guest(plan, graphs, flow, tenant.clone(), reuse).await?;
        // The first instance answers for the model, and then mostly waits for this worker's next call.
        let deadline = Instant::now() + DESCRIBE_TIMEOUT;
        let mut instance =
            guest.instantiate().await.map_err(|e| format!("its first instance failed: {e}"))?;
        let description =
            instance.describe(deadline).await.map_err(|e| format!("describe failed: {e}"))?;
        let pool_limits = PoolLimits { instances: limits.max_instances, queue: limits.max_queue };
        let pool = Pool::new(guest, self.workers.clone(), pool_limits);
        if reuse == Reuse::Serial && self.keeps {
            pool.stock(worker, instance);
        }
        let options = ComponentOptions {
            name: name.clone(),
            flow,
            timeout: limits.timeout,
            max_failures: limits.max_failures,
            refusing: self.catalogue.refusing.clone(),
            keeps_state: description.sequences,
            sequences: SequenceLimits {
                most: limits.max_sequences,
                idle: limits.sequence_idle,
                queue: limits.max_queue,
            },
            callable,
        };
        Ok(Model {
            name,
            about,
            description,
            timeout: limits.timeout,
            max_stream: limits.max_stream,
            sequence_idle: limits.sequence_idle,
            metadata,
            body: Body::Component(Box::new(Component::new(pool, options))),
            graphs: own,
            outcomes: Outcomes::default(),
            tenant,
        })
    }

    /// The models that the operator lets this one call.
    fn callable(&self, plan: &Plan) -> Result<Callable, String> {
        let names = &plan.settings.models;
        if names.contains(&plan.folder.name) {
            return Err("tms.toml lets it call itself, which no model can".into());
        }
        let served = |name: &&String| self.catalogue.names().any(|served| served == name.as_str());
        if let Some(missing) = names.iter().find(|name| !served(name)) {
            return Err(format!("tms.toml lets it call the model `{missing}`, which is not there"));
        }
        let models: Weak<Catalogue> = Arc::downgrade(&self.catalogue);
        Ok(Callable { names: names.clone().into(), models, workers: self.workers.clone() })
    }

    /// Compiles a model's component, or finds its code in the cache.
    async fn guest(
        &self,
        plan: Plan,
        graphs: BTreeMap<String, Graph>,
        flow: Flow,
        tenant: Arc<Tenant>,
        reuse: Reuse,
    ) -> Result<Guest, String> {
        let Plan { folder, settings, limits, decided, snapshot, component, .. } = plan;
        let component = component.ok_or("it has no component")?;
        let source: Source = Arc::new(move || component.read());
        let Decided { grants, .. } = decided;
        let name = folder.name.clone();
        let snapshot_key = match snapshot {
            true => {
                let grants = grants.clone();
                self.cores.run(move || snapshot_key(&folder, &settings, &grants)).await?
            }
            false => None,
        };
        let options = GuestOptions {
            name,
            graphs: Arc::new(graphs),
            flow,
            tenant,
            snapshot_key,
            limits,
            grants,
            fresh: reuse == Reuse::Never,
            snapshot,
        };
        Guest::load(&self.sandbox, source, options).await.map_err(|e| e.to_string())
    }
}

/// A model that is a graph and nothing else.
fn bare(plan: Plan, graph: Graph, flow: Flow, tenant: Arc<Tenant>) -> Model {
    Model {
        name: plan.folder.name,
        about: plan.manifest.description,
        description: Description {
            tensors: true,
            inputs: graph.inputs().to_vec(),
            outputs: graph.outputs().to_vec(),
            ..Description::default()
        },
        timeout: plan.limits.timeout,
        max_stream: plan.limits.max_stream,
        sequence_idle: plan.limits.sequence_idle,
        metadata: Vec::new(),
        graphs: vec![graph.clone()],
        body: Body::Graph(BareGraph::new(graph, flow)),
        outcomes: Outcomes::default(),
        tenant,
    }
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
        for part in nn::files::weights(file).ok()? {
            hash.update_reader(fs::File::open(part).ok()?).ok()?;
        }
    }
    Some(hash.finalize().to_hex()[..16].to_owned())
}
