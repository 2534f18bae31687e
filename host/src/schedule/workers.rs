//! The workers, and which one a connection is homed on.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Index of a worker, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(pub usize);

/// A fixed number of workers; connections are homed on them in turn.
#[derive(Debug)]
pub struct Workers {
    count: usize,
    next: AtomicUsize,
}

impl Workers {
    pub fn new(count: usize) -> Self {
        Self {
            count: count.max(1),
            next: AtomicUsize::new(0),
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The home of a new connection: n connections in a row see n workers.
    pub fn home(&self) -> WorkerId {
        WorkerId(self.next.fetch_add(1, Ordering::Relaxed) % self.count)
    }

    /// The id that GetPID gives: different for every worker, and after a restart too.
    pub fn pid(&self, worker: WorkerId) -> u64 {
        u64::from(std::process::id()) * 10_000 + worker.0 as u64
    }
}
