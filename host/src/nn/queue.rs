//! The calls that wait for a graph, earliest deadline first, and which session runs them.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{NnError, batch::Batching, cancel::Cancel, job::Job};
use crate::edf::{Edf, Ticket};

/// How many threads a session of a graph uses. A run that is alone uses all threads and is over soonest;
/// runs beside each other do more in all with a part of the threads each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// There is one, which runs where no narrow one does.
    Wide,
    /// As many as are needed, made when there is more to do at once.
    Narrow,
}

/// A bounded queue between callers and the session threads of one graph.
pub struct Queue {
    state: Mutex<QueueState>,
    /// Signalled when there may be work for the wide session, or for a narrow one, and when the
    /// queue closes.
    wide: Condvar,
    narrow: Condvar,
    capacity: usize,
}

struct QueueState {
    jobs: Edf<Job>,
    /// Jobs that session threads have taken and not finished.
    running: Vec<Arc<Cancel>>,
    sessions: Sessions,
    /// Native runs begun so far, and the jobs in them.
    runs: u64,
    taken: u64,
    /// Jobs taken back by their callers before a session took them.
    left: u64,
    /// Runs by the number of their jobs, rounded up to a power of two: 1, 2, 4, …
    batch_sizes: [u64; BATCH_SIZES],
    /// Set when no job will be taken any more, with the reason for callers.
    closed: Option<NnError>,
}

/// A graph's sessions, by number.
#[derive(Default)]
struct Sessions {
    /// Runs at the same time.
    most: usize,
    /// Narrow ones that there are, and that there may be.
    narrow: usize,
    most_narrow: usize,
    /// One is being made.
    growing: bool,
    /// Those that run, and the narrow ones among them.
    busy: usize,
    narrow_busy: usize,
}

impl Sessions {
    /// Whether a session of this width is to run one of so many jobs that wait.
    fn may(&self, width: Width, waiting: usize) -> bool {
        match width {
            Width::Wide => self.narrow_busy == 0,
            Width::Narrow => self.busy < self.most && (self.busy > 0 || waiting > 1),
        }
    }

    /// Whether another one would have something to do while so many jobs wait.
    fn lacking(&self, waiting: usize) -> bool {
        let idle = usize::from(self.busy == 0) + self.narrow - self.narrow_busy;
        waiting > idle && !self.growing && self.narrow < self.most_narrow
    }
}

/// What goes on at a graph.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueStats {
    pub waiting: usize,
    /// Sessions that run.
    pub busy: usize,
    /// Calls that run and whose callers have left: the backend cannot be stopped or has not yet.
    pub abandoned: usize,
    /// Runs begun so far, and the calls in them.
    pub runs: u64,
    pub calls: u64,
    /// Calls whose callers left while they waited.
    pub left: u64,
    /// Runs by the number of their calls: up to 1, 2, 4, …; the last for all that are larger.
    pub batch_sizes: [u64; BATCH_SIZES],
}

/// Numbers of calls in a run that are told apart: up to 1, 2, 4, … 512, and more.
pub const BATCH_SIZES: usize = 11;

impl Queue {
    /// For so many runs at the same time.
    pub fn new(capacity: usize, sessions: usize) -> Queue {
        let capacity = capacity.max(1);
        let state = QueueState {
            jobs: Edf::new(capacity),
            running: Vec::new(),
            sessions: Sessions {
                most: sessions,
                most_narrow: if sessions > 1 { sessions } else { 0 },
                ..Sessions::default()
            },
            runs: 0,
            taken: 0,
            left: 0,
            batch_sizes: [0; BATCH_SIZES],
            closed: None,
        };
        let (wide, narrow) = (Condvar::new(), Condvar::new());
        Queue { state: Mutex::new(state), wide, narrow, capacity }
    }

