//! Who computes next on a thread: models take turns, each as its weight says, however many calls each
//! of them has there. A call holds the turn while it computes, not while it waits.
//!
//! This is start-time fair queueing (Goyal, Vin and Cheng, 1996): a model's virtual time is what it has
//! computed, divided by its weight; the model that is furthest behind is next; one that comes back
//! after a pause starts where the others are, so that nobody saves up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// While two models have computed on a thread within this time, calls wait for their turns; a model that
/// is alone there never does.
const RECENT: Duration = Duration::from_millis(20);
/// After one has computed for so long, the thread looks for new messages before the next one does.
const LONG: Duration = Duration::from_micros(200);
/// The part of a nanosecond that virtual time is counted in, so that division by a weight is exact
/// enough.
const SCALE: u64 = 1024;

/// A model among the others: its number, and how much of the CPU it is to have beside them.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub index: usize,
    pub weight: u32,
}

/// The turns of one thread.
#[derive(Debug, Default)]
pub struct Turns(Mutex<Line>);

/// Calls that are ready to compute, by model. It reads no clock.
#[derive(Debug, Default)]
struct Line {
    /// By the members' indices.
    models: Vec<Standing>,
    /// Models with calls that are ready.
    ready: Vec<usize>,
    /// Where the model that was served last had begun: no model starts further behind.
    now: u64,
    next_call: u64,
    /// The model that computed last, and when; and the last other one.
    last: Option<(usize, Instant)>,
    other: Option<Instant>,
}

#[derive(Debug, Default)]
struct Standing {
    virtual_time: u64,
    calls: VecDeque<(u64, Waker)>,
}

impl Line {
    fn standing(&mut self, model: usize) -> &mut Standing {
        if model >= self.models.len() {
            self.models.resize_with(model + 1, Standing::default);
        }
        &mut self.models[model]
    }

    /// Whether another model has computed here lately.
    fn contended(&self, model: usize, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) < RECENT;
        match self.last {
            Some((last, at)) if last != model => lately(at),
            _ => self.other.is_some_and(lately),
        }
    }

    /// A call of `model` is ready.
    fn join(&mut self, model: usize, call: u64, waker: Waker) {
        let now = self.now;
        let standing = self.standing(model);
        if standing.calls.is_empty() {
            standing.virtual_time = standing.virtual_time.max(now);
            self.ready.push(model);
        }
        self.models[model].calls.push_back((call, waker));
    }

    /// The call whose turn it is: of the model that is furthest behind, the one that came first.
    fn first(&self) -> Option<(u64, &Waker)> {
        let model = self.ready.iter().min_by_key(|model| self.models[**model].virtual_time)?;
        self.models[*model].calls.front().map(|(call, waker)| (*call, waker))
    }

    /// A call is not ready any more.
    fn leave(&mut self, model: usize, call: u64) {
        let Some(standing) = self.models.get_mut(model) else { return };
        standing.calls.retain(|(ready, _)| *ready != call);
        if standing.calls.is_empty() {
            self.ready.retain(|ready| *ready != model);
        }
    }

    /// A call of `member` has computed from `began` for `spent`.
    fn charge(&mut self, member: Member, began: Instant, spent: Duration) {
        let nanoseconds = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        let cost = nanoseconds.saturating_mul(SCALE) / u64::from(member.weight.max(1));
        let now = self.now;
        let standing = self.standing(member.index);
        let start = standing.virtual_time.max(now);
        standing.virtual_time = start.saturating_add(cost);
        self.now = start;
        let ended = began + spent;
        if let Some((last, at)) = self.last
            && last != member.index
        {
            self.other = Some(at);
        }
        self.last = Some((member.index, ended));
    }
}

impl Turns {
    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the call whose turn it is now.
    fn next(line: &Line) {
        if let Some((_, waker)) = line.first() {
            waker.wake_by_ref();
        }
    }
}

/// One call's way through a thread's turns.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    member: Member,
    /// Its number on this thread, once it has one.
    call: Option<u64>,
    /// It is ready and waits for its turn.
    waits: bool,
}

