//! The sandbox ring: components in wasmtime. The only folder that names wasmtime.
//!
//! From a file to code:
//! - [`engine`]: one engine a server: its configuration and the pool's size
//! - [`inspect`]: what a file is and how much it takes, before wasmtime sees it
//! - [`expand`]: the same with nested components unrolled
//! - [`cache`]: compiled code on disk
//! - [`compile`]: from bytes to code that is linked with the host, in a process of its own
//! - [`snapshot`]: a component that starts after its `init`
//!
//! From code to an answer:
//! - [`guest`]: a loaded component, ready to be instantiated
//! - [`store`]: what an instance holds: limits, handles, the model's graphs
//! - [`account`]: what instances use
//! - [`exports`]: what a component exports, in each version of the interface
//! - [`instance`]: one instance: one call at a time
//! - [`exchange`]: a request as a guest sees it, and what it gives
//! - [`clock`], [`ticker`]: the time of a call; what interrupts it
//! - [`error`]: how loading and calling can fail
//!
//! [`host`] is the host's side of each interface that components import, one a file.
//!
//! No two files import each other.

mod account;
mod cache;
mod clock;
pub mod compile;
mod engine;
mod error;
mod exchange;
mod expand;
mod exports;
mod guest;
mod host;
mod inspect;
mod instance;
mod snapshot;
mod store;
mod ticker;

pub use account::{Load, Usage};
pub use cache::CodeCache;
pub use compile::{Children, Compiling, Source};
pub use engine::{PoolSize, Sandbox};
pub use error::{CallError, LoadError};
pub use exchange::media_type;
pub use guest::{Asks, Guest, GuestOptions};
pub use host::grants::Grants;
pub use inspect::{Footprint, inspect};
pub use instance::Instance;
