//! All models by name: those that still load, those that are ready, and those that failed to load
//! with the reason.

use std::sync::{Arc, OnceLock, atomic::Ordering};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::slots::Slots;
use crate::{
    models::{Body, Model, others::FindModel},
    nn::{self, Graph},
    sandbox::Guest,
    schedule::Pool,
};

/// Why a name cannot be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    Unknown,
    Loading,
    /// It did not load; the log has the reason.
    Failed,
}

/// The names are decided at start, and what becomes of each while the server starts; then it does
/// not change.
pub struct Catalogue {
    models: Slots<Arc<Model>>,
    /// By "model/graph".
    graphs: Slots<Graph>,
    /// Told when a model or a graph begins to be refused for a while.
    pub refusing: Arc<Notify>,
    /// Once it is there.
    native: OnceLock<nn::Runtime>,
}

impl Catalogue {
    /// Of names that are all still loading; graphs are named "model/graph".
    pub fn new(
        models: impl IntoIterator<Item = String>,
        graphs: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            models: Slots::new(models),
            graphs: Slots::new(graphs),
            refusing: Arc::default(),
            native: OnceLock::new(),
        }
    }

    pub fn set_native(&self, native: nn::Runtime) {
        // There is one.
        let _ = self.native.set(native);
    }

    /// What goes on in the processes of native code.
    pub fn native(&self) -> nn::NativeStats {
        self.native.get().map(nn::Runtime::native).unwrap_or_default()
    }

    pub fn add(&self, model: Model) {
        self.models.set(&model.name.clone(), Ok(Arc::new(model)));
    }

    pub fn fail(&self, name: &str, reason: String) {
        self.models.set(name, Err(reason));
    }

    pub fn get(&self, name: &str) -> Result<&Arc<Model>, Unready> {
        match self.models.get(name) {
            Some(Some(Ok(model))) => Ok(model),
            Some(Some(Err(_))) => Err(Unready::Failed),
            Some(None) => Err(Unready::Loading),
            None => Err(Unready::Unknown),
        }
    }

    /// The same once it is known what becomes of it.
    pub async fn find(&self, name: &str) -> Result<&Arc<Model>, Unready> {
        self.models.wait(name).await;
        self.get(name)
    }

    /// All graphs, by "model/graph".
    pub(super) fn slots_of_graphs(&self) -> &Slots<Graph> {
        &self.graphs
    }

    /// Graphs that are there, by "model/graph".
    pub fn graphs(&self) -> impl Iterator<Item = (&str, &Graph)> {
        self.graphs.settled().filter_map(|(name, graph)| Some((name, graph.as_ref().ok()?)))
    }

    /// All models' names, whatever becomes of them; sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.models.names()
    }

    /// Sorted by name.
    pub fn ready(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.settled().filter_map(|(_, model)| model.as_ref().ok())
    }

    /// Names and reasons, sorted by name.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.models
            .settled()
            .filter_map(|(name, model)| Some((name, model.as_ref().err()?.as_str())))
    }

    /// Whether no model is loading any more.
    pub fn is_loaded(&self) -> bool {
        self.models.all_settled()
    }

    /// Until no model is loading any more.
    pub async fn loaded(&self) {
        for name in self.names() {
            self.models.wait(name).await;
        }
    }

    /// Until one more model is ready, or has failed; counting from this call.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.models.changed()
    }

    /// Instances thrown away so far.
    pub fn discarded(&self) -> u64 {
        let discarded =
            |pool: &Pool<Guest>| pool.factory().usage().instances_discarded.load(Ordering::Relaxed);
        self.pools().map(discarded).sum()
    }

    /// Ends the sequences of all models that were idle for long.
    pub fn sweep_sequences(&self) {
        for model in self.ready() {
            if let Body::Component(component) = &model.body {
                component.sequences().sweep();
            }
        }
    }

    /// Calls that have an instance now.
    pub fn busy(&self) -> usize {
        self.pools().map(|pool| pool.busy()).sum()
    }

    /// Calls that wait, for an instance or for a session.
    pub fn waiting(&self) -> usize {
        let graphs = self.graphs().map(|(_, graph)| graph.stats().waiting);
        self.pools().map(|pool| pool.waiting()).chain(graphs).sum()
    }

    fn pools(&self) -> impl Iterator<Item = &Pool<Guest>> {
        self.ready().filter_map(|model| model.pool())
    }
}

impl FindModel for Catalogue {
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Arc<Model>>> {
        Box::pin(async move { Catalogue::find(self, name).await.ok().cloned() })
    }
}
