//! Work that blocks and takes a core for long, such as reading a large file: on threads of its own, as
//! many at once as there are cores.

use std::thread;

use tokio::sync::{Semaphore, oneshot};

pub struct Cores {
    free: Semaphore,
    count: usize,
}

impl Default for Cores {
    fn default() -> Self {
        let count = thread::available_parallelism().map_or(1, usize::from);
        Self { free: Semaphore::new(count), count }
    }
}

impl Cores {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Does the work as soon as a core is free.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        // It is never closed.
        let _core = self.free.acquire().await;
        in_thread(work).await
    }
}

/// Runs what blocks on a thread of its own. The server may stop meanwhile.
pub async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (sender, done) = oneshot::channel();
    thread::Builder::new()
        .name("tms-load".into())
        // Nobody may be waiting any more.
        .spawn(move || drop(sender.send(work())))
        .map_err(|e| format!("a thread cannot start: {e}"))?;
    done.await.map_err(|_| "loading it broke down".into())
}
