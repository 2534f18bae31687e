//! `model.toml`: what a model's author says of it. It may lower limits and choose a device; what it
//! asks for beyond that is the operator's to grant.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::LimitSettings;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// One sentence for people.
    pub description: Option<String>,
    /// Lowers the operator's limits.
    #[serde(default)]
    pub limits: LimitSettings,
    // The next four are for all graphs of the model.
    pub device: Option<String>,
    pub fallback: Option<String>,
    pub backend: Option<String>,
    pub sessions: Option<usize>,
    /// For one graph, by name.
    #[serde(default)]
    pub graphs: BTreeMap<String, GraphSettings>,
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
}

impl Manifest {
    /// What holds for all graphs of the model.
    pub fn graph(&self) -> GraphSettings {
        GraphSettings {
            device: self.device.clone(),
            fallback: self.fallback.clone(),
            backend: self.backend.clone(),
            sessions: self.sessions,
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
        }
    }
}
