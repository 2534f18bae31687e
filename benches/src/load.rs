//! A load generator that keeps its pace whatever the server does. Calls are sent by the clock, and
//! their time counts from when they were due: if the server stalls, the calls that wait to be sent
//! meanwhile wait for the server too. h2load's `--rps` counts from when a call was sent, and sends
//! none while its streams are all in use. Without `--rate` it is an ordinary closed loop.
//!
//! One thread, as h2load. Prints one JSON object.

use std::{cell::RefCell, fs, path::PathBuf, rc::Rc, time::Duration};

use bytes::Bytes;
use h2::client::SendRequest;
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::{LocalSet, spawn_local},
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    arrivals::{Arrivals, Timer},
    client::{Call, connect_all},
};

#[derive(clap::Args)]
pub struct Args {
    /// Where to post, such as http://127.0.0.1:50000/server.Server/RunText
    url: http::Uri,

    /// The file of the request
    frame: PathBuf,

    /// The Unix socket to connect to, in place of the URL's address
    #[arg(long)]
    unix: Option<PathBuf>,

    #[arg(long, default_value_t = 4)]
    connections: usize,

    /// Workers, or processes, that the connections are to be spread over evenly
    #[arg(long)]
    homes: Option<usize>,

    /// Calls a second, in all
    #[arg(long)]
    rate: Option<f64>,

    /// Without a rate: calls in flight on each connection
    #[arg(long, default_value_t = 4)]
    streams: usize,

    #[arg(long, default_value_t = 2.0)]
    seconds: f64,

    /// Before the seconds that count
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,

    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What the calls after the warm-up came to. All tasks are on one thread.
#[derive(Default)]
struct Results {
    /// µs from when a call was due to its answer.
    took: Vec<u64>,
    /// µs from when a call was due to when it was sent: the generator's own delay, or that of the
    /// server, where it takes no more calls.
    late: Vec<u64>,
    failed: u64,
    reason: Option<String>,
    /// The warm-up's too.
    all: u64,
    /// When the last answer came.
    last: Option<Instant>,
}

type Shared = Rc<RefCell<Results>>;

pub fn run(args: Args) -> anyhow::Result<()> {
    let frame = Bytes::from(fs::read(&args.frame)?);
    let call = Call { uri: args.url.clone(), frame, socket: args.unix.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, generate(args, call))
}

async fn generate(args: Args, call: Call) -> anyhow::Result<()> {
    let connections = connect_all(&call, args.connections, args.homes).await?;
    let counted = Instant::now() + Duration::from_secs_f64(args.warm_up);
    let end = counted + Duration::from_secs_f64(args.seconds);
    let results = Shared::default();
    let due = match args.rate {
        Some(rate) => {
            let arrivals = Arrivals::new(rate, args.seed);
            open(arrivals, connections, &call, (counted, end), &results).await?
        }
        None => {
            closed(args.streams, connections, &call, (counted, end), &results).await?;
            results.borrow().took.len()
        }
    };
    let mut results = results.borrow_mut();
    let Results { took, late, failed, reason, all, last } = &mut *results;
    took.sort_unstable();
    late.sort_unstable();
    // A closed loop ends on time; an open one when all that was due is answered.
    let until = last.filter(|_| args.rate.is_some()).unwrap_or(end).max(end);
    let rank =
        |times: &[u64], share: f64| times.get((times.len() as f64 * share) as usize).copied();
    println!(
        "{}",
        json!({
            "due": due,
            "calls": took.len(),
            "failed": failed,
            "reason": reason,
            "unanswered": due.saturating_sub(took.len() + *failed as usize),
            "all": all,
            "rate": took.len() as f64 / (until - counted).as_secs_f64(),
            "p50_us": rank(took, 0.5),
            "p90_us": rank(took, 0.9),
            "p99_us": rank(took, 0.99),
            "late_p50_us": rank(late, 0.5),
            "late_p99_us": rank(late, 0.99),
        })
    );
    Ok(())
}

/// Sends by the clock; the number of calls that were due after the warm-up.
async fn open(
    arrivals: Arrivals,
    connections: Vec<SendRequest<Bytes>>,
    call: &Call,
    (counted, end): (Instant, Instant),
    results: &Shared,
) -> anyhow::Result<usize> {
    let mut queues = Vec::new();
    let mut senders = Vec::new();
    for mut connection in connections {
        let (queue, mut due) = mpsc::unbounded_channel();
        let (call, results) = (call.clone(), results.clone());
        queues.push(queue);
        senders.push(spawn_local(async move {
            let flights = TaskTracker::new();
            while let Some(due) = due.recv().await {
                let reply = call.post(&mut connection).await?;
                let late = Instant::now() - due;
                let results = results.clone();
                flights.spawn_local(async move {
                    note(&results, reply.await, due, late, due >= counted);
                });
            }
            flights.close();
            flights.wait().await;
            anyhow::Ok(())
        }));
    }
    let timer = Timer::new()?;
    let start = Instant::now();
    let mut number = 0;
    for (at, queue) in arrivals.zip(queues.iter().cycle()) {
        let due = start + at;
        if due >= end {
            break;
        }
        timer.until(due).await?;
        number += usize::from(due >= counted);
        queue.send(due)?;
    }
    drop(queues);
    // Where more was due than the server can do, the rest is still to be answered.
    let _ = timeout(2 * (end - start) + Duration::from_secs(5), async {
        for sender in senders {
            sender.await??;
        }
        anyhow::Ok(())
    })
    .await;
    Ok(number)
}

/// Sends a caller's next call when its last one is answered.
async fn closed(
    streams: usize,
    connections: Vec<SendRequest<Bytes>>,
    call: &Call,
    (counted, end): (Instant, Instant),
    results: &Shared,
) -> anyhow::Result<()> {
    let mut callers = Vec::new();
    for connection in connections {
        for _ in 0..streams {
            let (mut connection, call, results) =
                (connection.clone(), call.clone(), results.clone());
            callers.push(spawn_local(async move {
                loop {
                    let due = Instant::now();
                    let reply = call.post(&mut connection).await?.await;
                    let now = Instant::now();
                    if now >= end {
                        return anyhow::Ok(());
                    }
                    note(&results, reply, due, Duration::ZERO, now >= counted);
                }
            }));
        }
    }
    for caller in callers {
        caller.await??;
    }
    Ok(())
}

fn note(
    results: &Shared,
    reply: anyhow::Result<Bytes>,
    due: Instant,
    late: Duration,
    counts: bool,
) {
    let results = &mut *results.borrow_mut();
    results.all += 1;
    if !counts {
        return;
    }
    let now = Instant::now();
    results.last = Some(now);
    results.late.push(late.as_micros() as u64);
    match reply {
        Ok(_) => results.took.push((now - due).as_micros() as u64),
        Err(error) => {
            results.failed += 1;
            results.reason.get_or_insert_with(|| error.to_string());
        }
    }
}
