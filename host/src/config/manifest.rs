//! `model.toml`: what a model's author says of it. It may lower limits and choose a device; what it
//! asks for beyond that is the operator's to grant.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::config::limits::LimitSettings;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// One sentence for people.
    pub description: Option<String>,
    /// Whether an instance answers one call after another, or one only.
    pub reuse: Option<Reuse>,
    /// Start instances from a snapshot of one after its `init`.
    pub snapshot: Option<bool>,
    /// What it needs of the world outside; the operator grants it or not.
    #[serde(default)]
    pub asks: Asks,
    /// Lowers the operator's limits.
    #[serde(default)]
    pub limits: LimitSettings,
    // The next seven are for all graphs of the model.
    pub device: Option<String>,
    pub fallback: Option<String>,
    pub backend: Option<String>,
    pub sessions: Option<usize>,
    pub batch: Option<bool>,
    pub max_batch: Option<usize>,
    pub max_batch_memory: Option<ByteSize>,
    /// For one graph, by name.
    #[serde(default)]
    pub graphs: BTreeMap<String, GraphSettings>,
}

/// What becomes of an instance after a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reuse {
    /// It answers the next one, never two at once.
    #[default]
    Serial,
    /// It goes: every call has a fresh one.
    Never,
}

/// What a model asks for beyond the sandbox.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asks {
    /// Folders to read, by the path under which the guest opens them.
    pub folders: Vec<String>,
    /// Environment variables.
    pub env: Vec<String>,
    /// Hosts to connect to over TCP, as "name:port".
    pub hosts: Vec<String>,
}

/// How a graph is served.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphSettings {
    /// `cpu`, `cuda:N` or `tensorrt:N`.
    pub device: Option<String>,
    /// `cpu`: where the device is missing, serve on the CPU instead of refusing to start.
    pub fallback: Option<String>,
    /// `onnxruntime` or `tract`; default: ONNX Runtime where its library is found.
    pub backend: Option<String>,
    /// Native sessions: so many runs of the graph go on at once.
    pub sessions: Option<usize>,
    /// Several calls become one native run; checked at start.
    pub batch: Option<bool>,
    /// Rows of one run, over all its calls.
    pub max_batch: Option<usize>,
    /// Bytes of all inputs of one run.
    pub max_batch_memory: Option<ByteSize>,
}

impl Manifest {
    /// What holds for all graphs of the model.
    pub fn graph(&self) -> GraphSettings {
        GraphSettings {
            device: self.device.clone(),
            fallback: self.fallback.clone(),
            backend: self.backend.clone(),
            sessions: self.sessions,
            batch: self.batch,
            max_batch: self.max_batch,
            max_batch_memory: self.max_batch_memory,
        }
    }
}

impl GraphSettings {
    /// These settings, and `base` for what they leave open.
    pub fn over(&self, base: &Self) -> Self {
        Self {
            device: self.device.clone().or_else(|| base.device.clone()),
            fallback: self.fallback.clone().or_else(|| base.fallback.clone()),
            backend: self.backend.clone().or_else(|| base.backend.clone()),
            sessions: self.sessions.or(base.sessions),
            batch: self.batch.or(base.batch),
            max_batch: self.max_batch.or(base.max_batch),
            max_batch_memory: self.max_batch_memory.or(base.max_batch_memory),
        }
    }
}
