//! Who computes next on a thread: models take turns, each as its weight says, however many calls each
//! of them has there. A call holds the thread while it computes, not while it waits.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::fair::{FairQueue, Flow};

/// While two flows have computed on a thread within this time, calls wait for their turns; a flow that
/// is alone there never does.
const RECENT: Duration = Duration::from_millis(20);
/// After a call has computed for this long, the thread looks for new messages before the next one does.
const LONG: Duration = Duration::from_micros(200);

/// The fair queue of one thread.
#[derive(Debug, Default)]
pub struct RunQueue(Mutex<ReadyCalls>);

/// Calls that are ready to compute, and who has computed lately. It reads no clock.
#[derive(Debug, Default)]
struct ReadyCalls {
    /// By flow, in the order in which they became ready.
    calls: FairQueue<u64, Waker>,
    /// Calls that have become ready so far.
    arrivals: u64,
    /// The flow that computed last, and until when.
    last: Option<Computed>,
    /// When the last flow other than that one ended.
    other: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Computed {
    flow: usize,
    until: Instant,
}

impl ReadyCalls {
    /// Whether another flow has computed here lately.
    fn contended(&self, flow: Flow, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) < RECENT;
        match self.last {
            Some(last) if last.flow != flow.index => lately(last.until),
            _ => self.other.is_some_and(lately),
        }
    }

    /// A call of `flow` is ready. Gives its key.
    fn join(&mut self, flow: Flow, waker: Waker) -> u64 {
        let key = self.arrivals;
        self.arrivals += 1;
        self.calls.push(flow, key, waker);
        key
    }

    /// A call of `flow` has computed from `began` for `spent`.
    fn charge(&mut self, flow: Flow, began: Instant, spent: Duration) {
        let until = began + spent;
        self.calls.serve(flow);
        self.calls.charge(flow, spent, until);
        if let Some(last) = self.last
            && last.flow != flow.index
        {
            self.other = Some(last.until);
        }
        self.last = Some(Computed { flow: flow.index, until });
    }

    /// Wakes the call whose turn it is now.
    fn wake_first(&self) {
        if let Some(first) = self.calls.first() {
            first.value.wake_by_ref();
        }
    }
}

impl RunQueue {
    fn ready(&self) -> MutexGuard<'_, ReadyCalls> {
        // Nothing between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call's way through a thread's queue.
#[derive(Debug)]
pub struct QueuedCall {
    queue: Arc<RunQueue>,
    flow: Flow,
    /// While it is ready and waits for its turn.
    key: Option<u64>,
}

impl QueuedCall {
    pub fn new(queue: Arc<RunQueue>, flow: Flow) -> Self {
        Self { queue, flow, key: None }
    }

    /// Lets the call compute if it is its turn, and says how long it did.
    pub fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        compute: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> (Poll<T>, Duration) {
        let began = Instant::now();
        if !self.is_next(context.waker(), began) {
            return (Poll::Pending, Duration::ZERO);
        }
        let polled = compute(context);
        let spent = began.elapsed();
        let mut ready = self.queue.ready();
        ready.charge(self.flow, began, spent);
        if spent < LONG {
            ready.wake_first();
        } else if !ready.calls.is_empty() {
            drop(ready);
            let queue = self.queue.clone();
            // Woken at once, they would follow each other without end, and the runtime would hear of
            // nobody else's call.
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                queue.ready().wake_first();
            });
        }
        (polled, spent)
    }

    fn is_next(&mut self, waker: &Waker, now: Instant) -> bool {
        let mut ready = self.queue.ready();
        let key = match self.key {
            Some(key) => {
                if let Some(kept) = ready.calls.get_mut(self.flow.index, &key) {
                    kept.clone_from(waker);
                }
                key
            }
            None => {
                let alone = ready.calls.is_empty();
                if alone && !ready.contended(self.flow, now) {
                    return true;
                }
                let key = ready.join(self.flow, waker.clone());
                self.key = Some(key);
                if alone {
                    // Others that have just come get to say so first.
                    waker.wake_by_ref();
                    return false;
                }
                key
            }
        };
        if ready.calls.first().is_some_and(|first| first.key == key) {
            ready.calls.remove(self.flow.index, &key);
            self.key = None;
            return true;
        }
        ready.wake_first();
        false
    }
}

impl Drop for QueuedCall {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut ready = self.queue.ready();
            ready.calls.remove(self.flow.index, &key);
            // It may have been the one that was woken.
            ready.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Flow = Flow { index: 0, weight: 1 };
    const OTHER: Flow = Flow { index: 1, weight: 1 };
    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_flow_with_many_calls_computes_no_more_than_one_with_few() {
        let (mut ready, mut now) = (ReadyCalls::default(), Instant::now());
        let join = |ready: &mut ReadyCalls, flow| ready.join(flow, Waker::noop().clone());
        for _ in 0..30 {
            join(&mut ready, ONE);
        }
        join(&mut ready, OTHER);
        let mut computed = [0, 0];
        for _ in 0..100 {
            let first = ready.calls.first().unwrap();
            let (key, flow) = (first.key, if first.flow == 0 { ONE } else { OTHER });
            ready.calls.remove(flow.index, &key);
            ready.charge(flow, now, MILLISECOND);
            now += MILLISECOND;
            computed[flow.index] += 1;
            join(&mut ready, flow);
        }
        assert_eq!(computed, [50, 50]);
    }

    #[test]
    fn calls_of_one_flow_compute_in_the_order_in_which_they_became_ready() {
        let mut ready = ReadyCalls::default();
        let joined = [(); 3].map(|()| ready.join(ONE, Waker::noop().clone()));
        let mut order = Vec::new();
        while let Some(first) = ready.calls.first() {
            let key = first.key;
            order.push(key);
            ready.calls.remove(0, &key);
        }
        assert_eq!(order, joined);
    }

    #[test]
    fn a_flow_alone_never_waits() {
        let (mut ready, now) = (ReadyCalls::default(), Instant::now());
        ready.charge(ONE, now, MILLISECOND);
        assert!(!ready.contended(ONE, now + MILLISECOND));
        assert!(ready.contended(OTHER, now + 2 * MILLISECOND));
        ready.charge(OTHER, now + MILLISECOND, MILLISECOND);
        assert!(ready.contended(ONE, now + 3 * MILLISECOND));
        assert!(ready.contended(OTHER, now + 3 * MILLISECOND));
        let later = now + RECENT + 3 * MILLISECOND;
        assert!(!ready.contended(ONE, later) && !ready.contended(OTHER, later));
    }
}
