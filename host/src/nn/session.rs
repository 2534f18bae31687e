//! The threads of a graph. Each owns one native session and runs one job after another, or several
//! as one.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    LoadError, NnError, Tensor,
    backend::{Session, SessionFactory},
    batch::{self, Batching},
    cancel::{Cancel, Stop},
    job::{Answer, Job},
    queue::{Queue, Width},
    thread::{native_thread, panic_message},
};

/// Serves jobs of `queue` with the wide `session` until the queue is closed.
pub fn serve(
    graph: &str,
    session: Box<dyn Session>,
    queue: Arc<Queue>,
    batching: Batching,
) -> io::Result<()> {
    let mut runner = Runner { graph: graph.to_string(), session, queue };
    native_thread("nn-session", move || runner.serve_all(Width::Wide, batching)).map(drop)
}

/// Makes a narrow session of `threads` threads for `queue`, and serves with it. The queue expects it.
pub fn grow(
    graph: &str,
    factory: Arc<dyn SessionFactory>,
    threads: usize,
    queue: Arc<Queue>,
    batching: Batching,
) {
    let (name, waiting) = (graph.to_string(), queue.clone());
    let worker = move || {
        let made = catch_unwind(AssertUnwindSafe(|| factory.session(Some(threads))));
        let made = made.unwrap_or_else(|panic| {
            Err(LoadError::Graph(format!("it broke down: {}", panic_message(panic.as_ref()))))
        });
        let more = queue.grown(made.is_ok());
        match made {
            Ok(session) => {
                if more {
                    grow(&name, factory, threads, queue.clone(), batching);
                }
                tracing::debug!(graph = name, "a further session, of {threads} threads");
                Runner { graph: name, session, queue }.serve_all(Width::Narrow, batching);
            }
            Err(e) => tracing::warn!(graph = name, "no further session can be made: {e}"),
        }
    };
    if let Err(e) = native_thread("nn-session", worker) {
        waiting.grown(false);
        tracing::warn!(graph, "no further session can be made: {e}");
    }
}

struct Runner {
    graph: String,
    session: Box<dyn Session>,
    queue: Arc<Queue>,
}

impl Runner {
    fn serve_all(&mut self, width: Width, batching: Batching) {
        while let Some(taken) = self.queue.take(width, &batching) {
            self.serve(taken.jobs);
            self.queue.finished(taken.run);
        }
    }

    /// Runs jobs that go together and replies.
    fn serve(&mut self, mut jobs: Vec<Job>) {
        jobs.retain(|job| !job.cancel.is_cancelled());
        if jobs.len() < 2 {
            jobs.into_iter().for_each(|job| self.serve_alone(job));
            return;
        }
        match self.run_together(&jobs) {
            Ok(parts) => {
                let batch_size = jobs.len();
                for (job, tensors) in jobs.into_iter().zip(parts) {
                    reply(job, Ok(Answer { tensors, batch_size }));
                }
            }
            Err(error @ (NnError::Cancelled | NnError::Broken(_))) => {
                jobs.into_iter().for_each(|job| reply(job, Err(error.clone())));
            }
            // One of them may be why; it fails alone.
            Err(_) => jobs.into_iter().for_each(|job| self.serve_alone(job)),
        }
    }

    fn serve_alone(&mut self, job: Job) {
        let result = self.run(&job.inputs, &job.outputs, &job.cancel);
        reply(job, result.map(|tensors| Answer { tensors, batch_size: 1 }));
    }

    /// One native run for all; it is stopped when the last of their callers has left.
    fn run_together(&mut self, jobs: &[Job]) -> Result<Vec<Vec<Tensor>>, NnError> {
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
        let outputs = self.run(&inputs, &outputs, &whole)?;
        drop(members);
        batch::split(&outputs, jobs)
    }

    /// A panic is the end of the graph: what it left behind, in the session or in the library, may
    /// be broken.
    fn run(
        &mut self,
        inputs: &[(usize, Tensor)],
        outputs: &[usize],
        cancel: &Cancel,
    ) -> Result<Vec<Tensor>, NnError> {
        let session = self.session.as_mut();
        let run = AssertUnwindSafe(|| session.run(inputs, outputs, cancel));
        catch_unwind(run).unwrap_or_else(|panic| {
            let (graph, what) = (&self.graph, panic_message(panic.as_ref()));
            tracing::error!(graph, "failed until the next start: the native run panicked: {what}");
            let failed =
                NnError::Broken(format!("graph `{graph}` failed: its native run broke down"));
            self.queue.close(failed.clone());
            Err(failed)
        })
    }
}

fn reply(job: Job, result: Result<Answer, NnError>) {
    // The inputs are freed before the caller goes on, so that memory counted is memory in use.
    drop(job.inputs);
    let _ = job.reply.send(result);
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
