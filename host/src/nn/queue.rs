//! The calls that wait for a graph: fair between those who share it, earliest deadline first for each of
//! them; and which session runs them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    NnError,
    batch::{self, Batching},
    cancel::Cancel,
    job::Job,
    runner::Runner,
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

/// A bounded queue between the callers of one graph and its sessions. Nobody waits in it: whoever changes
/// it is given the runs that can begin now, each with the session that is to run it.
pub struct Queue {
    state: Mutex<QueueState>,
    /// Tells when the last run has ended.
    idle: Notify,
    /// Jobs of one flow that may wait: a flow that fills its own part leaves the others theirs.
    capacity: usize,
    batching: Batching,
}

struct QueueState {
    /// Fair between flows; earliest deadline first within each of them: a deadline that a model chose
    /// for itself gives it no precedence over others.
    jobs: FairQueue<Ticket, Job>,
    /// Jobs that have come so far.
    arrivals: u64,
    /// What sessions run now.
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
    /// Of its session: see [`Sessions::generation`].
    generation: u64,
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

/// A run that is to begin now.
pub struct Start {
    pub run: RunId,
    /// Goes back to the queue with [`Queue::finished`].
    pub runner: Box<dyn Runner>,
    /// They are run as one.
    pub jobs: Vec<Job>,
}

/// What has become possible.
#[must_use]
#[derive(Default)]
pub struct Next {
    pub starts: Vec<Start>,
    /// A further session is to be made, which is then expected: see [`Queue::grown`].
    pub grow: Option<Grow>,
}

/// A session that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grow {
    generation: u64,
}

/// Where a job waits.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    flow: usize,
    ticket: Ticket,
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
    /// The runs that can begin now, and whether a further session would have something to do.
    fn next(&mut self, batching: &Batching) -> Next {
        let mut next = Next::default();
        if self.closed.is_some() {
            return next;
        }
        while let Some(start) = self.start(batching) {
            next.starts.push(start);
        }
        if self.sessions.lacking(self.jobs.len()) {
            self.sessions.growing = true;
            next.grow = Some(Grow { generation: self.sessions.generation });
        }
        next
    }

    /// The next run, if a session is idle that may run it.
    fn start(&mut self, batching: &Batching) -> Option<Start> {
        let width = self.sessions.idle_for(self.jobs.len())?;
        let now = Instant::now();
        self.charge_running(now);
        // What is too late is taken back by its caller.
        let in_time = self.jobs.iter().filter(|entry| entry.key.deadline > now);
        let candidates =
            in_time.map(|entry| (Place { flow: entry.flow, ticket: entry.key }, entry.value));
        let chosen = batching.choose(candidates);
        let taken = chosen.iter().filter_map(|place| self.jobs.remove(place.flow, &place.ticket));
        let jobs: Vec<Job> = taken.collect();
        let first = jobs.first()?.flow;
        let runner = self.sessions.take(width)?;
        self.jobs.serve(first);
        let mut members = Vec::with_capacity(jobs.len());
        for job in &jobs {
            // Now, so that another session that is free does not take the same flow's next call as well.
            let charged = self.jobs.expected(job.flow);
            self.jobs.charge(job.flow, charged, now);
            let (flow, cancel) = (job.flow, job.cancel.clone());
            members.push(Member { flow, rows: batch::rows(job).unwrap_or(1), charged, cancel });
        }
        let (id, generation) = (RunId(self.runs), self.sessions.generation);
        self.running.push(Run { id, width, generation, began: now, members });
        self.runs += 1;
        self.taken += jobs.len() as u64;
        let size = jobs.len().next_power_of_two().ilog2() as usize;
        self.batch_sizes[size.min(BATCH_SIZES - 1)] += 1;
        Some(Start { run: id, runner, jobs })
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

/// A graph's sessions.
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
    /// Those that have nothing to do.
    idle_wide: Option<Box<dyn Runner>>,
    idle_narrow: Vec<Box<dyn Runner>>,
    /// Counts how often all sessions were replaced, as their process was: one of an earlier generation
    /// does not come back.
    generation: u64,
    /// No run begins: the sessions are being replaced.
    held: bool,
}

impl Sessions {
    /// Which idle session is to run one of the `waiting` jobs.
    fn idle_for(&self, waiting: usize) -> Option<Width> {
        if self.held || waiting == 0 || self.busy >= self.most {
            return None;
        }
        let wide = self.idle_wide.is_some() && self.narrow_busy == 0;
        let narrow = !self.idle_narrow.is_empty() && (self.busy > 0 || waiting > 1);
        // Of several jobs that wait, narrow sessions take all.
        match (narrow, wide) {
            (true, _) => Some(Width::Narrow),
            (false, true) => Some(Width::Wide),
            (false, false) => None,
        }
    }

    fn take(&mut self, width: Width) -> Option<Box<dyn Runner>> {
        let runner = match width {
            Width::Wide => self.idle_wide.take(),
            Width::Narrow => self.idle_narrow.pop(),
        }?;
        self.busy += 1;
        self.narrow_busy += usize::from(width == Width::Narrow);
        Some(runner)
    }

    /// A session that may run again.
    fn give_back(&mut self, width: Width, runner: Box<dyn Runner>) {
        match width {
            Width::Wide => self.idle_wide = Some(runner),
            Width::Narrow => self.idle_narrow.push(runner),
        }
    }

