//! The threads of a graph. Each owns one native session and runs one job after another.
//!
//! Native code needs real threads: a guest's stack is small, and an overflow there aborts the
//! process.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use super::{
    NnError,
    backend::Session,
    queue::{Job, Queue},
};

/// Enough for deep recursion in graph loaders and kernels.
const STACK_BYTES: usize = 8 << 20;

/// Starts a thread fit for native code.
pub fn native_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_string()).stack_size(STACK_BYTES).spawn(work)
}

/// Serves jobs of `queue` with `session` until the queue is closed.
pub fn serve(graph: &str, session: Box<dyn Session>, queue: Arc<Queue>) -> io::Result<()> {
    let graph = graph.to_string();
    let worker = move || {
        let mut session = session;
        let mut jobs = Vec::new();
        while queue.take(1, &mut jobs) {
            for job in jobs.drain(..) {
                let cancel = job.cancel.clone();
                run(&graph, session.as_mut(), &queue, job);
                queue.finished(&cancel);
            }
        }
    };
    native_thread("nn-session", worker).map(drop)
}

/// Runs one job and replies. A panic is the end of the graph: what it left behind, in the session
/// or in the library, may be broken.
fn run(graph: &str, session: &mut dyn Session, queue: &Queue, job: Job) {
    if job.cancel.is_cancelled() {
        return;
    }
    let result =
        catch_unwind(AssertUnwindSafe(|| session.run(&job.inputs, &job.outputs, &job.cancel)));
    let result = result.unwrap_or_else(|panic| {
        let what = panic_message(panic.as_ref());
        tracing::error!(graph, "failed until the next start: the native run panicked: {what}");
        let failed = NnError::Runtime(format!("graph `{graph}` failed: its native run broke down"));
        queue.close(failed.clone());
        Err(failed)
    });
    // Free the inputs before the caller goes on, so that memory counted is memory in use.
    drop(job.inputs);
    let _ = job.reply.send(result);
}

/// The text of a panic.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
