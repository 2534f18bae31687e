//! Tests of the queue: capacity, order, shares, leaving and closing.

use tokio::sync::oneshot;

use super::*;
use crate::nn::{
    DType, Tensor,
    job::Answer,
    runner::{Going, Run as RunRequest, RunEnd},
};

/// Where a job's reply comes.
type Reply = oneshot::Receiver<Result<Answer, NnError>>;

const OWNER: Flow = Flow { index: 0, weight: 1 };
const OTHER: Flow = Flow { index: 1, weight: 1 };
const HEAVY: Flow = Flow { index: 2, weight: 3 };

/// Runs of so long that the test's own time is nothing beside it.
const SECOND: Duration = Duration::from_secs(1);

/// A job with its caller's ends.
struct Call {
    job: Job,
    answer: Reply,
    cancel: Arc<Cancel>,
}

fn call(flow: Flow, seconds: u64) -> Call {
    let (reply, answer) = oneshot::channel();
    let cancel = Arc::<Cancel>::default();
    let job = Job {
        flow,
        deadline: Instant::now() + Duration::from_secs(seconds),
        inputs: vec![],
        outputs: vec![],
        may_stay: false,
        reply,
        cancel: cancel.clone(),
    };
    Call { job, answer, cancel }
}

fn job() -> Job {
    call(OWNER, 60).job
}

/// A job of so many rows.
fn rows(flow: Flow, rows: u64) -> Job {
    let x = Tensor::new(DType::U8, [rows], vec![0; rows as usize].into()).unwrap();
    Job { inputs: vec![(0, x)], ..call(flow, 60).job }
}

/// A session that these tests only count.
struct Nobody;

impl Runner for Nobody {
    fn run<'a>(&'a mut self, _: RunRequest<'a>) -> Going<'a, Result<Vec<Tensor>, RunEnd>> {
        Box::pin(async { Ok(vec![]) })
    }
}

fn queue(capacity: usize, sessions: usize) -> Queue {
    Queue::new(capacity, sessions, Batching::NONE)
}

fn push(queue: &Queue, job: Job) -> Place {
    let (place, next) = queue.push(job).unwrap();
    assert!(next.starts.is_empty(), "no session is there yet");
    place
}

fn only(mut next: Next) -> Start {
    assert_eq!(next.starts.len(), 1);
    next.starts.remove(0)
}

/// The next run, of a wide session that is there now.
fn take(queue: &Queue) -> Start {
    only(queue.open(Box::new(Nobody)))
}

/// The next run, of a narrow session that is there now.
fn take_narrow(queue: &Queue) -> Start {
    only(queue.grown(Grow { generation: 0 }, Some(Box::new(Nobody))))
}

/// Ends a run that has lasted so long. Its session goes as well.
fn finish_after(queue: &Queue, run: RunId, took: Duration) {
    lasts(queue, run, took);
    assert!(queue.finished(run, None).starts.is_empty());
}

/// A run goes on, and has for so long.
fn lasts(queue: &Queue, run: RunId, so_far: Duration) {
    let mut state = queue.lock();
    let run = state.running.iter_mut().find(|running| running.id == run).unwrap();
    run.began = Instant::now() - so_far;
}

#[test]
fn the_earliest_deadline_of_a_flow_is_taken_first() {
    let queue = queue(8, 1);
    for seconds in [30, 10, 20] {
        push(&queue, call(OWNER, seconds).job);
    }
    let order = [(); 3].map(|()| {
        let taken = take(&queue);
        finish_after(&queue, taken.run, SECOND);
        taken.jobs[0].deadline
    });
    assert!(order.is_sorted(), "{order:?}");
}

/// Which flows are served in so many runs, each of which takes a time that is its flow's, where each
/// always has so many calls that wait, with deadlines so many seconds away.
fn served(
    flows: &[(Flow, usize, u64)],
    cost: impl Fn(Flow) -> Duration,
    runs: usize,
) -> Vec<usize> {
    let queue = queue(100, 1);
    let push = |flow, seconds| {
        push(&queue, call(flow, seconds).job);
    };
    for (flow, calls, seconds) in flows {
        (0..*calls).for_each(|_| push(*flow, *seconds));
    }
    let mut order = Vec::new();
    for _ in 0..runs {
        let taken = take(&queue);
        let flow = taken.jobs[0].flow;
        finish_after(&queue, taken.run, cost(flow));
        let (_, _, seconds) = flows.iter().find(|(f, ..)| *f == flow).unwrap();
        push(flow, *seconds);
        order.push(flow.index);
    }
    order
}

