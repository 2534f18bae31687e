//! Workers: each has instances, and so memories, of its own; connections are homed on them.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::Setup;

#[tokio::test]
async fn connections_see_as_many_pids_as_there_are_workers() {
    let server = start!(Setup::new().guest("echo").workers(4));
    let first = server.caller().await;
    assert_eq!(first.workers().await, 4);
    let mut pids = BTreeSet::new();
    for _ in 0..3 {
        let mut round = BTreeSet::new();
        for _ in 0..4 {
            let caller = server.caller().await;
            let pid = caller.pid().await;
            assert_eq!(caller.pid().await, pid, "a connection keeps its home");
            round.insert(pid);
        }
        assert_eq!(round.len(), 4, "four connections in a row see four workers");
        pids.extend(round);
    }
    assert_eq!(pids.len(), 4);
}

#[tokio::test]
async fn the_default_is_a_worker_a_core() {
    let server = start!(Setup::new().guest("echo"));
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    assert_eq!(server.caller().await.workers().await, cores);
    assert!(server.ready.trim_end().ends_with(&format!(", 1 models, {cores} workers")));
}

#[tokio::test]
async fn every_worker_has_a_memory_of_its_own() {
    let server = start!(Setup::new().guest("counter").workers(3));
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(server.caller().await);
    }
    for round in 1..=4 {
        for caller in &callers {
            assert_eq!(caller.text("counter", "", "").await.unwrap(), round);
        }
    }
    // A fourth connection is at home where the first one is.
    assert_eq!(server.caller().await.text("counter", "", "").await.unwrap(), 5);
}

#[tokio::test]
async fn a_batch_is_one_call_of_one_instance() {
    let server = start!(Setup::new().guest("counter").workers(3));
    let answer = server.caller().await.texts("counter", &["", "", ""], "").await;
    assert_eq!(answer.unwrap(), json!([1, 2, 3]));
}

#[tokio::test]
async fn one_connection_uses_several_workers() {
    let server = start!(Setup::new().guest("slow_counter").workers(2));
    let (first, second) = (server.caller().await, server.caller().await);
    let slow = r#"{"ms": 1500}"#;
    let (a, b) =
        tokio::join!(first.text("slow_counter", "", slow), first.text("slow_counter", "", slow));
    assert_eq!((a.unwrap(), b.unwrap()), (json!(1), json!(1)), "two instances");
    // The other instance is the other worker's: it answers the connection that is at home there.
    assert_eq!(second.text("slow_counter", "", "").await.unwrap(), 2);
    assert_eq!(first.text("slow_counter", "", "").await.unwrap(), 2);
}

#[tokio::test]
async fn all_calls_are_counted_once() {
    // Two instances, one a worker, and room for all the rest to wait.
    let limits = "[limits]\nmax_instances = 1\nmax_queue = 100";
    let server = start!(Setup::new().guest("counter").workers(2).config(limits));
    let (caller, other) = (server.caller().await, server.caller().await);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let caller = caller.clone();
            tokio::spawn(async move { caller.text("counter", "", "").await.unwrap() })
        })
        .collect();
    let mut counts = Vec::new();
    for call in calls {
        counts.push(call.await.unwrap().as_u64().unwrap());
    }
    // Each instance counts from one, so no count comes more than twice; and what both say when one
    // more call is made of each has all the calls in it, none of them twice.
    counts.sort();
    assert!(counts.windows(3).all(|three| three[0] < three[2]), "{counts:?}");
    let last = [caller, other].map(|caller| async move { caller.text("counter", "", "").await });
    let [first, second] = last;
    let sum = first.await.unwrap().as_u64().unwrap() + second.await.unwrap().as_u64().unwrap();
    assert_eq!(sum, 100 + 2, "{counts:?}");
}
