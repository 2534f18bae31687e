//! What instances cost, without gRPC around them: a fresh one against a used one, limits on against
//! limits off, a snapshot against `init`, the next answer after a trap, memory of an idle one.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::json;
use tms::{
    config::limits::Limits,
    data::Input,
    fair::Flow,
    ledger::Ledger,
    nn::{DType, Tensor},
    sandbox::{
        Compiling, Footprint, Grants, Guest, GuestOptions, Instance, PoolSize, Sandbox, inspect,
    },
};

#[derive(clap::Args)]
pub struct Args {
    /// A model that answers a text at once
    #[arg(long, default_value = "models/example_text")]
    text: String,

    /// A model that reads every pixel
    #[arg(long, default_value = "tests/guests/pixels")]
    pixels: String,

    /// A model with a heavy `init`
    #[arg(long, default_value = "tests/guests/vocabulary")]
    heavy: String,

    /// A model that traps when it is told to
    #[arg(long, default_value = "tests/guests/faults")]
    faults: String,

    /// Rounds; each measures both sides of every comparison once
    #[arg(long, default_value_t = 7)]
    rounds: usize,

    /// Only the comparisons whose name holds this
    #[arg(long, default_value = "")]
    only: String,
}

/// Instances kept at once to weigh them.
const WEIGHED: usize = 256;

pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: Args) -> anyhow::Result<()> {
    let limited = Side::new(true, &args.text)?;
    let free = Side::new(false, &args.text)?;
    let text = limited.guest(&args.text, false).await?;
    let text_free = free.guest(&args.text, false).await?;
    let pixels = limited.guest(&args.pixels, false).await?;
    let pixels_free = free.guest(&args.pixels, false).await?;
    let heavy = limited.guest(&args.heavy, false).await?;
    let heavy_snapshot = limited.guest(&args.heavy, true).await?;
    let faults = limited.guest(&args.faults, false).await?;
    let rounds = Rounds { rounds: args.rounds, only: args.only };
    for _ in 0..rounds.rounds {
        let (one, other) = (reused(&text), fresh(&text));
        rounds.compare("a text: used instance, fresh instance", 500, one, other).await?;
        let (one, other) = (calls(&text, words), calls(&text_free, words));
        rounds.compare("a text: limits on, limits off", 2000, one, other).await?;
        let (one, other) = (calls(&pixels, picture), calls(&pixels_free, picture));
        rounds.compare("1080p to 224: limits on, limits off", 20, one, other).await?;
        let (one, other) = (start(&heavy), start(&heavy_snapshot));
        rounds.compare("heavy init: init, snapshot", 20, one, other).await?;
        let (one, other) = (reused(&text), trapped(&faults));
        rounds.compare("a text: after an answer, after a trap", 200, one, other).await?;
    }
    println!("{}", json!({"case": "idle instance", "kib": weigh(&text).await?}));
    Ok(())
}

/// One engine, with limits or without.
pub struct Side {
    sandbox: Sandbox,
    limits: Limits,
}

impl Side {
    pub fn new(limited: bool, text: &str) -> anyhow::Result<Self> {
        let mut pool = PoolSize {
            instances: 0,
            total: Footprint::default(),
            largest: Footprint::default(),
            kept: 0,
            memory: 512 << 20,
            stack: 1 << 20,
            interruptible: limited,
        };
        let instances = WEIGHED as u32 + 16;
        pool.add(inspect(&component(text)?)?, instances);
        // The others are more complex.
        let slots = Footprint { memories: 16, tables: 16, initial: u64::MAX };
        pool.add(slots, instances);
        let mut limits = Limits::default();
        if !limited {
            limits.cpu = Duration::MAX;
        }
        Ok(Self { sandbox: Sandbox::new(pool, None, Compiling::Here)?, limits })
    }

    pub async fn guest(&self, model: &str, snapshot: bool) -> anyhow::Result<Guest> {
        let bytes = component(model)?;
        let options = GuestOptions {
            name: model.to_owned(),
            graphs: Arc::default(),
            flow: Flow::ALONE,
            tenant: Arc::<Ledger>::default().tenant(1),
            limits: self.limits,
            grants: Grants::default(),
            fresh: false,
            snapshot,
            snapshot_key: None,
        };
        Ok(Guest::load(&self.sandbox, Arc::new(move || Ok(bytes.clone())), options).await?)
    }
}

