//! Models that share a worker take turns, whatever number of callers each has. Counted in calls of equal
//! work, not in time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::task::JoinSet;

use crate::harness::{Server, Setup};

/// A millisecond or two, which is a few turns.
const WORK: &str = r#"{"do": "compute", "steps": 8000000}"#;
/// Callers of the crowded model.
const CROWD: usize = 12;
/// Calls of the other one's only caller.
const CALLS: usize = 20;

/// How many calls of the crowd are answered while its neighbour's only caller makes [`CALLS`].
async fn crowd_beside(server: &Server) -> usize {
    let answered = Arc::new(AtomicUsize::new(0));
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let (caller, answered) = (server.caller().await, answered.clone());
        crowd.spawn(async move {
            while caller.text("crowded", "", WORK).await.is_ok() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let caller = server.caller().await;
    while answered.load(Ordering::Relaxed) < CROWD {
        caller.text("neighbour", "", WORK).await.unwrap();
    }
    let before = answered.load(Ordering::Relaxed);
    for _ in 0..CALLS {
        caller.text("neighbour", "", WORK).await.unwrap();
    }
    answered.load(Ordering::Relaxed) - before
}

fn models() -> Setup {
    Setup::new().guest_as("faults", "crowded").guest_as("faults", "neighbour").workers(1)
}

#[tokio::test]
async fn a_crowd_has_no_more_than_its_neighbours_only_caller() {
    let server = start!(models());
    let crowd = crowd_beside(&server).await;
    // Its turns, and those that the neighbour's caller leaves it between two calls. In order of
    // arrival it would have been 12 times as many as the neighbour.
    let fair = CALLS / 3..=3 * CALLS;
    assert!(fair.contains(&crowd), "{crowd} calls of the crowd beside {CALLS}");
}

#[tokio::test]
async fn an_operators_weight_divides_the_cpu() {
    let server = start!(models().config("[model.crowded]\nweight = 10"));
    let crowd = crowd_beside(&server).await;
    assert!(crowd >= 4 * CALLS, "{crowd} calls of the crowd, which has ten parts, beside {CALLS}");
}

#[tokio::test]
async fn weights_have_bounds() {
    for weight in [0, 1001] {
        let setup = models().config(&format!("[model.crowded]\nweight = {weight}"));
        let server = start!(setup);
        server.logged(&format!("weight = {weight} is not between 1 and 1000")).await;
    }
}
