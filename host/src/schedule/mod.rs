//! The schedule ring: who runs when, and on which worker. It knows neither gRPC nor Wasm; its tests
//! need neither.
//!
//! - [`workers`]: the workers and which one a connection is homed on
//! - [`breaker`]: refuses a model that fails again and again
//! - [`pool`]: a model's instances on all workers: permits first, then an instance

pub mod breaker;
pub mod pool;
pub mod workers;

pub use breaker::Breaker;
pub use pool::{Factory, Lease, Pool, PoolError, PoolLimits};
pub use workers::{WorkerId, Workers};
