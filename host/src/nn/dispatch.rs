//! Gives runs to a graph's sessions, and their answers to those who called. Whoever pushes a call while a
//! session is idle begins the run at once, and a task beside it waits for the answer and gives the
//! session the next run: between a call and its run there is one way to another thread and one back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::runtime::Handle;

use super::{
    NnError, Tensor, batch,
    cancel::{Cancel, Stop},
    job::{Answer, Job},
    queue::{Grow, Next, Place, Queue, Start},
    runner::{Run, RunEnd, Runner, RunnerSource},
};

/// What belongs to a graph's runs.
pub struct Dispatch {
    /// The graph's name, for logs.
    pub name: String,
    pub queue: Queue,
    pub source: Arc<dyn RunnerSource>,
    /// Threads of each further session.
    pub threads: usize,
}

/// What became of the jobs of a run.
enum Served {
    /// All have their answers.
    Answered,
    /// The process ended that ran them, and these are still wanted.
    Lost(Vec<Job>),
    /// It was ended because the run went on after its time. All have their answers.
    Overran,
}

impl Dispatch {
    /// Takes a job, and begins its run if a session is idle.
    pub fn push(self: &Arc<Self>, job: Job) -> Result<Place, NnError> {
        if let Some(refusal) = self.source.refuses() {
            return Err(refusal);
        }
        let (place, next) = self.queue.push(job)?;
        self.begin(next, &Handle::current());
        Ok(place)
    }

    /// A session that runs alone uses all threads: see [`Queue::open`].
    pub fn open(self: &Arc<Self>, wide: Box<dyn Runner>, on: &Handle) {
        let next = self.queue.open(wide);
        self.begin(next, on);
    }

    fn begin(self: &Arc<Self>, next: Next, on: &Handle) {
        for start in next.starts {
            on.spawn(self.clone().drive(start));
        }
        if let Some(grow) = next.grow {
            on.spawn(self.clone().grow(grow));
        }
    }

    /// Makes one more session.
    async fn grow(self: Arc<Self>, grow: Grow) {
        let made = self.source.runner(self.threads).await;
        let made = made.inspect_err(|e| {
            tracing::warn!(graph = self.name, "no further session can be made: {e}");
        });
        if made.is_ok() {
            tracing::debug!(graph = self.name, "a further session, of {} threads", self.threads);
        }
        let next = self.queue.grown(grow, made.ok());
        self.begin(next, &Handle::current());
    }

    /// Sees one run to its end, and those after it for which the session is free.
    async fn drive(self: Arc<Self>, start: Start) {
        let mut start = Some(start);
        while let Some(Start { run, mut runner, jobs }) = start {
            let served = self.serve(runner.as_mut(), jobs).await;
            let runner = match served {
                Served::Answered => Some(runner),
                Served::Lost(jobs) => {
                    self.source.lost(jobs);
                    None
                }
                Served::Overran => {
                    self.source.overran();
                    None
                }
            };
            let mut next = self.queue.finished(run, runner);
            start = match next.starts.is_empty() {
                true => None,
                false => Some(next.starts.swap_remove(0)),
            };
            self.begin(next, &Handle::current());
        }
    }

    /// Runs jobs that go together and replies.
    async fn serve(&self, runner: &mut dyn Runner, mut jobs: Vec<Job>) -> Served {
        jobs.retain(|job| !job.cancel.is_cancelled());
        if jobs.len() < 2 {
            return self.serve_each(runner, jobs).await;
        }
        match self.run_together(runner, &jobs).await {
            Ok(parts) => {
                self.source.answered();
                let batch_size = jobs.len();
                for (job, tensors) in jobs.into_iter().zip(parts) {
                    reply(job, Ok(Answer { tensors, batch_size }));
                }
                Served::Answered
            }
            Err(RunEnd::Lost) => Served::Lost(jobs),
            Err(RunEnd::Overrun(error)) => {
                jobs.into_iter().for_each(|job| reply(job, Err(error.clone())));
                Served::Overran
            }
            Err(RunEnd::Failed(error @ (NnError::Cancelled | NnError::Broken(_)))) => {
                self.close_if_broken(&error);
                jobs.into_iter().for_each(|job| reply(job, Err(error.clone())));
                Served::Answered
            }
            // One of them may be why; it fails alone.
            Err(RunEnd::Failed(_)) => self.serve_each(runner, jobs).await,
        }
    }

    /// Runs jobs one after another and replies.
    async fn serve_each(&self, runner: &mut dyn Runner, jobs: Vec<Job>) -> Served {
        let mut jobs = jobs.into_iter();
        while let Some(job) = jobs.next() {
            match self.serve_alone(runner, job).await {
                Ok(()) => {}
                Err(RunAlone::Lost(job)) => {
                    return Served::Lost(std::iter::once(job).chain(jobs).collect());
                }
                Err(RunAlone::Overran) => match jobs.len() {
                    0 => return Served::Overran,
                    _ => {
                        self.source.overran();
                        return Served::Lost(jobs.collect());
                    }
                },
            }
        }
        Served::Answered
    }

    /// Runs one job and replies.
    pub async fn serve_alone(&self, runner: &mut dyn Runner, job: Job) -> Result<(), RunAlone> {
        let run = Run { inputs: &job.inputs, outputs: &job.outputs, cancel: &job.cancel };
        let result = match runner.run(run).await {
            Ok(tensors) => {
                self.source.answered();
                Ok(Answer { tensors, batch_size: 1 })
            }
            Err(RunEnd::Failed(error)) => {
                self.close_if_broken(&error);
                Err(error)
            }
            Err(RunEnd::Lost) => return Err(RunAlone::Lost(job)),
            Err(RunEnd::Overrun(error)) => {
                reply(job, Err(error));
                return Err(RunAlone::Overran);
            }
        };
        reply(job, result);
        Ok(())
    }

    /// One native run for all; it is stopped when the last of their callers has left.
    async fn run_together(
        &self,
        runner: &mut dyn Runner,
        jobs: &[Job],
    ) -> Result<Vec<Vec<Tensor>>, RunEnd> {
        let inputs = batch::join(jobs)?;
        let outputs = jobs.first().map(|job| job.outputs.clone()).unwrap_or_default();
        let whole = Arc::<Cancel>::default();
        let left = Arc::new(AtomicUsize::new(jobs.len()));
        let stop: Stop = {
            let whole = whole.clone();
            Arc::new(move || {
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    whole.cancel();
                }
            })
        };
        let mut members = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job.cancel.running(&stop) {
                Ok(member) => members.push(member),
                // It left just now.
                Err(_) => stop(),
            }
        }
        let run = Run { inputs: &inputs, outputs: &outputs, cancel: &whole };
        let outputs = runner.run(run).await?;
        drop(members);
        Ok(batch::split(&outputs, jobs)?)
    }

    /// What a panic left behind in this process, in the session or in the library, may be broken.
    fn close_if_broken(&self, error: &NnError) {
        if matches!(error, NnError::Broken(_)) {
            tracing::error!(graph = self.name, "failed until the next start: {error}");
            self.queue.close(error.clone());
        }
    }
}

/// Why a job that ran alone has no session any more.
pub enum RunAlone {
    Lost(Job),
    /// It has its answer.
    Overran,
}

/// Answers a job.
pub fn reply(job: Job, result: Result<Answer, NnError>) {
    // The inputs are freed before the caller goes on, so that memory counted is memory in use.
    drop(job.inputs);
    let _ = job.reply.send(result);
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
