//! Who is served next where several share: fair by weight, however much each of them asks for.
//!
//! This is start-time fair queueing (Goyal, Vin and Cheng, 1996). A flow's virtual time is what it has
//! used, divided by its weight; the flow that is furthest behind is next; one that comes back after a
//! pause starts where the others are, so that nobody saves up. What a flow has used is charged when it
//! is known, so nothing needs to be known beforehand.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// The part of a nanosecond that virtual time is counted in, so that division by a weight is exact
/// enough.
const SCALE: u128 = 1024;
/// Flows that may be remembered before some are forgotten.
const REMEMBERED: usize = 16;

/// One of those that share: a model among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its own among all flows.
    pub index: usize,
    /// How much it is to have beside the others.
    pub weight: u32,
}

impl Flow {
    /// Of whoever shares with nobody: tests and benches, which use graphs without a server.
    pub const ALONE: Self = Self { index: usize::MAX, weight: 1 };
}

/// Hands out flows.
#[derive(Debug, Default)]
pub struct Flows {
    next: AtomicUsize,
}

impl Flows {
    pub fn open(&self, weight: u32) -> Flow {
        Flow { index: self.next.fetch_add(1, Ordering::Relaxed), weight }
    }
}

/// Entries that wait, by flow; those of one flow in the order of their keys. It reads no clock; whoever
/// uses it says what time it is.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    /// Flows with entries, and those that are still ahead of the others. By their indices.
    flows: BTreeMap<usize, FlowState<K, T>>,
    /// Flows with entries, in the order in which they began to wait, which decides between equals.
    waiting: Vec<usize>,
    /// Entries of all flows.
    len: usize,
    /// The virtual time of the flow that was served last: no flow starts further behind.
    virtual_now: u128,
    /// How many flows are remembered when some are forgotten next.
    sweep_at: usize,
}

#[derive(Debug)]
struct FlowState<K, T> {
    entries: BTreeMap<K, T>,
    virtual_time: u128,
    /// When as much time will have passed as it is ahead: by then any other could have caught up, and
    /// what it has used is forgotten. None where it has used nothing.
    settled_at: Option<Instant>,
    /// What its next entry is taken to cost, see [`FairQueue::expect`].
    expected: Duration,
}

impl<K, T> FlowState<K, T> {
    fn new(virtual_time: u128) -> Self {
        Self { entries: BTreeMap::new(), virtual_time, settled_at: None, expected: Duration::ZERO }
    }
}

/// An entry of a [`FairQueue`].
#[derive(Debug)]
pub struct Entry<'a, K, T> {
    pub flow: usize,
    pub key: K,
    pub value: &'a T,
}

