//! What would be said in the log too often, said once in a while: callers decide how often it happens.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often a thing is said at most.
const EVERY: Duration = Duration::from_secs(5);

/// A thing that may happen often.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    /// When it was last said.
    last: Option<Instant>,
    /// How often it has happened since.
    times: u64,
}

impl Seldom {
    /// It has happened. Where it is to be said now: how often since it was last said.
    pub fn happens(&self) -> Option<u64> {
        self.happens_at(Instant::now())
    }

    fn happens_at(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.times += 1;
        if said.last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_in_a_while_with_how_often_it_happened() {
        let (seldom, began) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.happens_at(began), Some(1));
        assert_eq!(seldom.happens_at(began + EVERY / 2), None);
        assert_eq!(seldom.happens_at(began + EVERY), Some(2));
        assert_eq!(seldom.happens_at(began + EVERY), None);
    }
}