fn count(order: &[usize], flow: Flow) -> usize {
    order.iter().filter(|index| **index == flow.index).count()
}

#[test]
fn a_short_deadline_gives_no_precedence_over_other_flows() {
    let order = served(&[(OWNER, 1, 60), (OTHER, 30, 30)], |_| 10 * SECOND, 40);
    let owners = count(&order, OWNER);
    assert!((19..=21).contains(&owners), "{order:?}");
}

#[test]
fn weights_divide_a_graphs_time() {
    let order = served(&[(OWNER, 5, 60), (HEAVY, 5, 60)], |_| 10 * SECOND, 40);
    let owners = count(&order, OWNER);
    assert!((9..=11).contains(&owners), "{order:?}");
}

#[test]
fn it_is_time_that_is_shared_not_calls() {
    let cost = |flow| if flow == OTHER { 90 * SECOND } else { 10 * SECOND };
    let order = served(&[(OWNER, 5, 60), (OTHER, 5, 60)], cost, 40);
    let owners = count(&order, OWNER);
    assert!((35..=37).contains(&owners), "{order:?}");
}

#[test]
fn a_run_that_does_not_end_is_charged_while_it_lasts() {
    let queue = queue(8, 2);
    push(&queue, call(OTHER, 60).job);
    let endless = take(&queue);
    lasts(&queue, endless.run, 1000 * SECOND);
    for _ in 0..4 {
        push(&queue, call(OTHER, 30).job);
        push(&queue, call(OWNER, 60).job);
    }
    for _ in 0..4 {
        let taken = take_narrow(&queue);
        assert_eq!(taken.jobs[0].flow, OWNER);
        finish_after(&queue, taken.run, 100 * SECOND);
    }
}

#[test]
fn sessions_that_are_free_at_once_go_to_different_flows() {
    let queue = queue(8, 3);
    push(&queue, call(OTHER, 60).job);
    finish_after(&queue, take(&queue).run, 10 * SECOND);
    push(&queue, call(OWNER, 60).job);
    finish_after(&queue, take(&queue).run, 10 * SECOND);
    for _ in 0..2 {
        push(&queue, call(OTHER, 30).job);
        push(&queue, call(OWNER, 60).job);
    }
    // One narrow run beside a wide one.
    let (first, second) = (take(&queue), take_narrow(&queue));
    assert_ne!(first.jobs[0].flow, second.jobs[0].flow);
}

#[test]
fn members_of_a_run_are_charged_by_their_rows() {
    let batching = Batching { rows: 4, bytes: 100, elements: 100, inputs: 1, powers: false };
    let queue = Queue::new(8, 1, batching);
    push(&queue, rows(OTHER, 3));
    push(&queue, rows(OWNER, 1));
    let taken = take(&queue);
    assert_eq!(taken.jobs.len(), 2, "flows that share a graph share its runs");
    finish_after(&queue, taken.run, 400 * SECOND);
    // The owner has used a quarter, 200 s less than the other.
    let mut order = Vec::new();
    for _ in 0..4 {
        push(&queue, call(OTHER, 60).job);
        push(&queue, call(OWNER, 60).job);
    }
    for _ in 0..4 {
        let taken = take(&queue);
        order.push(taken.jobs[0].flow.index);
        finish_after(&queue, taken.run, 95 * SECOND);
    }
    assert_eq!(order, [0, 0, 0, 1]);
}

#[test]
fn a_full_queue_refuses_and_a_caller_who_leaves_makes_room() {
    let queue = queue(2, 1);
    let first = push(&queue, job());
    push(&queue, job());
    let refused = queue.push(job()).err().unwrap();
    assert!(matches!(refused, NnError::Busy(_)), "{refused}");
    // One flow leaves the others their places.
    push(&queue, call(OTHER, 60).job);
    queue.forget(&first);
    assert_eq!(queue.stats().left, 1);
    let last = call(OWNER, 70);
    push(&queue, last.job);
    assert_eq!(queue.stats().waiting, 3);
    let taken = [(); 3].map(|()| {
        let mut taken = take(&queue);
        finish_after(&queue, taken.run, SECOND);
        taken.jobs.remove(0)
    });
    assert!(taken.iter().any(|job| Arc::ptr_eq(&job.cancel, &last.cancel)));
}

