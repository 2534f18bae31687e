//! The SDK's pixel operations, each one natively and as a guest with limits on and off: what Wasm and
//! what the checks of the clock cost them. No gRPC; one process, in turns.

use std::time::Duration;

use anyhow::{anyhow, ensure};
use pixel_ops::{OPS, Ops};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tms::{
    data::Input,
    nn::{DType, Tensor},
    sandbox::{Guest, Instance},
};
use tms_guest::{Image, ndarray::Array3};

use crate::instances::{Side, deadline};

#[derive(clap::Args)]
pub struct Args {
    /// The model that has the operations
    #[arg(long, default_value = "tests/guests/pixel_ops")]
    model: String,

    /// Only these operations
    #[arg(long, num_args = 1..)]
    ops: Vec<String>,

    /// Only the small picture (200x150), or only the large one (1920x1080)
    #[arg(long)]
    size: Option<String>,

    /// Rounds; each measures every operation on every side
    #[arg(long, default_value_t = 7)]
    rounds: usize,

    /// How long one side of one operation is measured, in ms
    #[arg(long, default_value_t = 25)]
    slice: u64,
}

/// Height and width.
const SIZES: [(usize, usize); 2] = [(150, 200), (1080, 1920)];

pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: Args) -> anyhow::Result<()> {
    let limited = Side::new(true, &args.model)?.guest(&args.model, false).await?;
    let free = Side::new(false, &args.model)?.guest(&args.model, false).await?;
    let ops: Vec<&str> = match args.ops.is_empty() {
        true => OPS.to_vec(),
        false => args.ops.iter().map(String::as_str).collect(),
    };
    let slice = Duration::from_millis(args.slice);
    for round in 0..args.rounds {
        for (height, width) in SIZES {
            let size = format!("{width}x{height}");
            if args.size.as_ref().is_some_and(|only| *only != size) {
                continue;
            }
            let picture = Picture::new(height, width)?;
            for op in &ops {
                let mut us = [0.0; 3];
                // Who is first changes: the others find the caches as it left them.
                for turn in 0..3 {
                    let side = (turn + round) % 3;
                    us[side] = match side {
                        0 => picture.natively(op, slice)?,
                        1 => picture.in_guest(op, slice, &limited).await?,
                        _ => picture.in_guest(op, slice, &free).await?,
                    };
                }
                let [native, on, off] = us;
                println!(
                    "{}",
                    json!({"op": op, "size": size, "native_us": native, "on_us": on, "off_us": off})
                );
            }
        }
    }
    Ok(())
}

/// A picture, natively and for guests.
struct Picture {
    ops: Ops,
    image: Image,
    input: Input,
}

impl Picture {
    fn new(height: usize, width: usize) -> anyhow::Result<Self> {
        let value = |i: usize| ((i as u32).wrapping_mul(31) >> 3) as u8;
        let data: Vec<u8> = (0..height * width * 3).map(value).collect();
        let pixels = Array3::from_shape_vec((height, width, 3), data.clone())?;
        let tensor = Tensor::new(DType::U8, [height as u64, width as u64, 3], data.into())?;
        let image = Image::new(pixels).map_err(|e| anyhow!("{e}"))?;
        Ok(Self { ops: Ops::new(), image, input: Input::Image(tensor) })
    }

    fn answer(&self, op: &str) -> anyhow::Result<f64> {
        self.ops.run(op, &self.image).map_err(|e| anyhow!("{e}"))
    }

    /// The median of the calls' times, in µs.
    fn natively(&self, op: &str, slice: Duration) -> anyhow::Result<f64> {
        let mut times = Times::new(slice);
        while times.go_on() {
            let started = cpu_time();
            std::hint::black_box(self.answer(std::hint::black_box(op))?);
            times.took(cpu_time() - started);
        }
        Ok(times.median())
    }

    /// The same in a guest.
    async fn in_guest(&self, op: &str, slice: Duration, guest: &Guest) -> anyhow::Result<f64> {
        let args = json!({"op": op}).to_string();
        let mut instance = guest.instantiate().await?;
        let (wanted, answer) = (self.answer(op)?, self.call(&mut instance, &args).await?);
        // JSON's last digit may be another.
        let equal = (answer - wanted).abs() <= wanted.abs() * 1e-12;
        ensure!(equal, "{op}: the guest answers {answer}, not {wanted}");
        let mut times = Times::new(slice);
        while times.go_on() {
            let started = cpu_time();
            self.call(&mut instance, &args).await?;
            times.took(cpu_time() - started);
        }
        Ok(times.median())
    }

    async fn call(&self, instance: &mut Instance, args: &str) -> anyhow::Result<f64> {
        let output = instance.run(self.input.clone(), args, None, deadline()).await?;
        Ok(serde_json::from_str(output.json.as_deref().unwrap_or_default())?)
    }
}

/// What calls took, until they took `slice` together.
struct Times {
    slice: Duration,
    times: Vec<Duration>,
}

impl Times {
    fn new(slice: Duration) -> Self {
        Self { slice, times: Vec::new() }
    }

    fn go_on(&self) -> bool {
        self.times.len() < 3 || self.times.iter().sum::<Duration>() < self.slice
    }

    fn took(&mut self, time: Duration) {
        self.times.push(time);
    }

    fn median(mut self) -> f64 {
        self.times.sort();
        self.times[self.times.len() / 2].as_secs_f64() * 1e6
    }
}

/// What this thread has computed so far: all of a call runs on it, and neighbours do not count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
