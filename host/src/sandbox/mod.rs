//! The sandbox ring: components in wasmtime. The only folder that names wasmtime.
//!
//! - [`engine`]: one engine a server: its configuration, the pool's size, the epoch's ticker
//! - [`inspect`]: what a file is and how many pool slots it needs, before any engine exists
//! - [`cache`]: compiled code on disk
//! - [`guest`]: a loaded component, ready to be instantiated
//! - [`instance`]: one instance: a store of its own, one call at a time
//! - [`clock`]: CPU time of a call
//! - [`snapshot`]: a component that starts after its `init`
//! - [`store`]: what a store holds: limits, handles, the model's graphs
//! - [`host`]: the host's side of each imported interface, one a file

mod cache;
mod clock;
mod engine;
mod error;
mod guest;
mod host;
mod inspect;
mod instance;
mod snapshot;
mod store;

pub use cache::CodeCache;
pub use engine::{PoolSize, Sandbox};
pub use error::{CallError, LoadError};
pub use guest::{Guest, GuestOptions};
pub use host::grants::Grants;
pub use inspect::{Footprint, inspect};
pub use instance::Instance;
pub use store::Usage;
