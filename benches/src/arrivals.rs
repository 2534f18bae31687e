//! When calls arrive: independent of each other and of the answers, so many a second on average, as
//! those of many callers do (a Poisson process). Seeded: every server sees the same arrivals.

use std::time::Duration;

use rustix::{
    fd::OwnedFd,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use tokio::{io::unix::AsyncFd, time::Instant};

/// Times of arrival since the start, one after the other.
pub struct Arrivals {
    rate: f64,
    at: f64,
    state: u64,
}

impl Arrivals {
    pub fn new(rate: f64, seed: u64) -> Self {
        Self { rate, at: 0.0, state: seed }
    }

    /// SplitMix64, as a number above 0 and up to 1.
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed ^ (mixed >> 31)) >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.at -= self.uniform().ln() / self.rate;
        Some(Duration::from_secs_f64(self.at))
    }
}

/// Waits to within microseconds; tokio's own timer has milliseconds, many times a small call.
pub struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    pub fn new() -> anyhow::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives, and it lives in
        // the `AsyncFd`.
        #[allow(unsafe_code)]
        let timer = unsafe { AsyncFd::register(timer) }?;
        Ok(Self(timer))
    }

    pub async fn until(&self, time: Instant) -> anyhow::Result<()> {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // What is late is sent together, but the connections get their turn.
            tokio::task::coop::consume_budget().await;
            return Ok(());
        }
        let left = Timespec::try_from(left)?;
        let once = Itimerspec { it_interval: Timespec::default(), it_value: left };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_by_chance() {
        let times: Vec<f64> =
            Arrivals::new(1000.0, 7).take(100_000).map(|at| at.as_secs_f64()).collect();
        assert!((99.0..101.0).contains(times.last().unwrap_or(&0.0)));
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) * 1000.0).collect();
        // Of an exponential distribution, e^-1 is above the mean and e^-3 above three times it.
        for above in [1.0, 3.0] {
            let share = gaps.iter().filter(|gap| **gap > above).count() as f64 / gaps.len() as f64;
            assert!((share - (-above).exp()).abs() < 0.01, "{share}");
        }
    }
}
