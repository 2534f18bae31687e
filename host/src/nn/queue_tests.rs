//! Tests of the queue: capacity, order, leaving and closing.

use std::time::Duration;

use tokio::sync::oneshot;

use super::*;
use crate::nn::job::Answer;

/// Where a job's reply comes.
type Reply = oneshot::Receiver<Result<Answer, NnError>>;

fn job() -> (Job, Reply, Arc<Cancel>) {
    let (reply, answer) = oneshot::channel();
    let cancel = Arc::<Cancel>::default();
    (Job { inputs: vec![], outputs: vec![], reply, cancel: cancel.clone() }, answer, cancel)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn the_earliest_deadline_is_taken_first() {
    let (queue, now) = (Queue::new(8, 1), Instant::now());
    let mut wanted = Vec::new();
    for seconds in [30, 10, 20] {
        let (job, _answer, cancel) = job();
        queue.push(now + Duration::from_secs(seconds), job).unwrap();
        wanted.push((seconds, cancel));
    }
    wanted.sort_by_key(|(seconds, _)| *seconds);
    for (_, cancel) in wanted {
        let mut taken = Vec::new();
        assert!(queue.take(Width::Wide, &Batching::NONE, &mut taken));
        assert!(taken.len() == 1 && Arc::ptr_eq(&taken[0].cancel, &cancel));
    }
}

#[test]
fn a_full_queue_refuses_and_a_caller_who_leaves_makes_room() {
    let queue = Queue::new(2, 1);
    let (first, _a, _) = job();
    let (ticket, _) = queue.push(soon(), first).unwrap();
    let (second, _b, _) = job();
    queue.push(soon(), second).unwrap();
    let (third, _c, _) = job();
    assert!(matches!(queue.push(soon(), third), Err(NnError::Busy(_))));
    queue.forget(&ticket);
    assert_eq!(queue.stats().left, 1);
    let (third, _c, last) = job();
    queue.push(soon(), third).unwrap();
    let mut taken = Vec::new();
    assert!(
        queue.take(Width::Wide, &Batching::NONE, &mut taken)
            && queue.take(Width::Wide, &Batching::NONE, &mut taken)
    );
    assert_eq!(taken.len(), 2);
    assert!(Arc::ptr_eq(&taken[1].cancel, &last));
}

#[test]
fn a_closed_queue_tells_everybody_why() {
    let queue = Queue::new(8, 1);
    let (waiting, mut answer, _) = job();
    queue.push(soon(), waiting).unwrap();
    queue.close(NnError::Runtime("broken".into()));
    assert_eq!(answer.try_recv().unwrap().unwrap_err().to_string(), "broken");
    assert_eq!(queue.push(soon(), job().0).unwrap_err().to_string(), "broken");
    assert!(!queue.take(Width::Wide, &Batching::NONE, &mut Vec::new()));
}

#[test]
fn runs_whose_callers_have_left_are_counted_until_they_end() {
    let queue = Queue::new(8, 1);
    let (first, _answer, cancel) = job();
    queue.push(soon(), first).unwrap();
    queue.take(Width::Wide, &Batching::NONE, &mut Vec::new());
    cancel.cancel();
    let stats = queue.stats();
    assert_eq!((stats.waiting, stats.busy, stats.abandoned, stats.runs), (0, 1, 1, 1));
    queue.finished(Width::Wide, &[cancel]);
    let stats = queue.stats();
    assert_eq!((stats.busy, stats.abandoned, stats.runs), (0, 0, 1));
}

#[test]
fn a_run_that_is_alone_is_wide_and_runs_beside_each_other_are_narrow() {
    let queue = Queue::new(8, 2);
    let take = |width| {
        let mut taken = Vec::new();
        // The other one does not wait here: it would never be told.
        let waiting = queue.stats().waiting;
        let may = queue.lock().sessions.may(width, waiting);
        may.then(|| queue.take(width, &Batching::NONE, &mut taken)).map(|_| taken.remove(0).cancel)
    };
    let push = || queue.push(soon(), job().0).unwrap().1;
    assert!(!push(), "one session is enough for one call");
    assert!(take(Width::Narrow).is_none(), "it is left to the wide one");
    let first = take(Width::Wide).unwrap();
    assert!(push(), "a second call at once is what a second session is for");
    assert!(!push(), "which is expected now");
    queue.grown(true);
    let second = take(Width::Narrow).unwrap();
    assert!(take(Width::Narrow).is_none(), "two runs are the most");
    queue.finished(Width::Wide, &[first]);
    assert!(take(Width::Wide).is_none(), "not beside a narrow one");
    let third = take(Width::Narrow).unwrap();
    assert_eq!(queue.stats().busy, 2);
    queue.finished(Width::Narrow, &[second]);
    queue.finished(Width::Narrow, &[third]);
    push();
    assert!(take(Width::Narrow).is_none() && take(Width::Wide).is_some(), "alone again");
}