    /// Adds a job, or says why not. Also whether a further session is to be made, which is then
    /// expected: see [`Queue::grown`].
    pub fn push(&self, deadline: Instant, job: Job) -> Result<(Ticket, bool), NnError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        let pushed = state.jobs.push(deadline, job);
        let alone = state.sessions.busy == 0 && state.jobs.len() == 1;
        let wide = alone || state.sessions.narrow == 0;
        let grow = pushed.is_ok() && state.sessions.lacking(state.jobs.len());
        state.sessions.growing |= grow;
        drop(state);
        match pushed {
            Ok(ticket) => {
                if wide { &self.wide } else { &self.narrow }.notify_one();
                Ok((ticket, grow))
            }
            Err(_) => {
                Err(NnError::Busy(format!("{} calls already wait for this graph", self.capacity)))
            }
        }
    }

    /// Waits for jobs and moves those of the next native run into `taken`, which is empty. False once
    /// the queue is closed.
    pub fn take(&self, width: Width, batching: &Batching, taken: &mut Vec<Job>) -> bool {
        let mut state = self.lock();
        loop {
            let may = state.sessions.may(kind, state.jobs.len());
            let chosen = match may {
                // Callers take back what is too late.
                true => {
                    let jobs = state.jobs.iter(Instant::now());
                    batching.choose(jobs.map(|(ticket, job)| (*ticket, job)))
                }
                false => Vec::new(),
            };
            if !chosen.is_empty() {
                taken.extend(chosen.iter().filter_map(|ticket| state.jobs.remove(ticket)));
                state.running.extend(taken.iter().map(|job| job.cancel.clone()));
                state.runs += 1;
                let size = chosen.len().next_power_of_two().ilog2() as usize;
                state.batch_sizes[size.min(BATCH_SIZES - 1)] += 1;
                state.taken += chosen.len() as u64;
                state.sessions.busy += 1;
                state.sessions.narrow_busy += usize::from(width == Width::Narrow);
                return true;
            }
            if state.closed.is_some() {
                return false;
            }
            let (own, other) = match width {
                Width::Wide => (&self.wide, &self.narrow),
                Width::Narrow => (&self.narrow, &self.wide),
            };
            if !may && !state.jobs.is_empty() {
                // Not for this session, but perhaps for another one that was not told.
                other.notify_one();
            }
            state = own.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a job back whose caller has left, so that its inputs are freed at once.
    pub fn forget(&self, ticket: &Ticket) {
        let mut state = self.lock();
        let job = state.jobs.remove(ticket);
        state.left += u64::from(job.is_some());
        drop(state); // The inputs may be large: they are freed outside of the lock.
    }

    /// Ends the session threads; callers still waiting get `reason`.
    pub fn close(&self, reason: NnError) {
        let mut state = self.lock();
        let waiting = state.jobs.drain();
        state.closed.get_or_insert_with(|| reason.clone());
        drop(state);
        self.wide.notify_all();
        self.narrow.notify_all();
        for job in waiting {
            let _ = job.reply.send(Err(reason.clone()));
        }
    }

    /// A session has ended the run of jobs that it had taken.
    pub fn finished(&self, width: Width, ended: &[Arc<Cancel>]) {
        let is = |one: &Arc<Cancel>| ended.iter().any(|other| Arc::ptr_eq(one, other));
        let mut state = self.lock();
        state.running.retain(|running| !is(running));
        state.sessions.busy -= 1;
        state.sessions.narrow_busy -= usize::from(width == Width::Narrow);
    }

    /// The session that was to be made is there, or cannot be made: then there will be no more.
    /// Whether yet another one is to be made.
    pub fn grown(&self, there: bool) -> bool {
        let mut state = self.lock();
        let waiting = state.jobs.len();
        let sessions = &mut state.sessions;
        sessions.growing = false;
        sessions.narrow += usize::from(there);
        if !there {
            sessions.most_narrow = sessions.narrow;
        }
        let more = sessions.lacking(waiting);
        sessions.growing = more;
        more
    }

    pub fn stats(&self) -> QueueStats {
        let state = self.lock();
        QueueStats {
            waiting: state.jobs.len(),
            busy: state.sessions.busy,
            abandoned: state.running.iter().filter(|cancel| cancel.is_cancelled()).count(),
            runs: state.runs,
            calls: state.taken,
            left: state.left,
            batch_sizes: state.batch_sizes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Nothing here panics half-way through a change, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
