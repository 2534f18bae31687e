//! Tests of session threads: what happens when native code panics.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::*;
use crate::nn::{LoadError, Tensor, queue::Cancel};

/// A backend that panics in each run of a call without inputs, and makes `left` more sessions.
struct Fragile {
    left: AtomicUsize,
}

struct FragileSession;

impl Model for Fragile {
    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        left.map(|_| Box::new(FragileSession) as Box<dyn Session>)
            .map_err(|_| LoadError("no memory".into()))
    }
}

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

async fn call(queue: &Queue, inputs: Vec<(usize, Tensor)>) -> Result<Vec<Tensor>, NnError> {
    let (reply, answer) = oneshot::channel();
    queue.push(Job { inputs, outputs: vec![], reply, cancel: Arc::default() })?;
    answer.await.unwrap_or(Err(NnError::Cancelled))
}

#[tokio::test]
async fn a_panic_fails_its_call_and_a_fresh_session_serves_the_next() {
    let queue = Arc::new(Queue::new(8, 1));
    let model = Arc::new(Fragile { left: 1.into() });
    serve("fragile", model, Box::new(FragileSession), queue.clone()).unwrap();
    let good = vec![(0, Tensor::new(crate::nn::DType::U8, [1u64], vec![1].into()).unwrap())];

    assert_eq!(
        call(&queue, vec![]).await.unwrap_err().to_string(),
        "the native run of graph `fragile` broke down"
    );
    assert!(call(&queue, good.clone()).await.is_ok());
    // The second panic costs the last session: from then on the graph says that it no longer works.
    assert!(call(&queue, vec![]).await.is_err());
    let lost = loop {
        match call(&queue, good.clone()).await {
            Err(e) => break e.to_string(),
            Ok(_) => continue,
        }
    };
    assert_eq!(lost, "graph `fragile` no longer works: no memory");
}
