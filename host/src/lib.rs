//! Tiny Model Server: a model server whose models are WebAssembly components.
//!
//! # Layout
//!
//! Rings, arrows pointing inward only: grpc and admin -> repository and models -> schedule and
//! sandbox -> nn.
//!
//! - [`cli`]: the command line, one verb a file
//! - [`server`]: `tms serve` from settings to exit
//! - [`config`]: flags, variables, tms.toml and model.toml; the limits of a model
//! - [`grpc`]: the main listener: the two protocols, health, reflection
//! - [`admin`]: the second listener: metrics
//! - [`repository`]: from names to models: folders, plans, loading, the catalogue
//! - [`models`]: one served model: what it takes, a call to it, what became of the call
//! - [`schedule`]: who runs when: workers, the fair order, a model's instances
//! - [`sandbox`]: components in wasmtime
//! - [`nn`]: native inference: tensors, graphs, backends
//!
//! Used by several rings, importing none of them (but that [`data`] is made of nn's tensors):
//!
//! - [`allocator`]: how much memory it keeps
//! - [`edf`]: a queue: earliest deadline first
//! - [`fair`]: a queue: fair between flows, by weight
//! - [`breaker`]: refuses what fails again and again
//! - [`child`]: processes of this program that do what may crash
//! - [`cores`]: work that blocks, on threads of its own
//! - [`data`]: a request's data and a model's result
//! - [`details`]: what a call has beside them: parts of its result, other models that it may call
//! - [`ledger`]: one account of the server's memory
//! - [`logging`]: the log's format and level
//! - [`machine`]: how much memory there is
//! - [`seldom`]: what is said in the log once in a while
//! - [`text`]: texts for people, bounded

pub mod admin;
pub mod allocator;
pub mod breaker;
pub mod child;
pub mod cli;
pub mod config;
pub mod cores;
pub mod data;
pub mod details;
pub mod edf;
pub mod fair;
pub mod grpc;
pub mod ledger;
pub mod logging;
pub mod machine;
pub mod models;
pub mod nn;
pub mod repository;
pub mod sandbox;
pub mod schedule;
pub mod seldom;
pub mod server;
pub mod text;
