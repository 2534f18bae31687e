//! Tiny Model Server: a model server whose models are WebAssembly components.
//!
//! # Layout
//!
//! Three rings, arrows pointing inward only: transport -> schedule -> sandbox and nn.
//!
//! - [`grpc`]: the transport ring: the two protocols, health, reflection, the listeners
//! - [`models`]: what is served: folders at start, the catalogue, a call to a model
//! - [`schedule`]: the schedule ring: workers, permits, instances
//! - [`sandbox`]: the sandbox ring: components in wasmtime
//! - [`nn`]: native inference: tensors, graphs, backends
//! - [`edf`]: the queue of both rings: earliest deadline first
//! - [`data`]: a request's data and a model's result, as they pass between the rings
//! - [`limits`]: the limits of a model, and their defaults
//! - [`metrics`]: what the server counts
//! - [`config`]: flags, variables, tms.toml and model.toml
//! - [`serve`]: `tms serve` from settings to exit
//! - [`build`], [`check`], [`call`]: `tms build`, `tms check` and `tms call`
//! - [`logging`]: the log's format and level

pub mod build;
pub mod call;
pub mod check;
pub mod config;
pub mod data;
pub mod edf;
pub mod grpc;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod models;
pub mod nn;
pub mod sandbox;
pub mod schedule;
pub mod serve;