    /// Whether another one would have something to do while `waiting` jobs wait.
    fn lacking(&self, waiting: usize) -> bool {
        // Of several jobs that wait, narrow sessions take all as soon as there is one: the wide one does
        // not run beside them.
        let wide = usize::from(self.busy == 0 && self.narrow == 0);
        let idle = wide + self.narrow - self.narrow_busy.min(self.narrow);
        !self.held && waiting > idle && !self.growing && self.narrow < self.most_narrow
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

/// How many narrow sessions there may be, where `most` runs may go on at once.
fn narrow_of(most: usize) -> usize {
    if most > 1 { most } else { 0 }
}

impl Queue {
    /// For `capacity` waiting calls of each flow, and `sessions` runs at the same time. No run begins before
    /// it is opened.
    pub fn new(capacity: usize, sessions: usize, batching: Batching) -> Queue {
        let state = QueueState {
            jobs: FairQueue::new(),
            arrivals: 0,
            running: Vec::new(),
            sessions: Sessions {
                most: sessions,
                most_narrow: narrow_of(sessions),
                held: true,
                ..Sessions::default()
            },
            runs: 0,
            taken: 0,
            left: 0,
            batch_sizes: [0; BATCH_SIZES],
            closed: None,
        };
        let (state, idle) = (Mutex::new(state), Notify::new());
        Queue { state, idle, capacity: capacity.max(1), batching }
    }

    pub fn batching(&self) -> &Batching {
        &self.batching
    }

    /// Adds a job, or says why not.
    pub fn push(&self, job: Job) -> Result<(Place, Next), NnError> {
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
        Ok((place, state.next(&self.batching)))
    }

    /// A fresh wide session, after all earlier ones were put aside: runs begin again.
    pub fn open(&self, wide: Box<dyn Runner>) -> Next {
        let mut state = self.lock();
        state.sessions.held = false;
        state.sessions.idle_wide = Some(wide);
        state.next(&self.batching)
    }

    /// Puts all sessions aside: no run begins until the queue is opened again. Those under way go on.
    pub fn hold(&self) {
        let mut state = self.lock();
        let sessions = &mut state.sessions;
        sessions.held = true;
        sessions.generation += 1;
        sessions.growing = false;
        sessions.narrow = 0;
        // Those that could not be made may be possible where the next ones are.
        sessions.most_narrow = narrow_of(sessions.most);
        let put_aside = (sessions.idle_wide.take(), std::mem::take(&mut sessions.idle_narrow));
        drop(state); // Closing their connections takes a moment.
        drop(put_aside);
    }

    /// Sessions that have had nothing to do for `since` give back what they keep.
    pub fn rest(&self, since: Duration) {
        let sessions = &mut self.lock().sessions;
        for runner in sessions.idle_wide.iter_mut().chain(&mut sessions.idle_narrow) {
            runner.rest(since);
        }
    }

    /// Waits until no run is under way.
    pub async fn idle(&self) {
        loop {
            let mut told = std::pin::pin!(self.idle.notified());
            told.as_mut().enable();
            if self.lock().running.is_empty() {
                return;
            }
            told.await;
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

    /// Ends the sessions; callers still waiting get `reason`.
    pub fn close(&self, reason: NnError) {
        let mut state = self.lock();
        let waiting: Vec<Job> = state.jobs.drain().collect();
        state.closed.get_or_insert_with(|| reason.clone());
        let sessions = &mut state.sessions;
        let ended = (sessions.idle_wide.take(), std::mem::take(&mut sessions.idle_narrow));
        drop(state);
        drop(ended);
        for job in waiting {
            let _ = job.reply.send(Err(reason.clone()));
        }
    }

    /// A run has ended, and its session may run again; None where it is gone.
    pub fn finished(&self, id: RunId, runner: Option<Box<dyn Runner>>) -> Next {
        let mut state = self.lock();
        let Some(at) = state.running.iter().position(|run| run.id == id) else {
            return Next::default();
        };
        let run = state.running.swap_remove(at);
        if state.running.is_empty() {
            self.idle.notify_waiters();
        }
        state.sessions.busy -= 1;
        state.sessions.narrow_busy -= usize::from(run.width == Width::Narrow);
        let (width, generation) = (run.width, run.generation);
        state.charge_ended(run, Instant::now());
        let current = generation == state.sessions.generation && state.closed.is_none();
        match runner {
            Some(runner) if current => state.sessions.give_back(width, runner),
            None if current && width == Width::Narrow => state.sessions.narrow -= 1,
            _ => {}
        }
        state.next(&self.batching)
    }

    /// The session that was to be made is there, or cannot be made: then there will be no more.
    pub fn grown(&self, grow: Grow, runner: Option<Box<dyn Runner>>) -> Next {
        let mut state = self.lock();
        let sessions = &mut state.sessions;
        if grow.generation != sessions.generation {
            return Next::default();
        }
        sessions.growing = false;
        match runner {
            Some(runner) => {
                sessions.narrow += 1;
                sessions.idle_narrow.push(runner);
            }
            None => sessions.most_narrow = sessions.narrow,
        }
        state.next(&self.batching)
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