#[test]
fn what_is_too_late_is_passed_over() {
    let queue = queue(8, 1);
    push(&queue, call(OTHER, 0).job);
    push(&queue, job());
    assert_eq!(take(&queue).jobs[0].flow, OWNER);
    assert_eq!(queue.stats().waiting, 1, "its caller takes it back");
}

#[test]
fn a_closed_queue_tells_everybody_why() {
    let queue = queue(8, 1);
    let Call { job: waiting, mut answer, .. } = call(OWNER, 60);
    push(&queue, waiting);
    queue.close(NnError::Runtime("broken".into()));
    assert_eq!(answer.try_recv().unwrap().unwrap_err().to_string(), "broken");
    assert_eq!(queue.push(job()).err().unwrap().to_string(), "broken");
}

#[test]
fn runs_whose_callers_have_left_are_counted_until_they_end() {
    let queue = queue(8, 1);
    let first = call(OWNER, 60);
    push(&queue, first.job);
    let run = take(&queue).run;
    first.cancel.cancel();
    let stats = queue.stats();
    assert_eq!((stats.waiting, stats.busy, stats.abandoned, stats.runs), (0, 1, 1, 1));
    finish_after(&queue, run, SECOND);
    let stats = queue.stats();
    assert_eq!((stats.busy, stats.abandoned, stats.runs), (0, 0, 1));
}

#[test]
fn sessions_grow_with_what_there_is_to_do_at_once() {
    let queue = queue(8, 2);
    assert!(queue.open(Box::new(Nobody)).grow.is_none());
    let (_, next) = queue.push(job()).unwrap();
    assert!(next.grow.is_none(), "one session is enough for one call");
    let first = only(next);
    let grow = queue.push(job()).unwrap().1.grow;
    let grow = grow.expect("a second call at once is what a second session is for");
    assert!(queue.push(job()).unwrap().1.grow.is_none(), "which is expected now");
    let next = queue.grown(grow, Some(Box::new(Nobody)));
    assert!(next.grow.is_some(), "two calls wait for narrow sessions alone");
    let second = only(next);
    assert_eq!(queue.stats().busy, 2, "two runs are the most");
    let third = only(queue.finished(second.run, Some(second.runner)));
    assert!(queue.finished(first.run, Some(first.runner)).starts.is_empty(), "nothing waits");
    // Not beside a narrow one: the wide one waits until it is alone.
    assert!(queue.push(job()).unwrap().1.starts.is_empty());
    let last = only(queue.finished(third.run, Some(third.runner)));
    assert_eq!(queue.lock().sessions.narrow_busy, 0, "alone again");
    assert!(queue.finished(last.run, Some(last.runner)).starts.is_empty());
}

#[test]
fn sessions_that_cannot_be_made_are_not_asked_for_again() {
    let queue = queue(8, 2);
    let _ = queue.open(Box::new(Nobody));
    let first = only(queue.push(job()).unwrap().1);
    let grow = queue.push(job()).unwrap().1.grow.unwrap();
    assert!(queue.grown(grow, None).grow.is_none());
    let second = only(queue.finished(first.run, Some(first.runner)));
    assert!(queue.push(job()).unwrap().1.grow.is_none());
    let _ = only(queue.finished(second.run, Some(second.runner)));
}

#[tokio::test]
async fn sessions_that_are_replaced_do_not_come_back() {
    let queue = queue(8, 2);
    let _ = queue.open(Box::new(Nobody));
    let first = only(queue.push(job()).unwrap().1);
    let grow = queue.push(job()).unwrap().1.grow.unwrap();
    queue.hold();
    assert_eq!(queue.stats().busy, 1, "it goes on");
    let late = queue.grown(grow, Some(Box::new(Nobody)));
    assert!(late.starts.is_empty(), "it is of the process that has ended");
    let put_aside = queue.finished(first.run, Some(first.runner));
    assert!(put_aside.starts.is_empty() && put_aside.grow.is_none());
    queue.idle().await;
    assert_eq!(queue.stats().waiting, 1, "it is still there");
    let again = only(queue.open(Box::new(Nobody)));
    assert!(queue.finished(again.run, Some(again.runner)).starts.is_empty());
}
