//! The classifier's network alone: no gRPC, no pre-processing, one run after another, or several
//! at once. Prints one JSON object.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tms::nn::ComputeRequest;

use crate::{
    classify::{Network, input},
    frames::picture,
};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    network: Network,

    #[arg(long, default_value = "models/efficientnet_lite0/tests/chelsea.png")]
    image: PathBuf,

    #[arg(long, default_value_t = 2.0)]
    seconds: f64,

    /// Callers at once
    #[arg(long, default_value_t = 1)]
    callers: usize,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let graph = args.network.load()?;
    let tensor = input(&picture(&args.image)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    // The first runs allocate and start threads.
    for _ in 0..5 {
        runtime
            .block_on(graph.compute(ComputeRequest::of(vec![("input".into(), tensor.clone())])))?;
    }
    let times = Arc::new(Mutex::new(Vec::new()));
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(args.seconds);
    runtime.block_on(async {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..args.callers {
            let (graph, tensor, times) = (graph.clone(), tensor.clone(), times.clone());
            callers.spawn(async move {
                while Instant::now() < end {
                    let begin = Instant::now();
                    let inputs = vec![("input".into(), tensor.clone())];
                    graph.compute(ComputeRequest::of(inputs)).await?;
                    let took = begin.elapsed().as_secs_f64() * 1e6;
                    times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                }
                anyhow::Ok(())
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller??;
        }
        anyhow::Ok(())
    })?;
    let elapsed = started.elapsed().as_secs_f64();
    let mut times = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort_by(f64::total_cmp);
    let rank = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
    println!(
        "{}",
        serde_json::json!({
            "backend": graph.backend(),
            "rate": times.len() as f64 / elapsed,
            "p50_us": rank(0.5),
            "p99_us": rank(0.99),
        })
    );
    Ok(())
}
