//! Tests of the queue: capacity, order, shares, leaving and closing.

use tokio::sync::oneshot;

use super::*;
use crate::nn::{DType, Tensor, job::Answer};

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

fn take(queue: &Queue) -> Taken {
    queue.take(Width::Wide, &Batching::NONE).unwrap()
}

/// Ends a run that has lasted so long.
fn finish_after(queue: &Queue, run: RunId, took: Duration) {
    lasts(queue, run, took);
    queue.finished(run);
}

/// A run goes on, and has for so long.
fn lasts(queue: &Queue, run: RunId, so_far: Duration) {
    let mut state = queue.lock();
    let run = state.running.iter_mut().find(|running| running.id == run).unwrap();
    run.began = Instant::now() - so_far;
}

#[test]
fn the_earliest_deadline_of_a_flow_is_taken_first() {
    let queue = Queue::new(8, 1);
    for seconds in [30, 10, 20] {
        queue.push(call(OWNER, seconds).job).unwrap();
    }
    let order = [(); 3].map(|()| take(&queue).jobs[0].deadline);
    assert!(order.is_sorted(), "{order:?}");
}

/// Which flows are served in so many runs, each of which takes a time that is its flow's, where each
/// always has so many calls that wait, with deadlines so many seconds away.
fn served(
    flows: &[(Flow, usize, u64)],
    cost: impl Fn(Flow) -> Duration,
    runs: usize,
) -> Vec<usize> {
    let queue = Queue::new(100, 1);
    let push = |flow, seconds| {
        queue.push(call(flow, seconds).job).unwrap();
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
    let queue = Queue::new(8, 2);
    queue.push(call(OTHER, 60).job).unwrap();
    let endless = take(&queue);
    lasts(&queue, endless.run, 1000 * SECOND);
    for _ in 0..4 {
        queue.push(call(OTHER, 30).job).unwrap();
        queue.push(call(OWNER, 60).job).unwrap();
    }
    for _ in 0..4 {
        let taken = queue.take(Width::Narrow, &Batching::NONE).unwrap();
        assert_eq!(taken.jobs[0].flow, OWNER);
        finish_after(&queue, taken.run, 100 * SECOND);
    }
}

#[test]
fn sessions_that_are_free_at_once_go_to_different_flows() {
    let queue = Queue::new(8, 3);
    let order = |queue: &Queue| {
        let taken = queue.take(Width::Narrow, &Batching::NONE).unwrap();
        (taken.run, taken.jobs[0].flow)
    };
    queue.push(call(OTHER, 60).job).unwrap();
    finish_after(&queue, take(&queue).run, 10 * SECOND);
    queue.push(call(OWNER, 60).job).unwrap();
    finish_after(&queue, take(&queue).run, 10 * SECOND);
    for _ in 0..2 {
        queue.push(call(OTHER, 30).job).unwrap();
        queue.push(call(OWNER, 60).job).unwrap();
    }
    // One narrow run beside a wide one, then another beside both.
    let first = take(&queue).jobs[0].flow;
    let (_, second) = order(&queue);
    assert_ne!(first, second);
}

#[test]
fn members_of_a_run_are_charged_by_their_rows() {
    let batching = Batching { rows: 4, bytes: 100, elements: 100, inputs: 1, powers: false };
    let queue = Queue::new(8, 1);
    queue.push(rows(OTHER, 3)).unwrap();
    queue.push(rows(OWNER, 1)).unwrap();
    let taken = queue.take(Width::Wide, &batching).unwrap();
    assert_eq!(taken.jobs.len(), 2, "flows that share a graph share its runs");
    finish_after(&queue, taken.run, 400 * SECOND);
    // The owner has used a quarter, 200 s less than the other.
    let mut order = Vec::new();
    for _ in 0..4 {
        queue.push(call(OTHER, 60).job).unwrap();
        queue.push(call(OWNER, 60).job).unwrap();
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
    let queue = Queue::new(2, 1);
    let first = queue.push(job()).unwrap().place;
    queue.push(job()).unwrap();
    let refused = queue.push(job()).unwrap_err();
    assert!(matches!(refused, NnError::Busy(_)), "{refused}");
    queue.push(call(OTHER, 60).job).expect("one flow leaves the others their places");
    queue.forget(&first);
    assert_eq!(queue.stats().left, 1);
    let last = call(OWNER, 70);
    queue.push(last.job).unwrap();
    assert_eq!(queue.stats().waiting, 3);
    let taken = [(); 3].map(|()| take(&queue).jobs.remove(0));
    assert!(taken.iter().any(|job| Arc::ptr_eq(&job.cancel, &last.cancel)));
}

#[test]
fn what_is_too_late_is_passed_over() {
    let queue = Queue::new(8, 1);
    queue.push(call(OTHER, 0).job).unwrap();
    queue.push(job()).unwrap();
    assert_eq!(take(&queue).jobs[0].flow, OWNER);
    assert_eq!(queue.stats().waiting, 1, "its caller takes it back");
}

#[test]
fn a_closed_queue_tells_everybody_why() {
    let queue = Queue::new(8, 1);
    let Call { job: waiting, mut answer, .. } = call(OWNER, 60);
    queue.push(waiting).unwrap();
    queue.close(NnError::Runtime("broken".into()));
    assert_eq!(answer.try_recv().unwrap().unwrap_err().to_string(), "broken");
    assert_eq!(queue.push(job()).unwrap_err().to_string(), "broken");
    assert!(queue.take(Width::Wide, &Batching::NONE).is_none());
}

#[test]
fn runs_whose_callers_have_left_are_counted_until_they_end() {
    let queue = Queue::new(8, 1);
    let first = call(OWNER, 60);
    queue.push(first.job).unwrap();
    let run = take(&queue).run;
    first.cancel.cancel();
    let stats = queue.stats();
    assert_eq!((stats.waiting, stats.busy, stats.abandoned, stats.runs), (0, 1, 1, 1));
    queue.finished(run);
    let stats = queue.stats();
    assert_eq!((stats.busy, stats.abandoned, stats.runs), (0, 0, 1));
}

#[test]
fn a_narrow_session_that_comes_before_the_wide_one_leaves_no_job_behind() {
    let queue = Queue::new(8, 2);
    assert!(!queue.push(job()).unwrap().grow);
    assert!(queue.push(job()).unwrap().grow);
    // The wide session has not taken one yet, and will not: both jobs are for narrow ones.
    assert!(queue.grown(true), "a second one is needed");
    let first = queue.take(Width::Narrow, &Batching::NONE).unwrap();
    assert!(!queue.lock().sessions.may(Width::Wide, 1));
    assert!(!queue.grown(true));
    let second = queue.take(Width::Narrow, &Batching::NONE).unwrap();
    assert_ne!(first.run, second.run);
}

#[test]
fn a_run_that_is_alone_is_wide_and_runs_beside_each_other_are_narrow() {
    let queue = Queue::new(8, 2);
    let take = |width| {
        // The other one does not wait here: it would never be told.
        let waiting = queue.stats().waiting;
        let may = queue.lock().sessions.may(width, waiting);
        may.then(|| queue.take(width, &Batching::NONE).unwrap().run)
    };
    let push = || queue.push(job()).unwrap().grow;
    assert!(!push(), "one session is enough for one call");
    assert!(take(Width::Narrow).is_none(), "it is left to the wide one");
    let first = take(Width::Wide).unwrap();
    assert!(push(), "a second call at once is what a second session is for");
    assert!(!push(), "which is expected now");
    queue.grown(true);
    let second = take(Width::Narrow).unwrap();
    assert!(take(Width::Narrow).is_none(), "two runs are the most");
    queue.finished(first);
    assert!(take(Width::Wide).is_none(), "not beside a narrow one");
    let third = take(Width::Narrow).unwrap();
    assert_eq!(queue.stats().busy, 2);
    queue.finished(second);
    queue.finished(third);
    push();
    assert!(take(Width::Narrow).is_none() && take(Width::Wide).is_some(), "alone again");
}
