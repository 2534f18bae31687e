//! A short wait awake before a thread goes to sleep: putting it to sleep and waking it takes tens of
//! microseconds, several times what a small graph takes. It is worth that only where what is waited for mostly
//! comes in time, which each who waits finds out.

use std::time::{Duration, Instant};

/// How long a wait awake is: about as long as sleeping and being woken takes.
const LONGEST: Duration = Duration::from_micros(100);
/// Each wait that came in time lets one more be tried, up to this many; one in vain takes four of them.
const MOST: u8 = 16;
const IN_VAIN: u8 = 4;
/// Where none is left, one wait in this many is tried.
const TRIED: u8 = 64;

/// How often it was worth it.
#[derive(Debug, Default)]
pub struct Spin {
    /// Waits that may be tried yet.
    left: u8,
    /// Waits that were not tried since the last one that was.
    slept: u8,
}

impl Spin {
    /// Until when to wait awake; None to go to sleep at once.
    fn until(&mut self) -> Option<Instant> {
        if self.left == 0 {
            self.slept += 1;
            if self.slept < TRIED {
                return None;
            }
        }
        self.slept = 0;
        Some(Instant::now() + LONGEST)
    }

    /// What became of such a wait.
    fn ended(&mut self, in_time: bool) {
        self.left = match in_time {
            true => (self.left + 1).min(MOST),
            false => self.left.saturating_sub(IN_VAIN),
        };
    }

    /// Waits awake, where that is worth it, on a thread that has nothing else to do; gives what came.
    pub fn wait<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let until = self.until()?;
        let mut found = look();
        while found.is_none() && Instant::now() < until {
            // Whoever needs the core has it.
            std::thread::yield_now();
            found = look();
        }
        self.ended(found.is_some());
        found
    }

    /// The same on a worker: its other work has its turn between two looks, and what has come is noticed.
    pub async fn wait_between<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let until = self.until()?;
        let mut found = look();
        while found.is_none() && Instant::now() < until {
            tokio::task::yield_now().await;
            found = look();
        }
        self.ended(found.is_some());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_time_is_waited_for() {
        let mut spin = Spin::default();
        let mut tried = |in_time: bool| {
            let tries = spin.until().is_some();
            if tries {
                spin.ended(in_time);
            }
            tries
        };
        let first = (0..u32::from(TRIED)).filter(|_| tried(true)).count();
        assert_eq!(first, 1, "it is tried once in a while");
        assert!((0..100).all(|_| tried(true)), "then always");
        let more = (0..100).filter(|_| tried(false)).count();
        assert!((4..=5).contains(&more), "and soon no longer: {more}");
    }

    #[test]
    fn it_ends() {
        let mut spin = Spin { left: MOST, slept: 0 };
        let began = Instant::now();
        assert_eq!(spin.wait(|| None::<()>), None);
        assert!(began.elapsed() >= LONGEST);
        assert_eq!(spin.wait(|| Some(7)), Some(7));
        assert_eq!(spin.left, MOST - IN_VAIN + 1);
    }
}
