//! The time of a call: until when it may last, and CPU time, counted on whatever thread polls the
//! guest, so that waiting is free.
//!
//! Most calls end before the epoch's first tick, and do not pay for what only longer ones need.
//! Reading a thread's clock is a system call: the count begins at the first tick, and what a call does
//! before, a millisecond or what one call of the host takes, is given to it. A timer is made where a
//! guest first waits.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    task::unconstrained,
    time::{Sleep, sleep_until},
};

use super::ticker::Ticker;

/// In place of a moment: the call has not met a tick yet.
const UNCOUNTED: u64 = u64::MAX;

/// The deadline passed.
pub struct Late;

/// Used by one call at a time, on one thread at a time.
pub struct CallClock {
    ticker: Arc<Ticker>,
    /// Nanoseconds of the polls that have ended.
    spent: AtomicU64,
    /// The thread's clock when the present poll began, or when the count did.
    since: AtomicU64,
    /// What moments are counted from.
    base: Instant,
    /// When the call must have ended, in microseconds. A guest that gives parts of its result has a new
    /// deadline for each.
    deadline: AtomicU64,
}

impl CallClock {
    pub fn new(ticker: Arc<Ticker>) -> Self {
        Self {
            ticker,
            spent: AtomicU64::new(0),
            since: AtomicU64::new(UNCOUNTED),
            base: Instant::now(),
            deadline: AtomicU64::new(0),
        }
    }

    /// The call must end by then instead.
    pub fn set_deadline(&self, deadline: Instant) {
        let after = deadline.saturating_duration_since(self.base).as_micros();
        self.deadline.store(u64::try_from(after).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn deadline(&self) -> Instant {
        let after = Duration::from_micros(self.deadline.load(Ordering::Relaxed));
        self.base.checked_add(after).unwrap_or(self.base)
    }

    /// Runs `call` until `deadline`, and counts what it takes from zero. The epoch ends a guest that
    /// computes, this one that waits inside a host call.
    pub async fn run<F: Future>(&self, deadline: Instant, call: F) -> Result<F::Output, Late> {
        self.spent.store(0, Ordering::Relaxed);
        self.since.store(UNCOUNTED, Ordering::Relaxed);
        self.set_deadline(deadline);
        let mut call = pin!(call);
        let mut timer = pin!(None::<Sleep>);
        let mut rings_at = deadline;
        poll_fn(|context| {
            self.ticker.guest_runs();
            if self.counts() {
                self.since.store(thread_time(), Ordering::Relaxed);
            }
            if let Poll::Ready(output) = call.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            if self.counts() {
                self.spent.store(self.nanoseconds(), Ordering::Relaxed);
            }
            let deadline = self.deadline();
            if timer.is_none() {
                timer.set(Some(sleep_until(deadline.into())));
                rings_at = deadline;
            }
            let Some(mut timer) = timer.as_mut().as_pin_mut() else { return Poll::Pending };
            if rings_at != deadline {
                timer.as_mut().reset(deadline.into());
                rings_at = deadline;
            }
            // It must fire also where the call has used up its task's share of polls.
            pin!(unconstrained(timer)).poll(context).map(|()| Err(Late))
        })
        .await
    }

    /// CPU time of the call so far. To be asked at every tick, while the call is polled, on that
    /// thread.
    pub fn spent(&self) -> Duration {
        if !self.counts() {
            self.since.store(thread_time(), Ordering::Relaxed);
        }
        Duration::from_nanos(self.nanoseconds())
    }

    /// CPU time that has been counted of the call so far.
    pub fn counted(&self) -> Duration {
        if self.counts() { Duration::from_nanos(self.nanoseconds()) } else { Duration::ZERO }
    }

    fn counts(&self) -> bool {
        self.since.load(Ordering::Relaxed) != UNCOUNTED
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

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> CallClock {
        CallClock::new(Ticker::start(wasmtime::Engine::default()).unwrap())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Works for so long, without a tick.
    fn compute(ms: u64) {
        let end = thread_time() + ms * 1_000_000;
        while thread_time() < end {}
    }

    #[tokio::test]
    async fn cpu_time_is_counted_from_the_first_tick_on() {
        let clock = clock();
        for _ in 0..2 {
            let call = clock.run(soon(), async {
                compute(5);
                assert!(clock.spent() < Duration::from_millis(5), "before the first tick");
                compute(5);
                tokio::task::yield_now().await;
                compute(5);
                clock.spent()
            });
            let spent = call.await.ok().unwrap();
            assert!(spent >= Duration::from_millis(10), "{spent:?}");
        }
    }

    #[tokio::test]
    async fn waiting_is_free_and_ends() {
        let clock = clock();
        let call = clock.run(soon(), async {
            clock.spent();
            tokio::time::sleep(Duration::from_millis(50)).await;
            clock.spent()
        });
        let spent = call.await.ok().unwrap();
        assert!(spent < Duration::from_millis(50), "{spent:?}");
        let deadline = Instant::now() + Duration::from_millis(20);
        assert!(clock.run(deadline, std::future::pending::<()>()).await.is_err());
        assert!(Instant::now() >= deadline);
    }

    #[tokio::test]
    async fn a_deadline_moves_both_ways() {
        let clock = clock();
        let began = Instant::now();
        let call = async {
            clock.set_deadline(soon());
            tokio::time::sleep(Duration::from_millis(50)).await;
            clock.set_deadline(Instant::now() + Duration::from_millis(20));
            std::future::pending::<()>().await;
        };
        assert!(clock.run(began + Duration::from_millis(10), call).await.is_err());
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(70) && took < Duration::from_secs(30), "{took:?}");
    }

    #[tokio::test]
    async fn a_call_that_always_yields_ends() {
        let deadline = Instant::now() + Duration::from_millis(20);
        let call = async {
            loop {
                tokio::task::consume_budget().await;
                tokio::task::yield_now().await;
            }
        };
        assert!(clock().run(deadline, call).await.is_err());
    }
}
