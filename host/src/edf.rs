//! What waits, in a bounded queue: earliest deadline first, and first come first served among equals.
//! It reads no clock; whoever takes from it says what time it is.

use std::{collections::BTreeMap, time::Instant};

/// A queue of at most `capacity` entries.
#[derive(Debug)]
pub struct Edf<T> {
    capacity: usize,
    arrivals: u64,
    entries: BTreeMap<Ticket, T>,
}

/// The place of an entry: by deadline, then by arrival. (The order of the fields is that of tickets.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    pub deadline: Instant,
    /// Entries that had come before.
    pub arrival: u64,
}

impl<T> Edf<T> {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, arrivals: 0, entries: BTreeMap::new() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry; gives it back where the queue is full.
    pub fn push(&mut self, deadline: Instant, entry: T) -> Result<Ticket, T> {
        if self.entries.len() >= self.capacity {
            return Err(entry);
        }
        let ticket = Ticket { deadline, arrival: self.arrivals };
        self.arrivals += 1;
        self.entries.insert(ticket, entry);
        Ok(ticket)
    }

    /// Takes the entry with the earliest deadline after `now`. What is too late stays for its owner
    /// to take back.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let first = *self.iter(now).next()?.0;
        self.entries.remove(&first)
    }

    /// Takes an entry back. None where it has been taken already.
    pub fn remove(&mut self, ticket: &Ticket) -> Option<T> {
        self.entries.remove(ticket)
    }

    /// The entries with deadlines after `now`, in their order.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = (&Ticket, &T)> {
        let after = Ticket { deadline: now, arrival: u64::MAX };
        self.entries.range(after..)
    }

    /// Empties the queue.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.entries).into_values()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_earliest_deadline_is_first_and_equals_keep_their_order() {
        let (mut queue, now) = (Edf::new(8), Instant::now());
        for (name, seconds) in [("late", 9), ("first", 5), ("second", 5), ("early", 2)] {
            queue.push(now + seconds * SECOND, name).unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(now)).collect();
        assert_eq!(order, ["early", "first", "second", "late"]);
    }

    #[test]
    fn what_is_too_late_is_passed_over() {
        let (mut queue, now) = (Edf::new(8), Instant::now());
        let late = queue.push(now + SECOND, "late").unwrap();
        queue.push(now + 2 * SECOND, "in time").unwrap();
        assert_eq!(queue.pop(now + SECOND), Some("in time"));
        assert_eq!(queue.pop(now + SECOND), None);
        assert_eq!(queue.remove(&late), Some("late"));
    }

    #[test]
    fn a_full_queue_refuses_and_one_that_leaves_makes_room() {
        let (mut queue, now) = (Edf::new(2), Instant::now());
        let first = queue.push(now, 1).unwrap();
        queue.push(now, 2).unwrap();
        assert_eq!(queue.push(now, 3), Err(3));
        assert_eq!(queue.remove(&first), Some(1));
        assert_eq!(queue.remove(&first), None, "only once");
        queue.push(now, 3).unwrap();
        assert_eq!(queue.drain().collect::<Vec<_>>(), [2, 3]);
        assert!(queue.is_empty());
    }
}
