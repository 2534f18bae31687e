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
    backend::{Model, Session},
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
pub fn serve(
    graph: &str,
    model: Arc<dyn Model>,
    session: Box<dyn Session>,
    queue: Arc<Queue>,
) -> io::Result<()> {
    let graph = graph.to_string();
    let worker = move || {
        let mut session = session;
        let mut jobs = Vec::new();
        while queue.take(1, &mut jobs) {
            for job in jobs.drain(..) {
                if run(&graph, session.as_mut(), job) {
                    continue;
                }
                // Whatever the panic left behind in the session may be broken: start afresh.
                match renew(session, model.as_ref()) {
                    Ok(fresh) => session = fresh,
                    Err(reason) => {
                        tracing::error!(graph, "a session is lost: {reason}");
                        queue.session_lost(NnError::Runtime(format!(
                            "graph `{graph}` no longer works: {reason}"
                        )));
                        return;
                    }
                }
            }
        }
    };
    native_thread("nn-session", worker).map(drop)
}

/// Runs one job and replies. False where the session panicked.
fn run(graph: &str, session: &mut dyn Session, job: Job) -> bool {
    if job.cancel.is_cancelled() {
        return true;
    }
    let result =
        catch_unwind(AssertUnwindSafe(|| session.run(&job.inputs, &job.outputs, &job.cancel)));
    let sound = result.is_ok();
    let result = result.unwrap_or_else(|panic| {
        let what = panic_message(panic.as_ref());
        tracing::error!(graph, "the native run panicked: {what}");
        Err(NnError::Runtime(format!("the native run of graph `{graph}` broke down")))
    });
    // Free the inputs before the caller goes on, so that memory counted is memory in use.
    drop(job.inputs);
    let _ = job.reply.send(result);
    sound
}

fn renew(old: Box<dyn Session>, model: &dyn Model) -> Result<Box<dyn Session>, String> {
    let renewed = catch_unwind(AssertUnwindSafe(|| {
        drop(old);
        model.session()
    }));
    match renewed {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(panic) => Err(panic_message(panic.as_ref()).to_string()),
    }
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
