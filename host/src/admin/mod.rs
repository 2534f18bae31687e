//! The second listener, for operators: metrics.
//!
//! - [`metrics`]: what is counted, and as which metrics
//! - [`listener`]: where Prometheus reads it

pub mod listener;
pub mod metrics;

use std::sync::Arc;

use crate::{ledger::Ledger, repository::Catalogue};

/// What metrics are about.
pub struct Measured {
    pub catalogue: Arc<Catalogue>,
    pub ledger: Arc<Ledger>,
    /// Asked at each reading.
    pub callers: Box<dyn Fn() -> Callers + Send + Sync>,
}

/// Who calls at the main listener.
pub struct Callers {
    /// Connections that are open.
    pub open: usize,
    /// Connections that have ended, by reason.
    pub ended: Vec<(&'static str, u64)>,
    /// Replies that were given up.
    pub untaken: u64,
}
