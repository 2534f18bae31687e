//! The calls that wait for a graph: fair between those who share it, earliest deadline first for each of
//! them; and which session runs them.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    NnError,
    batch::{self, Batching},
    cancel::Cancel,
    job::Job,
};
use crate::{
    edf::Ticket,
    fair::{FairQueue, Flow},
};

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
    /// Jobs of one flow that may wait: a flow that fills its own part leaves the others theirs.
    capacity: usize,
}

struct QueueState {
    /// Fair between flows; earliest deadline first within each of them: a deadline that a model chose
    /// for itself gives it no precedence over others.
    jobs: FairQueue<Ticket, Job>,
    /// Jobs that have come so far.
    arrivals: u64,
    /// What session threads run now.
    running: Vec<Run>,
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

/// A native run that is under way.
struct Run {
    id: RunId,
    width: Width,
    began: Instant,
    members: Vec<Member>,
}

/// One job of a run.
struct Member {
    flow: Flow,
    /// What it takes of the run's time, as a share of the rows of all members. Time grows with rows.
    rows: usize,
    /// What its flow has been charged with for it so far.
    charged: Duration,
    cancel: Arc<Cancel>,
}

/// The number of a run, among all of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(u64);

/// Jobs that a session has taken, to be run as one.
pub struct Taken {
    pub run: RunId,
    pub jobs: Vec<Job>,
}

/// Where a job waits.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    flow: usize,
    ticket: Ticket,
}

/// A job that waits now.
#[derive(Debug)]
pub struct Pushed {
    pub place: Place,
    /// A further session is to be made, which is then expected: see [`Queue::grown`].
    pub grow: bool,
}

impl Run {
    /// Each member with its part of the time that the run has taken by `now`.
    fn parts(&mut self, now: Instant) -> impl Iterator<Item = (&mut Member, Duration)> {
        let took = now.saturating_duration_since(self.began);
        let rows: usize = self.members.iter().map(|member| member.rows).sum();
        self.members.iter_mut().map(move |member| {
            let part = member.rows as f64 / rows.max(1) as f64;
            (member, took.mul_f64(part))
        })
    }
}

impl QueueState {
    /// Takes the next jobs that run together, if there are some, for a session of this width.
    fn take(&mut self, width: Width, batching: &Batching) -> Option<Taken> {
        let now = Instant::now();
        self.charge_running(now);
        // What is too late is taken back by its caller.
        let in_time = self.jobs.iter().filter(|entry| entry.key.deadline > now);
        let candidates =
            in_time.map(|entry| (Place { flow: entry.flow, ticket: entry.key }, entry.value));
        let chosen = batching.choose(candidates);
        let taken = chosen.iter().filter_map(|place| self.jobs.remove(place.flow, &place.ticket));
        let jobs: Vec<Job> = taken.collect();
        self.jobs.serve(jobs.first()?.flow);
        let mut members = Vec::with_capacity(jobs.len());
        for job in &jobs {
            // Now, so that another session that is free does not take the same flow's next call as well.
            let charged = self.jobs.expected(job.flow);
            self.jobs.charge(job.flow, charged, now);
            let (flow, cancel) = (job.flow, job.cancel.clone());
            members.push(Member { flow, rows: batch::rows(job).unwrap_or(1), charged, cancel });
        }
        let run = Run { id: RunId(self.runs), width, began: now, members };
        let id = run.id;
        self.running.push(run);
        self.runs += 1;
        self.taken += jobs.len() as u64;
        let size = jobs.len().next_power_of_two().ilog2() as usize;
        self.batch_sizes[size.min(BATCH_SIZES - 1)] += 1;
        self.sessions.busy += 1;
        self.sessions.narrow_busy += usize::from(width == Width::Narrow);
        Some(Taken { run: id, jobs })
    }

