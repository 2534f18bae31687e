//! Tests of the queue: capacity, order, leaving and closing.

use super::*;

/// Where a job's reply comes.
type Answer = oneshot::Receiver<Result<Vec<Tensor>, NnError>>;

fn job() -> (Job, Answer, Arc<Cancel>) {
    let (reply, answer) = oneshot::channel();
    let cancel = Arc::<Cancel>::default();
    (Job { inputs: vec![], outputs: vec![], reply, cancel: cancel.clone() }, answer, cancel)
}

#[test]
fn a_full_queue_refuses_and_a_caller_who_leaves_makes_room() {
    let queue = Queue::new(2);
    let (first, _a, cancel) = job();
    queue.push(first).unwrap();
    let (second, _b, _) = job();
    queue.push(second).unwrap();
    let (third, _c, _) = job();
    assert!(matches!(queue.push(third), Err(NnError::Busy(_))));
    queue.forget(&cancel);
    let (third, _c, last) = job();
    queue.push(third).unwrap();
    let mut taken = Vec::new();
    assert!(queue.take(8, &mut taken));
    assert_eq!(taken.len(), 2);
    assert!(Arc::ptr_eq(&taken[1].cancel, &last));
}

#[test]
fn a_closed_queue_tells_everybody_why() {
    let queue = Queue::new(8);
    let (waiting, mut answer, _) = job();
    queue.push(waiting).unwrap();
    queue.close(NnError::Runtime("broken".into()));
    assert_eq!(answer.try_recv().unwrap().unwrap_err().to_string(), "broken");
    assert_eq!(queue.push(job().0).unwrap_err().to_string(), "broken");
    assert!(!queue.take(1, &mut Vec::new()));
}

#[test]
fn runs_whose_callers_have_left_are_counted_until_they_end() {
    let queue = Queue::new(8);
    let (first, _answer, cancel) = job();
    queue.push(first).unwrap();
    queue.take(1, &mut Vec::new());
    cancel.cancel();
    let stats = queue.stats();
    assert_eq!((stats.waiting, stats.running, stats.abandoned, stats.runs), (0, 1, 1, 1));
    queue.finished(&cancel);
    let stats = queue.stats();
    assert_eq!((stats.running, stats.abandoned, stats.runs), (0, 0, 1));
}

#[test]
fn a_run_is_stopped_only_while_it_lasts() {
    let stopped = Arc::new(Mutex::new(0));
    let count = stopped.clone();
    let stop: Stop = Arc::new(move || *count.lock().unwrap() += 1);
    let cancel = Cancel::default();
    drop(cancel.running(&stop).unwrap());
    let running = cancel.running(&stop).unwrap();
    cancel.cancel();
    drop(running);
    assert_eq!(*stopped.lock().unwrap(), 1);
    assert!(cancel.is_cancelled());
    assert!(matches!(cancel.running(&stop), Err(NnError::Cancelled)));
    cancel.cancel();
    assert_eq!(*stopped.lock().unwrap(), 1);
}
