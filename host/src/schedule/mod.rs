//! The schedule ring: who runs when, and on which worker. It knows neither gRPC nor Wasm; its tests
//! need neither.
//!
//! - [`workers`]: the workers and which one a connection is homed on
//! - [`pool`]: a model's instances on all workers: permits first, then an instance

pub mod pool;
pub mod workers;

pub use pool::{Factory, Lease, Pool, PoolError, PoolLimits};
pub use workers::{WorkerId, Workers};