impl Turn {
    pub fn new(turns: Arc<Turns>, member: Member) -> Self {
        Self { turns, member, call: None, waits: false }
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
        let mut line = self.turns.line();
        line.charge(self.member, began, spent);
        if spent < LONG {
            Turns::next(&line);
        } else if !line.ready.is_empty() {
            drop(line);
            let turns = self.turns.clone();
            // Woken at once, they would follow each other without end, and the runtime would hear of
            // nobody else's call.
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                Turns::next(&turns.line());
            });
        }
        (polled, spent)
    }

    fn is_next(&mut self, waker: &Waker, now: Instant) -> bool {
        let model = self.member.index;
        let mut line = self.turns.line();
        let call = *self.call.get_or_insert_with(|| {
            line.next_call += 1;
            line.next_call
        });
        if !self.waits {
            let alone = line.ready.is_empty();
            if alone && !line.contended(model, now) {
                return true;
            }
            line.join(model, call, waker.clone());
            self.waits = true;
            if alone {
                // Others that have just come get to say so first.
                waker.wake_by_ref();
                return false;
            }
        } else if let Some((_, kept)) =
            line.models[model].calls.iter_mut().find(|(ready, _)| *ready == call)
        {
            kept.clone_from(waker);
        }
        if line.first().is_some_and(|(first, _)| first == call) {
            line.leave(model, call);
            self.waits = false;
            return true;
        }
        Turns::next(&line);
        false
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (true, Some(call)) = (self.waits, self.call) {
            let mut line = self.turns.line();
            line.leave(self.member.index, call);
            // It may have been the one that was woken.
            Turns::next(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Member = Member { index: 0, weight: 1 };
    const OTHER: Member = Member { index: 1, weight: 1 };
    const HEAVY: Member = Member { index: 2, weight: 3 };
    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Serves calls of 1 ms for a while; each model always has so many that are ready. How often
    /// each was served.
    fn serve(members: &[(Member, u64)], rounds: u32) -> Vec<u32> {
        let (mut line, mut now) = (Line::default(), Instant::now());
        for (member, calls) in members {
            for call in 0..*calls {
                line.join(member.index, member.index as u64 * 1000 + call, Waker::noop().clone());
            }
        }
        let mut served = vec![0; members.len()];
        for _ in 0..rounds {
            let (call, _) = line.first().unwrap();
            let at = members.iter().position(|(m, _)| m.index as u64 == call / 1000).unwrap();
            let member = members[at].0;
            line.leave(member.index, call);
            line.charge(member, now, MILLISECOND);
            now += MILLISECOND;
            line.join(member.index, call, Waker::noop().clone());
            served[at] += 1;
        }
        served
    }

    #[test]
    fn a_model_with_many_calls_has_no_more_than_one_with_few() {
        assert_eq!(serve(&[(ONE, 30), (OTHER, 1)], 100), [50, 50]);
    }

    #[test]
    fn weights_divide_the_time() {
        assert_eq!(serve(&[(ONE, 9), (HEAVY, 2)], 400), [100, 300]);
    }

    #[test]
    fn calls_of_one_model_are_served_in_their_order() {
        let mut line = Line::default();
        for call in 1..=3 {
            line.join(0, call, Waker::noop().clone());
        }
        let mut order = Vec::new();
        while let Some((call, _)) = line.first() {
            order.push(call);
            line.leave(0, call);
        }
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn nobody_saves_up_time() {
        let (mut line, mut now) = (Line::default(), Instant::now());
        for _ in 0..1000 {
            line.charge(ONE, now, MILLISECOND);
            now += MILLISECOND;
        }
        // The other one comes after a second of nothing: it is next, and not for a second.
        let mut turns = Vec::new();
        for _ in 0..10 {
            line.join(0, 1, Waker::noop().clone());
            line.join(1, 2, Waker::noop().clone());
            let (call, _) = line.first().unwrap();
            let member = if call == 1 { ONE } else { OTHER };
            line.leave(0, 1);
            line.leave(1, 2);
            line.charge(member, now, MILLISECOND);
            now += MILLISECOND;
            turns.push(call);
        }
        assert_eq!(turns.iter().filter(|call| **call == 2).count(), 5, "{turns:?}");
    }

    #[test]
    fn a_model_alone_never_waits() {
        let (mut line, now) = (Line::default(), Instant::now());
        line.charge(ONE, now, MILLISECOND);
        assert!(!line.contended(0, now + MILLISECOND));
        assert!(line.contended(1, now + 2 * MILLISECOND));
        line.charge(OTHER, now + MILLISECOND, MILLISECOND);
        assert!(line.contended(0, now + 3 * MILLISECOND));
        assert!(line.contended(1, now + 3 * MILLISECOND));
        let later = now + RECENT + 3 * MILLISECOND;
        assert!(!line.contended(0, later) && !line.contended(1, later));
    }
}
