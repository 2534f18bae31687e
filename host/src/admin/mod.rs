//! The second listener, for operators: metrics.
//!
//! - [`metrics`]: what is counted, and how Prometheus reads it
//! - [`page`]: the listener

pub mod metrics;
pub mod page;
