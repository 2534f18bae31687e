//! Who compiles when: components take places, in turn. A component that compiles for long, while
//! others wait for its place, is to give it up and to begin again later, with four times the time: so
//! those that take for ever keep none out that takes little, and however many they are, all that is
//! lost is a third of what was spent.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// How long a place is kept although others wait, at the first attempt.
const SLICE: Duration = Duration::from_secs(1);
/// How much longer at each attempt that follows.
const GROWTH: u32 = 4;

/// All places.
pub struct Places {
    cores: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those at their first attempt first, then those at their second; in order of arrival.
    waiting: BTreeMap<Turn, oneshot::Sender<Place>>,
    arrivals: u64,
    /// Places taken, by components at their first attempt and by others.
    taken: Count,
    /// Places that are about to be given up for somebody who waits.
    promised: usize,
}

#[derive(Clone, Copy, Default)]
struct Count {
    first: usize,
    again: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    attempt: u32,
    arrival: u64,
}

impl Places {
    /// Two for each core: one whose turn is long is at a lower priority, and keeps little from a short
    /// one beside it.
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self { cores: cores.max(1), state: Mutex::default() })
    }

    /// Waits for a place. Attempts are counted from 0.
    pub async fn place(self: &Arc<Self>, attempt: u32) -> Place {
        let (turn, place) = self.enter(attempt);
        // Who is not waited for any more leaves the queue.
        let _leaving = Leaving { places: self, turn };
        self.serve();
        match place.await {
            Ok(place) => place,
            // The sender is kept until it has sent.
            Err(_) => Place::new(self, attempt, &mut self.state()),
        }
    }

    fn enter(&self, attempt: u32) -> (Turn, oneshot::Receiver<Place>) {
        let (give, place) = oneshot::channel();
        let mut state = self.state();
        state.arrivals += 1;
        let turn = Turn { attempt, arrival: state.arrivals };
        state.waiting.insert(turn, give);
        (turn, place)
    }

    /// Gives free places to those whose turn it is.
    fn serve(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            let Some(turn) = state.next(self.cores) else { return };
            let Some(give) = state.waiting.remove(&turn) else { return };
            let place = Place::new(self, turn.attempt, &mut state);
            drop(state);
            // Where nobody waits any more, the place is free again.
            drop(give.send(place));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are never left half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whose turn it is, if there is a place for them. Half of the places are for first attempts only.
    fn next(&self, cores: usize) -> Option<Turn> {
        let turn = *self.waiting.keys().next()?;
        let Count { first, again } = self.taken;
        let free = first + again < 2 * cores && (turn.attempt == 0 || again < cores);
        free.then_some(turn)
    }

    /// How many wait who could have a place of this kind.
    fn takers(&self, of_first: bool, cores: usize) -> usize {
        let first = self.waiting.keys().take_while(|turn| turn.attempt == 0).count();
        let others = match of_first && self.taken.again >= cores {
            true => 0,
            false => self.waiting.len() - first,
        };
        first + others
    }
}

struct Leaving<'a> {
    places: &'a Places,
    turn: Turn,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let waited = self.places.state().waiting.remove(&self.turn);
        drop(waited);
    }
}

/// A place, while one component compiles.
pub struct Place {
    places: Arc<Places>,
    attempt: u32,
    since: Instant,
    /// Whether it is promised to somebody who waits.
    promised: AtomicBool,
    /// How many threads are its share of the cores, as things stood when it began.
    threads: usize,
}

impl Place {
    fn new(places: &Arc<Places>, attempt: u32, state: &mut State) -> Self {
        let taken = &mut state.taken;
        *(if attempt == 0 { &mut taken.first } else { &mut taken.again }) += 1;
        // Two where it might do with one: it may be the last to end.
        let threads = match state.waiting.is_empty() {
            true => (places.cores / (taken.first + taken.again)).max(2).min(places.cores),
            false => 1,
        };
        let (places, promised) = (places.clone(), AtomicBool::new(false));
        Self { places, attempt, since: Instant::now(), promised, threads }
    }

    /// How many threads it should have: all cores where nobody else is here, one where others wait.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Whether other components compile, or wait.
    pub fn has_others(&self) -> bool {
        let state = self.places.state();
        state.taken.first + state.taken.again > 1 || !state.waiting.is_empty()
    }

