//! Sessions on threads of this process: of a graph that the operator trusts with it, and of those that a
//! child serves.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
};

use tokio::sync::oneshot;

use super::{
    LoadError, NnError, Tensor,
    backend::{Session, SessionFactory},
    cancel::Cancel,
    job::Job,
    runner::{Going, Run, RunEnd, Runner, RunnerSource},
    spin::Spin,
    thread::{native_thread, panic_message},
};
use crate::ledger::Ledger;

/// Makes sessions of a graph that was read in this process.
pub struct LocalGraph {
    /// For messages.
    pub name: String,
    pub factory: Arc<dyn SessionFactory>,
    /// What outputs are charged to.
    pub ledger: Arc<Ledger>,
}

/// A run on its way to the thread that owns the session.
struct Order {
    inputs: Vec<(usize, Tensor)>,
    outputs: Vec<usize>,
    cancel: Arc<Cancel>,
    reply: oneshot::Sender<Result<Vec<Tensor>, NnError>>,
}

/// A session on a thread of its own, which ends with this.
pub struct LocalRunner {
    orders: mpsc::Sender<Order>,
    ledger: Arc<Ledger>,
    /// For answers.
    spin: Spin,
}

impl LocalRunner {
    /// Puts a session on a thread.
    pub fn new(
        name: &str,
        session: Box<dyn Session>,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, LoadError> {
        let (orders, waiting) = mpsc::channel();
        let name = name.to_owned();
        native_thread("nn-session", move || serve(&name, session, &waiting)).map_err(no_thread)?;
        Ok(Self { orders, ledger: ledger.clone(), spin: Spin::default() })
    }
}

fn no_thread(error: std::io::Error) -> LoadError {
    LoadError::Graph(format!("a session thread cannot start: {error}"))
}

/// Runs what comes, until nobody can send any more.
fn serve(name: &str, mut session: Box<dyn Session>, orders: &mpsc::Receiver<Order>) {
    let mut spin = Spin::default();
    let mut next = || spin.wait(|| orders.try_recv().ok()).or_else(|| orders.recv().ok());
    while let Some(Order { inputs, outputs, cancel, reply }) = next() {
        let result = run(name, session.as_mut(), &inputs, &outputs, &cancel);
        drop(inputs);
        // The caller may have left.
        let _ = reply.send(result);
    }
}

/// One run. A panic is the end of the graph: what it left behind, in the session or in the library, may
/// be broken.
pub fn run(
    name: &str,
    session: &mut dyn Session,
    inputs: &[(usize, Tensor)],
    outputs: &[usize],
    cancel: &Cancel,
) -> Result<Vec<Tensor>, NnError> {
    let run = AssertUnwindSafe(|| session.run(inputs, outputs, cancel));
    catch_unwind(run).unwrap_or_else(|panic| {
        let what = panic_message(panic.as_ref());
        tracing::error!(graph = name, "the native run panicked: {what}");
        Err(NnError::Broken(format!("graph `{name}` failed: its native run broke down")))
    })
}

/// Makes a session, which may panic.
pub fn make(
    factory: &dyn SessionFactory,
    threads: Option<usize>,
) -> Result<Box<dyn Session>, LoadError> {
    let made = catch_unwind(AssertUnwindSafe(|| factory.session(threads)));
    made.unwrap_or_else(|panic| {
        Err(LoadError::Graph(format!("it broke down: {}", panic_message(panic.as_ref()))))
    })
}

impl Runner for LocalRunner {
    fn run<'a>(&'a mut self, run: Run<'a>) -> Going<'a, Result<Vec<Tensor>, RunEnd>> {
        Box::pin(async move {
            let (reply, mut answer) = oneshot::channel();
            for (_, tensor) in run.inputs {
                tensor.fetch().await?;
            }
            let order = Order {
                inputs: run.inputs.to_vec(),
                outputs: run.outputs.to_vec(),
                cancel: run.cancel.clone(),
                reply,
            };
            let sent = self.orders.send(order);
            let ended = || NnError::Runtime("the session ended before it replied".into());
            sent.map_err(|_| ended())?;
            let outputs = match self.spin.wait_between(|| answer.try_recv().ok()).await {
                Some(outputs) => outputs?,
                None => answer.await.map_err(|_| ended())??,
            };
            let charged = outputs.into_iter().map(|output| output.charged(&self.ledger));
            Ok(charged.collect::<Result<_, _>>().map_err(NnError::from)?)
        })
    }
}

impl RunnerSource for LocalGraph {
    fn runner(&self, threads: usize) -> Going<'_, Result<Box<dyn Runner>, LoadError>> {
        let (name, factory) = (self.name.clone(), self.factory.clone());
        let ledger = self.ledger.clone();
        let (orders, waiting) = mpsc::channel();
        let (tell, made) = oneshot::channel();
        // The session is made on the thread that owns it.
        let thread = native_thread("nn-session", move || match make(&*factory, Some(threads)) {
            Ok(session) => {
                if tell.send(Ok(())).is_ok() {
                    serve(&name, session, &waiting);
                }
            }
            Err(e) => drop(tell.send(Err(e))),
        });
        Box::pin(async move {
            thread.map_err(no_thread)?;
            let ended = |_| LoadError::Graph("its thread ended".into());
            made.await.map_err(ended)??;
            Ok(Box::new(LocalRunner { orders, ledger, spin: Spin::default() }) as Box<dyn Runner>)
        })
    }

    fn refuses(&self) -> Option<NnError> {
        None
    }

    fn answered(&self) {}

    /// Nothing is lost but with this process.
    fn lost(&self, _: Vec<Job>) {}

    fn overran(&self) {}
}
