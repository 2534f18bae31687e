//! The second listener, for operators: metrics.
//!
//! - [`metrics`]: what is counted, and as which metrics
//! - [`listener`]: where Prometheus reads it

pub mod listener;
pub mod metrics;

use std::sync::Arc;

use crate::{grpc::connections::Connections, ledger::Ledger, repository::Catalogue};

/// What metrics are about.
pub struct Measured {
    pub catalogue: Arc<Catalogue>,
    pub ledger: Arc<Ledger>,
    pub connections: Arc<Connections>,
}
