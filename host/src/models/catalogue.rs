//! All models by name: those that are ready, and those that failed to load with the reason.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::Notify;

use super::{Model, model::Body};
use crate::{nn::Graph, sandbox::Guest, schedule::Pool};

/// Why a name cannot be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    Unknown,
    /// It did not load; the log has the reason.
    Failed,
}

/// Decided at start; it does not change while the server runs.
#[derive(Default)]
pub struct Catalogue {
    ready: BTreeMap<String, Arc<Model>>,
    failed: BTreeMap<String, String>,
    graphs: BTreeMap<String, Graph>,
    /// A model begins to be refused for a while.
    pub tripped: Notify,
}

impl Catalogue {
    pub fn add(&mut self, model: Model) {
        self.ready.insert(model.name.clone(), Arc::new(model));
    }

    pub fn fail(&mut self, name: String, reason: String) {
        self.failed.insert(name, reason);
    }

    pub fn get(&self, name: &str) -> Result<&Arc<Model>, Unready> {
        self.ready.get(name).ok_or(match self.failed.contains_key(name) {
            true => Unready::Failed,
            false => Unready::Unknown,
        })
    }

    pub fn keep_graphs(&mut self, graphs: BTreeMap<String, Graph>) {
        self.graphs = graphs;
    }

    /// All graphs, by "model/graph".
    pub fn graphs(&self) -> &BTreeMap<String, Graph> {
        &self.graphs
    }

    pub fn has_failed(&self, name: &str) -> bool {
        self.failed.contains_key(name)
    }

    /// Sorted by name.
    pub fn ready(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.ready.values()
    }

    /// Names and reasons, sorted by name.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.failed.iter().map(|(name, reason)| (name.as_str(), reason.as_str()))
    }

    /// Drops instances that have long been idle.
    pub fn sweep(&self) {
        self.pools().for_each(|pool| pool.sweep());
    }

    /// Drops all idle instances.
    pub fn clear(&self) {
        self.pools().for_each(|pool| pool.clear());
    }

    /// Instances and large tensors thrown away so far.
    pub fn discarded(&self) -> u64 {
        let discarded = |pool: &Arc<Pool<Guest>>| {
            let usage = pool.factory().usage();
            usage.instances_discarded.load(Ordering::Relaxed)
                + usage.large_freed.load(Ordering::Relaxed)
        };
        self.pools().map(discarded).sum()
    }

    /// Calls that have an instance now.
    pub fn busy(&self) -> usize {
        self.pools().map(|pool| pool.busy()).sum()
    }

    fn pools(&self) -> impl Iterator<Item = &Arc<Pool<Guest>>> {
        self.ready().filter_map(|model| match &model.body {
            Body::Component(pool) => Some(pool),
            Body::Graph(_) => None,
        })
    }
}