impl<K: Ord + Copy, T> FairQueue<K, T> {
    pub fn new() -> Self {
        Self {
            flows: BTreeMap::new(),
            waiting: Vec::new(),
            len: 0,
            virtual_now: 0,
            sweep_at: REMEMBERED,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries of one flow.
    pub fn len_of(&self, flow: Flow) -> usize {
        self.flows.get(&flow.index).map_or(0, |state| state.entries.len())
    }

    /// Adds an entry. Its key is its own within the flow.
    pub fn push(&mut self, flow: Flow, key: K, value: T) {
        let virtual_now = self.virtual_now;
        let state = self.flows.entry(flow.index).or_insert_with(|| FlowState::new(virtual_now));
        if state.entries.is_empty() {
            state.virtual_time = state.virtual_time.max(virtual_now);
            self.waiting.push(flow.index);
        }
        let before = state.entries.insert(key, value);
        self.len += usize::from(before.is_none());
    }

    /// An entry in its place.
    pub fn get_mut(&mut self, flow: usize, key: &K) -> Option<&mut T> {
        self.flows.get_mut(&flow)?.entries.get_mut(key)
    }

    /// Takes an entry out: to be served, or because it has left.
    pub fn remove(&mut self, flow: usize, key: &K) -> Option<T> {
        let state = self.flows.get_mut(&flow)?;
        let value = state.entries.remove(key)?;
        self.len -= 1;
        if state.entries.is_empty() {
            self.waiting.retain(|waiting| *waiting != flow);
            if state.virtual_time <= self.virtual_now {
                self.flows.remove(&flow);
            }
        }
        Some(value)
    }

    /// The next one: the first of the flow that is furthest behind.
    pub fn first(&self) -> Option<Entry<'_, K, T>> {
        let waiting = self.waiting.iter().filter_map(|flow| Some((*flow, self.flows.get(flow)?)));
        let (flow, state) = waiting.min_by_key(|(_, state)| state.virtual_time)?;
        let (key, value) = state.entries.first_key_value()?;
        Some(Entry { flow, key: *key, value })
    }

    /// All entries: those of the flow that is furthest behind, then those of the next flow, and so on.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_, K, T>> {
        let waiting = self.waiting.iter().filter_map(|flow| Some((*flow, self.flows.get(flow)?)));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|(_, state)| state.virtual_time);
        waiting.into_iter().flat_map(|(flow, state)| {
            state.entries.iter().map(move |(key, value)| Entry { flow, key: *key, value })
        })
    }

    /// Empties the queue.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<K, T> {
        let flows = std::mem::take(&mut self.flows);
        self.waiting.clear();
        self.len = 0;
        flows.into_values().flat_map(|state| state.entries.into_values())
    }

    /// An entry of `flow`, the furthest behind, is served from now on: whoever comes back meanwhile
    /// starts no further behind than it did.
    pub fn serve(&mut self, flow: Flow) {
        if let Some(state) = self.flows.get(&flow.index) {
            self.virtual_now = self.virtual_now.max(state.virtual_time);
        }
    }

    /// `flow` has used the time `cost`, by `now`.
    pub fn charge(&mut self, flow: Flow, cost: Duration, now: Instant) {
        if self.flows.len() >= self.sweep_at {
            self.forget(now);
        }
        let virtual_now = self.virtual_now;
        let state = self.flows.entry(flow.index).or_insert_with(|| FlowState::new(virtual_now));
        let start = state.virtual_time.max(virtual_now);
        state.virtual_time = start.saturating_add(virtual_cost(flow, cost));
        let ahead = (state.virtual_time - virtual_now) / SCALE;
        let ahead = Duration::from_nanos(u64::try_from(ahead).unwrap_or(u64::MAX));
        // Without end where it is too far to be said.
        state.settled_at = now.checked_add(ahead).or(state.settled_at);
    }

    /// `flow` has used so much less than it was charged with.
    pub fn refund(&mut self, flow: Flow, cost: Duration) {
        if let Some(state) = self.flows.get_mut(&flow.index) {
            state.virtual_time = state.virtual_time.saturating_sub(virtual_cost(flow, cost));
        }
    }

    /// Notes what an entry of `flow` cost: where several are served at the same time, the next one is
    /// charged with as much when it begins, and set right when it ends.
    pub fn expect(&mut self, flow: Flow, cost: Duration) {
        if let Some(state) = self.flows.get_mut(&flow.index) {
            state.expected = cost;
        }
    }

    /// What the next entry of `flow` is taken to cost.
    pub fn expected(&self, flow: Flow) -> Duration {
        self.flows.get(&flow.index).map_or(Duration::ZERO, |state| state.expected)
    }

    /// Forgets flows that have no entries and are not ahead of the others any more: there may be any
    /// number of flows over time.
    fn forget(&mut self, now: Instant) {
        let virtual_now = self.virtual_now;
        self.flows.retain(|_, state| {
            let settled =
                state.virtual_time <= virtual_now || state.settled_at.is_none_or(|at| at <= now);
            !(state.entries.is_empty() && settled)
        });
        self.sweep_at = (self.flows.len() * 2).max(REMEMBERED);
    }
}

impl<K: Ord + Copy, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

