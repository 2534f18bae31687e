//! `[model.NAME]` in tms.toml: what the operator says of one model.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::{GraphSettings, Process, Reuse, limits::LimitSettings};

/// `[model.NAME]`. What it says overrides the model's own model.toml.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// Sets the model's limits, up or down.
    pub limits: LimitSettings,
    /// What becomes of an instance after a call.
    pub reuse: Option<Reuse>,
    /// Whether instances start from a snapshot of one after its `init`.
    pub snapshot: Option<bool>,
    /// What the model gets of what it asks for.
    pub grants: Grants,
    /// Graphs of other models that this one may open, as "model/graph".
    pub graphs: Vec<String>,
    /// Other models that this one may call.
    pub models: Vec<String>,
    /// Its share of the CPU beside other models, when there is not enough; 1 where nothing is said.
    pub weight: Option<u32>,
    /// Where its own graphs run; where the server's do, if nothing is said.
    pub process: Option<Process>,
    /// How its own graphs are served.
    pub graph: GraphSettings,
}

/// `[model.NAME.grants]`: the way out of the sandbox, as far as the operator lets it go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// The guest's path of a folder, and the folder: to be read, never written.
    pub folders: BTreeMap<String, PathBuf>,
    /// Variables of the server's own environment.
    pub env: Vec<String>,
    /// Hosts to connect to over TCP, as "name:port".
    pub hosts: Vec<String>,
    /// Names of gRPC metadata that it sees of its calls.
    pub metadata: Vec<String>,
}
