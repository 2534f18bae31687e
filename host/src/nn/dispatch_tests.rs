//! Tests of session threads: what happens when native code panics.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::*;
use crate::{fair::Flow, nn::DType};

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
    Job { flow: Flow::ALONE, deadline, inputs, outputs: vec![], reply, cancel }
}

async fn call(queue: &Queue, inputs: Vec<(usize, Tensor)>) -> Result<Answer, NnError> {
    let (reply, answer) = oneshot::channel();
    queue.push(job(inputs, reply, Arc::default()))?;
    answer.await.unwrap_or(Err(NnError::Cancelled))
}

#[tokio::test]
async fn a_panic_fails_the_graph_for_all_callers() {
    let queue = Arc::new(Queue::new(8, 1));
    serve("fragile", Box::new(FragileSession), queue.clone(), Batching::NONE).unwrap();
    let good = vec![(0, Tensor::new(DType::U8, [1u64], vec![1].into()).unwrap())];
    assert!(call(&queue, good.clone()).await.is_ok());
    let failed = "graph `fragile` failed: its native run broke down";
    assert_eq!(call(&queue, vec![]).await.unwrap_err().to_string(), failed);
    assert_eq!(call(&queue, good).await.unwrap_err().to_string(), failed);
    assert_eq!(queue.stats().waiting, 0);
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
    let (session, queue) = (EndlessSession::default(), Arc::new(Queue::new(8, 1)));
    let batching = Batching { rows: 8, bytes: 1000, elements: 1000, inputs: 1, powers: false };
    serve("endless", Box::new(session.clone()), queue.clone(), batching).unwrap();
    let job = || {
        let (reply, answer) = oneshot::channel();
        let cancel = Arc::<Cancel>::default();
        let inputs = vec![(0, Tensor::new(DType::U8, [1u64], vec![1].into()).unwrap())];
        queue.push(self::job(inputs, reply, cancel.clone())).unwrap();
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
