//! How a caller who leaves takes its call back: a waiting one never runs, a run under way is stopped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::NnError;

/// How a run is stopped from another thread.
pub type Stop = Arc<dyn Fn() + Send + Sync>;

/// Whether the caller of a job has left, and how to stop the run if it is under way.
#[derive(Default)]
pub struct Cancel(Mutex<CancelState>);

#[derive(Default)]
enum CancelState {
    #[default]
    Waiting,
    Running(Stop),
    Cancelled,
}

impl Cancel {
    /// The caller has left: a waiting job will not start, a run is asked to stop.
    pub fn cancel(&self) {
        let mut state = self.lock();
        // Under the lock, so that the run cannot end and its session start another one meanwhile.
        if let CancelState::Running(stop) = &*state {
            stop();
        }
        *state = CancelState::Cancelled;
    }

    pub fn is_cancelled(&self) -> bool {
        matches!(*self.lock(), CancelState::Cancelled)
    }

    /// Makes `stop` the way to end the run until the result is dropped.
    pub fn running(&self, stop: &Stop) -> Result<StoppableRun<'_>, NnError> {
        let mut state = self.lock();
        if let CancelState::Cancelled = *state {
            return Err(NnError::Cancelled);
        }
        *state = CancelState::Running(stop.clone());
        Ok(StoppableRun(self))
    }

    fn lock(&self) -> MutexGuard<'_, CancelState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that can be stopped.
pub struct StoppableRun<'a>(&'a Cancel);

impl Drop for StoppableRun<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if let CancelState::Running(_) = *state {
            *state = CancelState::Waiting;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_stopped_only_while_it_lasts() {
        let stopped = Arc::new(Mutex::new(0));
        let count = stopped.clone();
        let stop: Stop = Arc::new(move || *count.lock().unwrap() += 1);
        let cancel = Cancel::default();
        drop(cancel.running(&stop).unwrap());
        let running = cancel.running(&stop).unwrap();
        cancel.cancel();
        drop(running);
        assert_eq!(*stopped.lock().unwrap(), 1);
        assert!(cancel.is_cancelled());
        assert!(matches!(cancel.running(&stop), Err(NnError::Cancelled)));
        cancel.cancel();
        assert_eq!(*stopped.lock().unwrap(), 1);
    }
}
