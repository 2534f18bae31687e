//! Tests of sessions in this process: what happens when native code panics or is stopped.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::*;
use crate::{
    fair::Flow,
    nn::{
        DType, LoadError,
        backend::{Session, SessionFactory},
        batch::Batching,
        local::{LocalGraph, LocalRunner},
    },
};

/// There is one session, made beforehand.
struct NoMore;

impl SessionFactory for NoMore {
    fn session(&self, _: Option<usize>) -> Result<Box<dyn Session>, LoadError> {
        Err(LoadError::Graph("there is one".into()))
    }
}

fn serve(name: &str, session: Box<dyn Session>, batching: Batching) -> Arc<Dispatch> {
    let source =
        LocalGraph { name: name.to_owned(), factory: Arc::new(NoMore), ledger: Arc::default() };
    let (source, queue) = (Arc::new(source), Queue::new(8, 1, batching));
    let dispatch = Arc::new(Dispatch { name: name.to_owned(), queue, source, threads: 1 });
    let runner = LocalRunner::new(name, session, &Arc::default()).unwrap();
    dispatch.open(Box::new(runner), &Handle::current());
    dispatch
}

/// A backend that panics in each run of a call without inputs.
struct FragileSession;

impl Session for FragileSession {
    fn run(
        &mut self,
        inputs: &[(usize, Tensor)],
        _: &[usize],
        _: &Cancel,
    ) -> Result<Vec<Tensor>, NnError> {
        assert!(!inputs.is_empty(), "no inputs");
        Ok(vec![])
    }
}

type Reply = oneshot::Sender<Result<Answer, NnError>>;

fn job(inputs: Vec<(usize, Tensor)>, reply: Reply, cancel: Arc<Cancel>) -> Job {
    let deadline = Instant::now() + Duration::from_secs(60);
    Job { flow: Flow::ALONE, deadline, inputs, outputs: vec![], may_stay: false, reply, cancel }
}

async fn call(dispatch: &Arc<Dispatch>, inputs: Vec<(usize, Tensor)>) -> Result<Answer, NnError> {
    let (reply, answer) = oneshot::channel();
    dispatch.push(job(inputs, reply, Arc::default()))?;
    answer.await.unwrap_or(Err(NnError::Cancelled))
}

#[tokio::test]
async fn a_panic_fails_the_graph_for_all_callers() {
    let dispatch = serve("fragile", Box::new(FragileSession), Batching::NONE);
    let good = vec![(0, Tensor::new(DType::U8, [1u64], vec![1].into()).unwrap())];
    assert!(call(&dispatch, good.clone()).await.is_ok());
    let failed = "graph `fragile` failed: its native run broke down";
    assert_eq!(call(&dispatch, vec![]).await.unwrap_err().to_string(), failed);
    assert_eq!(call(&dispatch, good).await.unwrap_err().to_string(), failed);
    assert_eq!(dispatch.queue.stats().waiting, 0);
}

/// A backend whose runs last until they are stopped; it says how many rows each had, and whether it
/// was stopped.
#[derive(Clone, Default)]
struct EndlessSession {
    rows: Arc<Mutex<Vec<u64>>>,
    stopped: Arc<AtomicUsize>,
}

impl Session for EndlessSession {
    fn run(
        &mut self,
        inputs: &[(usize, Tensor)],
        _: &[usize],
        cancel: &Cancel,
    ) -> Result<Vec<Tensor>, NnError> {
        let (stop, stopped) = std::sync::mpsc::channel();
        let stop: Stop = Arc::new(move || {
            let _ = stop.send(());
        });
        let _running = cancel.running(&stop)?;
        self.rows.lock().unwrap().push(inputs[0].1.shape()[0]);
        stopped.recv().unwrap();
        self.stopped.fetch_add(1, Ordering::SeqCst);
        Err(NnError::Cancelled)
    }
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_run_of_several_is_stopped_when_the_last_has_left() {
    let session = EndlessSession::default();
    let batching = Batching { rows: 8, bytes: 1000, elements: 1000, inputs: 1, powers: false };
    let dispatch = serve("endless", Box::new(session.clone()), batching);
    let queue = &dispatch.queue;
    let job = || {
        let (reply, answer) = oneshot::channel();
        let cancel = Arc::<Cancel>::default();
        let inputs = vec![(0, Tensor::new(DType::U8, [1u64], vec![1].into()).unwrap())];
        dispatch.push(self::job(inputs, reply, cancel.clone())).unwrap();
        (cancel, answer)
    };
    let began = |runs: usize| {
        let rows = session.rows.clone();
        until(move || rows.lock().unwrap().len() == runs)
    };
    let (alone, _answer) = job();
    began(1).await;
    let members = [job(), job(), job()];
    alone.cancel();
    began(2).await;
    assert_eq!(*session.rows.lock().unwrap(), [1, 3]);
    members[0].0.cancel();
    members[2].0.cancel();
    assert_eq!((session.stopped.load(Ordering::SeqCst), queue.stats().abandoned), (1, 2));
    members[1].0.cancel();
    until(|| queue.stats().busy == 0).await;
    assert_eq!(session.stopped.load(Ordering::SeqCst), 2);
}
