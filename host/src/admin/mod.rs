//! The second listener, for operators: metrics.
//!
//! - [`metrics`]: what is counted, and as which metrics
//! - [`listener`]: where Prometheus reads it

pub mod listener;
pub mod metrics;
