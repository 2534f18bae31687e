//! The schedule ring: who runs when, and on which worker. It knows neither gRPC nor Wasm; its tests
//! need neither.
//!
//! - [`workers`]: the workers and which one a connection is homed on
//! - [`fair`]: whose call computes next on a worker's thread
//! - [`pool`]: a model's instances on all workers, and the calls that wait for one

pub mod fair;
pub mod pool;
pub mod workers;

pub use pool::{Factory, Lease, Pool, PoolError, PoolLimits};
pub use workers::{WorkerId, Workers};
