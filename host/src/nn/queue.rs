//! The calls that wait for a graph, and how a caller who leaves takes its call back.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{NnError, Tensor};

/// One call of a graph: checked inputs and outputs, by their positions.
pub struct Job {
    pub inputs: Vec<(usize, Tensor)>,
    pub outputs: Vec<usize>,
    pub reply: oneshot::Sender<Result<Vec<Tensor>, NnError>>,
    pub cancel: Arc<Cancel>,
}

/// A bounded queue between callers and the session threads of one graph.
pub struct Queue {
    state: Mutex<State>,
    /// Signalled when a job arrives and when the queue closes.
    arrived: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Jobs that session threads have taken and not finished.
    running: Vec<Arc<Cancel>>,
    /// Jobs taken so far.
    taken: u64,
    /// Set when no job will be taken any more, with the reason for callers.
    closed: Option<NnError>,
}

/// What goes on at a graph.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueStats {
    pub waiting: usize,
    pub running: usize,
    /// Of those that run: the caller has left, and the backend cannot be stopped or has not yet.
    pub abandoned: usize,
    /// Runs begun so far.
    pub runs: u64,
}

impl Queue {
    pub fn new(capacity: usize) -> Queue {
        Queue { state: Mutex::default(), arrived: Condvar::new(), capacity: capacity.max(1) }
    }

    /// Adds a job, or says why not.
    pub fn push(&self, job: Job) -> Result<(), NnError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        if state.jobs.len() >= self.capacity {
            return Err(NnError::Busy(format!(
                "{} calls already wait for this graph",
                self.capacity
            )));
        }
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for jobs and moves up to `most` of them into `taken`. False once the queue is closed.
    pub fn take(&self, most: usize, taken: &mut Vec<Job>) -> bool {
        let mut state = self.lock();
        loop {
            if !state.jobs.is_empty() {
                let n = most.min(state.jobs.len());
                let State { jobs, running, .. } = &mut *state;
                running.extend(jobs.iter().take(n).map(|job| job.cancel.clone()));
                taken.extend(jobs.drain(..n));
                state.taken += n as u64;
                return true;
            }
            if state.closed.is_some() {
                return false;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a job back whose caller has left, so that its inputs are freed at once.
    pub fn forget(&self, cancel: &Arc<Cancel>) {
        let mut state = self.lock();
        if let Some(i) = state.jobs.iter().position(|job| Arc::ptr_eq(&job.cancel, cancel)) {
            let job = state.jobs.remove(i);
            drop(state); // The inputs may be large: free them outside of the lock.
            drop(job);
        }
    }

    /// Ends the session threads; callers still waiting get `reason`.
    pub fn close(&self, reason: NnError) {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.jobs);
        state.closed.get_or_insert_with(|| reason.clone());
        drop(state);
        self.arrived.notify_all();
        for job in waiting {
            let _ = job.reply.send(Err(reason.clone()));
        }
    }

    /// A job that was taken has ended.
    pub fn finished(&self, cancel: &Arc<Cancel>) {
        self.lock().running.retain(|running| !Arc::ptr_eq(running, cancel));
    }

    pub fn stats(&self) -> QueueStats {
        let state = self.lock();
        QueueStats {
            waiting: state.jobs.len(),
            running: state.running.len(),
            abandoned: state.running.iter().filter(|cancel| cancel.is_cancelled()).count(),
            runs: state.taken,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here panics half-way through a change, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    pub fn running(&self, stop: &Stop) -> Result<Running<'_>, NnError> {
        let mut state = self.lock();
        if let CancelState::Cancelled = *state {
            return Err(NnError::Cancelled);
        }
        *state = CancelState::Running(stop.clone());
        Ok(Running(self))
    }

    fn lock(&self) -> MutexGuard<'_, CancelState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that can be stopped.
pub struct Running<'a>(&'a Cancel);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if let CancelState::Running(_) = *state {
            *state = CancelState::Waiting;
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
