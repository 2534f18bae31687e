//! CPU time of a call: counted on whatever thread polls the guest, so that waiting is free.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Used by one call at a time, on one thread at a time.
#[derive(Debug, Default)]
pub struct CpuClock {
    /// Nanoseconds of the polls that have ended.
    spent: AtomicU64,
    /// The thread's clock when the present poll began.
    since: AtomicU64,
}

impl CpuClock {
    /// Runs `call` and counts what it takes, from zero; not where there is no `limit`.
    pub async fn measure<F: Future>(&self, limit: Duration, call: F) -> F::Output {
        if limit == Duration::MAX {
            return call.await;
        }
        self.spent.store(0, Ordering::Relaxed);
        let mut call = pin!(call);
        poll_fn(|context| {
            self.since.store(thread_time(), Ordering::Relaxed);
            let polled = call.as_mut().poll(context);
            self.spent.store(self.nanoseconds(), Ordering::Relaxed);
            polled
        })
        .await
    }

    /// CPU time of the call so far. To be asked while it is polled, on that thread.
    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds())
    }

    fn nanoseconds(&self) -> u64 {
        let poll = thread_time().saturating_sub(self.since.load(Ordering::Relaxed));
        self.spent.load(Ordering::Relaxed).saturating_add(poll)
    }
}

/// CPU time of this thread in nanoseconds.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}