fn virtual_cost(flow: Flow, cost: Duration) -> u128 {
    cost.as_nanos().saturating_mul(SCALE) / u128::from(flow.weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Flow = Flow { index: 0, weight: 1 };
    const OTHER: Flow = Flow { index: 1, weight: 1 };
    const HEAVY: Flow = Flow { index: 2, weight: 3 };
    const MILLISECOND: Duration = Duration::from_millis(1);

    /// A flow that always has so many entries, each of which costs this.
    struct Load {
        flow: Flow,
        entries: u64,
        cost: Duration,
    }

    fn load(flow: Flow, entries: u64) -> Load {
        Load { flow, entries, cost: MILLISECOND }
    }

    /// How often each flow is served in so many rounds.
    fn serve(loads: &[Load], rounds: u32) -> Vec<u32> {
        let (mut queue, mut now) = (FairQueue::new(), Instant::now());
        for load in loads {
            (0..load.entries).for_each(|key| queue.push(load.flow, key, ()));
        }
        let mut served = vec![0; loads.len()];
        for _ in 0..rounds {
            let first = queue.first().unwrap();
            let (index, key) = (first.flow, first.key);
            let at = loads.iter().position(|load| load.flow.index == index).unwrap();
            let Load { flow, cost, .. } = loads[at];
            queue.serve(flow);
            queue.remove(index, &key);
            now += cost;
            queue.charge(flow, cost, now);
            queue.push(flow, key, ());
            served[at] += 1;
        }
        served
    }

    #[test]
    fn a_flow_with_many_entries_has_no_more_than_one_with_few() {
        assert_eq!(serve(&[load(ONE, 30), load(OTHER, 1)], 100), [50, 50]);
    }

    #[test]
    fn weights_divide_what_there_is() {
        assert_eq!(serve(&[load(ONE, 9), load(HEAVY, 2)], 400), [100, 300]);
    }

    #[test]
    fn it_is_time_that_is_divided_not_turns() {
        let long = Load { cost: 9 * MILLISECOND, ..load(OTHER, 30) };
        assert_eq!(serve(&[load(ONE, 1), long], 100), [90, 10]);
    }

    #[test]
    fn entries_of_a_flow_keep_the_order_of_their_keys() {
        let mut queue = FairQueue::new();
        [3, 1, 2].into_iter().for_each(|key| queue.push(ONE, key, key * 10));
        let order: Vec<_> = queue.iter().map(|entry| *entry.value).collect();
        assert_eq!(order, [10, 20, 30]);
        assert_eq!((queue.len(), queue.len_of(ONE), queue.len_of(OTHER)), (3, 3, 0));
        assert_eq!(queue.remove(0, &1), Some(10));
        assert_eq!(queue.remove(0, &1), None, "only once");
        assert_eq!(queue.first().unwrap().key, 2);
        assert_eq!(queue.drain().collect::<Vec<_>>(), [20, 30]);
        assert!(queue.is_empty() && queue.first().is_none());
    }

    #[test]
    fn a_key_gives_no_precedence_over_other_flows() {
        let (mut queue, now) = (FairQueue::new(), Instant::now());
        queue.push(OTHER, 9, ());
        queue.serve(OTHER);
        queue.charge(ONE, MILLISECOND, now);
        (0..3).for_each(|key| queue.push(ONE, key, ()));
        let order: Vec<_> = queue.iter().map(|entry| (entry.flow, entry.key)).collect();
        assert_eq!(order, [(1, 9), (0, 0), (0, 1), (0, 2)]);
    }

    #[test]
    fn nobody_saves_up() {
        let (mut queue, mut now) = (FairQueue::new(), Instant::now());
        let mut run = |queue: &mut FairQueue<u32, ()>, flow| {
            queue.serve(flow);
            now += MILLISECOND;
            queue.charge(flow, MILLISECOND, now);
        };
        for _ in 0..1000 {
            queue.push(ONE, 1, ());
            run(&mut queue, ONE);
            queue.remove(0, &1);
        }
        // The other one comes after a second of nothing: it is next, and not for a second.
        let mut order = Vec::new();
        for _ in 0..10 {
            queue.push(ONE, 1, ());
            queue.push(OTHER, 1, ());
            let flow = if queue.first().unwrap().flow == 0 { ONE } else { OTHER };
            run(&mut queue, flow);
            order.push(flow.index);
            queue.remove(0, &1);
            queue.remove(1, &1);
        }
        assert_eq!(order[0], 1);
        assert_eq!(order.iter().filter(|index| **index == 1).count(), 5, "{order:?}");
    }

    #[test]
    fn what_was_charged_too_much_is_given_back() {
        let (mut queue, now) = (FairQueue::new(), Instant::now());
        queue.push(ONE, 1, ());
        queue.push(OTHER, 1, ());
        queue.charge(OTHER, MILLISECOND, now);
        queue.charge(ONE, 5 * MILLISECOND, now);
        assert_eq!(queue.first().unwrap().flow, 1);
        queue.refund(ONE, 5 * MILLISECOND);
        assert_eq!(queue.first().unwrap().flow, 0);
    }

    #[test]
    fn flows_that_are_gone_are_forgotten() {
        let (mut queue, mut now) = (FairQueue::new(), Instant::now());
        for index in 0..10_000 {
            let flow = Flow { index, weight: 1 };
            queue.push(flow, 0, ());
            queue.serve(flow);
            queue.remove(index, &0);
            now += MILLISECOND;
            queue.charge(flow, MILLISECOND, now);
        }
        assert!(queue.flows.len() <= 2 * REMEMBERED, "{}", queue.flows.len());
        // One that leaves unserved leaves nothing.
        let mut queue = FairQueue::new();
        for index in 0..100 {
            queue.push(Flow { index, weight: 1 }, 0, ());
            queue.remove(index, &0);
        }
        assert!(queue.flows.is_empty());
    }

    #[test]
    fn a_pause_shorter_than_the_lead_does_not_end_it() {
        let (mut queue, mut now) = (FairQueue::new(), Instant::now());
        queue.charge(ONE, 1000 * MILLISECOND, now);
        now += 10 * MILLISECOND;
        queue.forget(now);
        queue.push(ONE, 1, ());
        queue.push(OTHER, 1, ());
        assert_eq!(queue.first().unwrap().flow, 1);
        queue.remove(0, &1);
        queue.remove(1, &1);
        queue.forget(now + 1000 * MILLISECOND);
        assert!(queue.flows.is_empty());
    }
}
