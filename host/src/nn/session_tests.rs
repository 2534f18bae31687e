//! Tests of session threads: what happens when native code panics.

use tokio::sync::oneshot;

use super::*;
use crate::nn::{Tensor, queue::Cancel};

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

async fn call(queue: &Queue, inputs: Vec<(usize, Tensor)>) -> Result<Vec<Tensor>, NnError> {
    let (reply, answer) = oneshot::channel();
    queue.push(Job { inputs, outputs: vec![], reply, cancel: Arc::default() })?;
    answer.await.unwrap_or(Err(NnError::Cancelled))
}

#[tokio::test]
async fn a_panic_fails_the_graph_for_all_callers() {
    let queue = Arc::new(Queue::new(8));
    serve("fragile", Box::new(FragileSession), queue.clone()).unwrap();
    let good = vec![(0, Tensor::new(crate::nn::DType::U8, [1u64], vec![1].into()).unwrap())];
    assert!(call(&queue, good.clone()).await.is_ok());
    let failed = "graph `fragile` failed: its native run broke down";
    assert_eq!(call(&queue, vec![]).await.unwrap_err().to_string(), failed);
    assert_eq!(call(&queue, good).await.unwrap_err().to_string(), failed);
    assert_eq!(queue.stats().waiting, 0);
}
