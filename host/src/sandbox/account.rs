//! What a model's instances use: counted for metrics, and against each instance's limit.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// What is worth giving back to the system when it is gone, in bytes.
const LARGE: usize = 16 << 20;

/// What a model's instances use, and what became of them.
#[derive(Debug, Default)]
pub struct Usage {
    /// Host-side bytes of all tensors.
    pub tensor_bytes: AtomicUsize,
    /// Bytes of tensors that guests have read: each is a copy into a guest.
    pub bytes_read: AtomicU64,
    pub log_lines_dropped: AtomicU64,
    pub instances_created: AtomicU64,
    pub instances_discarded: AtomicU64,
    /// Tensors of more than [`LARGE`] that are gone.
    pub large_freed: AtomicU64,
}

/// What one instance uses.
#[derive(Debug)]
pub struct Account {
    /// Linear memory and host-side tensors, in bytes.
    used: AtomicUsize,
    usage: Arc<Usage>,
}

impl Account {
    pub fn new(usage: Arc<Usage>) -> Self {
        usage.instances_created.fetch_add(1, Ordering::Relaxed);
        Self { used: AtomicUsize::new(0), usage }
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The guest reads so many bytes of a tensor.
    pub fn read(&self, bytes: usize) {
        self.usage.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts `bytes` on the host's side until the charge is gone. None where that exceeds `limit`.
    pub fn charge(self: &Arc<Self>, bytes: usize, limit: usize) -> Option<Charge> {
        if !self.add(bytes, limit) {
            return None;
        }
        self.usage.tensor_bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(Charge { bytes, account: self.clone() })
    }

    /// Adds `bytes` of linear memory or of tensors unless that exceeds `limit`.
    pub fn add(&self, bytes: usize, limit: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= limit;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

/// An instance is gone with the last of what it used: its store, and tensors that a native run still
/// holds. One that failed to start is counted too.
impl Drop for Account {
    fn drop(&mut self) {
        self.usage.instances_discarded.fetch_add(1, Ordering::Relaxed);
    }
}

/// Bytes of a host-side tensor, counted as the instance's until its last handle is gone.
#[derive(Debug)]
pub struct Charge {
    bytes: usize,
    account: Arc<Account>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.usage.tensor_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.bytes > LARGE {
            self.account.usage.large_freed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
