//! The schedule ring: who runs when, and on which worker. It knows neither gRPC nor Wasm; its tests
//! need neither.
//!
//! - [`workers`]: the workers and which one a connection is homed on
//! - [`turns`]: which model computes next on a worker
//! - [`breaker`]: refuses a model that fails again and again
//! - [`pool`]: a model's instances on all workers, and the calls that wait for one

pub mod breaker;
pub mod pool;
pub mod turns;
pub mod workers;

pub use breaker::Breaker;
pub use pool::{Factory, Lease, Pool, PoolError, PoolLimits};
pub use turns::Member;
pub use workers::{WorkerId, Workers};
