//! Refuses a model's calls for a while after too many failed in a row, so that a broken model costs
//! its callers nothing. It recovers by itself: after the pause calls are let through again, and the
//! first one decides.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The first pause; it doubles with every failure after it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The state of one model.
#[derive(Debug)]
pub struct Breaker {
    /// So many failures in a row open it.
    most: usize,
    failures: AtomicUsize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    until: Option<Instant>,
    /// Pauses since the last success.
    pauses: u32,
}

impl Breaker {
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), failures: AtomicUsize::new(0), open: Mutex::default() }
    }

    /// How long calls are still refused; None where they are let through.
    pub fn refuses(&self, now: Instant) -> Option<Duration> {
        // One read for a model that works.
        if self.failures.load(Ordering::Relaxed) < self.most {
            return None;
        }
        let until = self.lock().until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// A call was answered.
    pub fn success(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            *self.lock() = Open::default();
        }
    }

    /// A call trapped or ran out of time. True where that begins a pause.
    pub fn failure(&self, now: Instant) -> bool {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < self.most {
            return false;
        }
        let mut open = self.lock();
        // Calls that were under way when the pause began do not make it longer.
        if open.until.is_some_and(|until| now < until) {
            return false;
        }
        let factor = 1u32.checked_shl(open.pauses).unwrap_or(u32::MAX);
        let pause = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        *open = Open { until: Some(now + pause), pauses: open.pauses.saturating_add(1).min(31) };
        true
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing between lock and unlock can leave it half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn failures_in_a_row_open_it_and_a_success_closes_it() {
        let (breaker, now) = (Breaker::new(3), Instant::now());
        assert!(!breaker.failure(now) && !breaker.failure(now));
        breaker.success();
        assert!(!breaker.failure(now) && !breaker.failure(now));
        assert_eq!(breaker.refuses(now), None);
        assert!(breaker.failure(now));
        assert_eq!(breaker.refuses(now), Some(SECOND));
        assert_eq!(breaker.refuses(now + SECOND), None, "it recovers by itself");
        breaker.success();
        assert!(!breaker.failure(now + SECOND));
    }

    #[test]
    fn each_pause_is_twice_the_last_up_to_a_minute() {
        let (breaker, mut now) = (Breaker::new(1), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(breaker.failure(now));
            assert!(!breaker.failure(now), "a pause is not made longer by calls under way");
            assert_eq!(breaker.refuses(now), Some(seconds * SECOND));
            now += seconds * SECOND;
        }
    }
}
