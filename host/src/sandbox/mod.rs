//! The sandbox ring: components in wasmtime. The only folder that names wasmtime.
//!
//! - [`engine`]: one engine a server: its configuration, the pool's size, the epoch's ticker
//! - [`inspect`]: what a file is and how many pool slots it needs, before any engine exists
//! - [`cache`]: compiled code on disk
//! - [`guest`]: a loaded component, ready to be instantiated
//! - [`instance`]: one instance: a store of its own, one call at a time
//! - [`clock`]: CPU time of a call
//! - [`grants`]: the way out of the sandbox
//! - [`snapshot`]: a component that starts after its `init`
//! - [`state`]: what a store holds: limits, handles, the model's graphs
//! - [`bindings`]: generated from wit/
//! - [`tensors`], [`graphs`], [`wasi_nn`], [`log`]: the host's side of each imported interface

mod bindings;
mod cache;
mod clock;
mod engine;
mod error;
mod grants;
mod graphs;
mod guest;
mod inspect;
mod instance;
mod log;
mod snapshot;
mod state;
mod tensors;
mod wasi_nn;

pub use cache::CodeCache;
pub use engine::{PoolSize, Sandbox};
pub use error::{CallError, LoadError};
pub use grants::Grants;
pub use guest::{Guest, GuestOptions};
pub use inspect::{Footprint, inspect};
pub use instance::Instance;
pub use state::Usage;