    /// Whether it has been kept for long enough, and somebody waits for it. Says yes once for each who
    /// waits: then it is to be given up.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted_after(self.since.elapsed())
    }

    fn is_wanted_after(&self, held: Duration) -> bool {
        if self.promised.load(Ordering::Relaxed) {
            return true;
        }
        if held < SLICE.saturating_mul(GROWTH.saturating_pow(self.attempt)) {
            return false;
        }
        let mut state = self.places.state();
        let wanted = state.promised < state.takers(self.attempt == 0, self.places.cores);
        if wanted {
            state.promised += 1;
            self.promised.store(true, Ordering::Relaxed);
        }
        wanted
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
        let taken = &mut state.taken;
        let of_its_kind = if self.attempt == 0 { &mut taken.first } else { &mut taken.again };
        *of_its_kind = of_its_kind.saturating_sub(1);
        if self.promised.load(Ordering::Relaxed) {
            state.promised = state.promised.saturating_sub(1);
        }
        drop(state);
        self.places.serve();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::BoxFuture};

    use super::*;

    /// One who waits for a place.
    fn wait(places: &Arc<Places>, attempt: u32) -> BoxFuture<'static, Place> {
        let places = places.clone();
        let mut waiting = async move { places.place(attempt).await }.boxed();
        match (&mut waiting).now_or_never() {
            Some(place) => async move { place }.boxed(),
            None => waiting,
        }
    }

    fn taken(places: &Arc<Places>, attempt: u32) -> Place {
        wait(places, attempt).now_or_never().expect("there is a place")
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn places_are_bounded_and_given_in_turn() {
        let places = Places::new(1);
        let (one, two) = (taken(&places, 0), taken(&places, 0));
        let mut third = wait(&places, 0);
        let mut fourth = wait(&places, 0);
        drop(one);
        assert!((&mut fourth).now_or_never().is_none());
        let third = (&mut third).now_or_never().expect("its turn");
        drop(two);
        assert!((&mut fourth).now_or_never().is_some());
        drop(third);
    }

    #[test]
    fn one_that_takes_long_gives_way_to_each_who_waits_once() {
        let places = Places::new(1);
        let (one, two) = (taken(&places, 0), taken(&places, 0));
        assert!(!one.is_wanted_after(LONG), "nobody waits");
        let mut fresh = wait(&places, 0);
        assert!(!one.is_wanted_after(SLICE / 2), "it has not been there for long");
        assert!(one.is_wanted_after(SLICE) && one.is_wanted_after(SLICE));
        assert!(!two.is_wanted_after(LONG), "one place is enough for one");
        drop(one);
        assert!((&mut fresh).now_or_never().is_some());
        assert!(!two.is_wanted_after(LONG), "nobody waits any more");
    }

    #[test]
    fn who_tries_again_waits_behind_first_attempts_and_has_longer() {
        let places = Places::new(1);
        let again = taken(&places, 1);
        let mut second = wait(&places, 1);
        assert!((&mut second).now_or_never().is_none(), "half of the places are for others");
        let first = taken(&places, 0);
        assert!(!again.is_wanted_after(SLICE * 3));
        assert!(again.is_wanted_after(SLICE * 4));
        let mut fresh = wait(&places, 0);
        drop(again);
        assert!((&mut second).now_or_never().is_none());
        let fresh = (&mut fresh).now_or_never().expect("first attempts come first");
        drop((first, fresh));
        assert!((&mut second).now_or_never().is_some());
    }

    #[test]
    fn who_leaves_the_queue_is_not_waited_for() {
        let places = Places::new(1);
        let (one, _two) = (taken(&places, 0), taken(&places, 0));
        drop(wait(&places, 0));
        assert!(!one.is_wanted_after(LONG));
        // Given a place that it never takes.
        let mut given = wait(&places, 0);
        drop(one);
        let mut next = wait(&places, 0);
        assert!((&mut next).now_or_never().is_none());
        drop(given);
        given = next;
        assert!((&mut given).now_or_never().is_some());
    }

    #[test]
    fn cores_are_shared_and_where_others_wait_each_has_one() {
        let places = Places::new(8);
        let few: Vec<_> = (0..5).map(|_| taken(&places, 0).threads()).collect();
        assert_eq!(few, [8; 5], "each was alone");
        let all: Vec<_> = (0..16).map(|_| taken(&places, 0)).collect();
        let threads: Vec<_> = all.iter().map(Place::threads).collect();
        assert_eq!(threads, [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
        let (mut next, _behind) = (wait(&places, 0), wait(&places, 0));
        drop(all);
        assert_eq!((&mut next).now_or_never().map(|place| place.threads()), Some(1));
        assert_eq!(taken(&Places::new(1), 0).threads(), 1);
    }
}