fn component(model: &str) -> anyhow::Result<Vec<u8>> {
    let file = Path::new(model).join("model.wasm");
    fs::read(&file).with_context(|| format!("no {}", file.display()))
}

/// What is measured, how often.
struct Rounds {
    rounds: usize,
    only: String,
}

impl Rounds {
    /// Both sides, half and half in turns; prints µs a call.
    async fn compare(
        &self,
        case: &str,
        calls: usize,
        mut one: impl AsyncFnMut() -> anyhow::Result<()>,
        mut other: impl AsyncFnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if !case.contains(&self.only) {
            return Ok(());
        }
        let mut us = [0.0; 2];
        for _ in 0..2 {
            us[0] += time(calls / 2, &mut one).await? / 2.0;
            us[1] += time(calls / 2, &mut other).await? / 2.0;
        }
        println!("{}", json!({"case": case, "us": us}));
        Ok(())
    }
}

async fn time(
    calls: usize,
    call: &mut impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    call().await?;
    let started = Instant::now();
    for _ in 0..calls {
        call().await?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / calls as f64)
}

pub fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn words() -> Input {
    Input::Text("text".into())
}

fn picture() -> Input {
    let data: Vec<u8> =
        (0..1080 * 1920 * 3).map(|i: u32| (i.wrapping_mul(31) >> 3) as u8).collect();
    #[allow(clippy::unwrap_used)] // The data is as long as the shape says.
    Input::Image(Tensor::new(DType::U8, [1080u64, 1920, 3], data.into()).unwrap())
}

/// Calls of one instance, after another.
fn calls(guest: &Guest, input: fn() -> Input) -> impl AsyncFnMut() -> anyhow::Result<()> {
    let mut instance: Option<Instance> = None;
    let input = input();
    async move || {
        if instance.is_none() {
            instance = Some(guest.instantiate().await?);
        }
        if let Some(instance) = &mut instance {
            instance.run(input.clone(), "{}", None, deadline()).await?;
        }
        Ok(())
    }
}

fn reused(guest: &Guest) -> impl AsyncFnMut() -> anyhow::Result<()> {
    calls(guest, words)
}

/// A call of a fresh instance each.
fn fresh(guest: &Guest) -> impl AsyncFnMut() -> anyhow::Result<()> {
    async move || {
        guest.instantiate().await?.run(words(), "{}", None, deadline()).await?;
        Ok(())
    }
}

/// The start of an instance.
fn start(guest: &Guest) -> impl AsyncFnMut() -> anyhow::Result<()> {
    async move || {
        guest.instantiate().await?;
        Ok(())
    }
}

/// A call right after another one has trapped: the trap itself counts too.
fn trapped(guest: &Guest) -> impl AsyncFnMut() -> anyhow::Result<()> {
    let mut instance: Option<Instance> = None;
    async move || {
        if let Some(mut broken) = instance.take() {
            let trap = broken.run(words(), r#"{"do": "trap"}"#, None, deadline()).await;
            anyhow::ensure!(trap.is_err(), "it was to trap");
        }
        let mut next = guest.instantiate().await?;
        next.run(words(), r#"{"do": "nothing"}"#, None, deadline()).await?;
        instance = Some(next);
        Ok(())
    }
}

/// KiB of resident memory that an idle instance keeps, after a call.
async fn weigh(guest: &Guest) -> anyhow::Result<f64> {
    let mut kept = Vec::with_capacity(WEIGHED);
    let before = resident_kib()?;
    for _ in 0..WEIGHED {
        let mut instance = guest.instantiate().await?;
        instance.run(words(), "{}", None, deadline()).await?;
        kept.push(instance);
    }
    Ok((resident_kib()? - before) / WEIGHED as f64)
}

fn resident_kib() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    Ok(figure.context("no VmRSS")?.parse()?)
}