    /// Charges what runs take beyond what was expected while they go on: a flow whose run does not end
    /// has used the time all the same.
    fn charge_running(&mut self, now: Instant) {
        for run in &mut self.running {
            for (member, part) in run.parts(now) {
                if part > member.charged {
                    self.jobs.charge(member.flow, part - member.charged, now);
                    member.charged = part;
                }
            }
        }
    }

    /// Charges what a run took in the end.
    fn charge_ended(&mut self, mut run: Run, now: Instant) {
        for (member, part) in run.parts(now) {
            if part > member.charged {
                self.jobs.charge(member.flow, part - member.charged, now);
            } else {
                self.jobs.refund(member.flow, member.charged - part);
            }
            self.jobs.expect(member.flow, part);
        }
    }
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
        // Of several jobs that wait, narrow sessions take all as soon as there is one: the wide one does
        // not run beside them.
        let wide = usize::from(self.busy == 0 && self.narrow == 0);
        let idle = wide + self.narrow - self.narrow_busy;
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
    /// For so many waiting calls of each flow, and so many runs at the same time.
    pub fn new(capacity: usize, sessions: usize) -> Queue {
        let state = QueueState {
            jobs: FairQueue::new(),
            arrivals: 0,
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
        Queue { state: Mutex::new(state), wide, narrow, capacity: capacity.max(1) }
    }

    /// Adds a job, or says why not.
    pub fn push(&self, job: Job) -> Result<Pushed, NnError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        if state.jobs.len_of(job.flow) >= self.capacity {
            let capacity = self.capacity;
            return Err(NnError::Busy(format!(
                "{capacity} calls of this model already wait for this graph (max_queue)"
            )));
        }
        let ticket = Ticket { deadline: job.deadline, arrival: state.arrivals };
        let place = Place { flow: job.flow.index, ticket };
        state.arrivals += 1;
        state.jobs.push(job.flow, ticket, job);
        let alone = state.sessions.busy == 0 && state.jobs.len() == 1;
        let wide = alone || state.sessions.narrow == 0;
        let grow = state.sessions.lacking(state.jobs.len());
        state.sessions.growing |= grow;
        drop(state);
        if wide { &self.wide } else { &self.narrow }.notify_one();
        Ok(Pushed { place, grow })
    }

    /// Waits for the jobs of the next native run. None once the queue is closed.
    pub fn take(&self, width: Width, batching: &Batching) -> Option<Taken> {
        let mut state = self.lock();
        loop {
            let may = state.sessions.may(width, state.jobs.len());
            if may && let Some(taken) = state.take(width, batching) {
                return Some(taken);
            }
            if state.closed.is_some() {
                return None;
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
    pub fn forget(&self, place: &Place) {
        let mut state = self.lock();
        let job = state.jobs.remove(place.flow, &place.ticket);
        state.left += u64::from(job.is_some());
        drop(state); // The inputs may be large: they are freed outside of the lock.
        drop(job);
    }

    /// Ends the session threads; callers still waiting get `reason`.
    pub fn close(&self, reason: NnError) {
        let mut state = self.lock();
        let waiting: Vec<Job> = state.jobs.drain().collect();
        state.closed.get_or_insert_with(|| reason.clone());
        drop(state);
        self.wide.notify_all();
        self.narrow.notify_all();
        for job in waiting {
            let _ = job.reply.send(Err(reason.clone()));
        }
    }

    /// A session has ended a run.
    pub fn finished(&self, id: RunId) {
        let mut state = self.lock();
        let Some(at) = state.running.iter().position(|run| run.id == id) else { return };
        let run = state.running.swap_remove(at);
        state.sessions.busy -= 1;
        state.sessions.narrow_busy -= usize::from(run.width == Width::Narrow);
        state.charge_ended(run, Instant::now());
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
        let members = state.running.iter().flat_map(|run| &run.members);
        QueueStats {
            waiting: state.jobs.len(),
            busy: state.sessions.busy,
            abandoned: members.filter(|member| member.cancel.is_cancelled()).count(),
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
