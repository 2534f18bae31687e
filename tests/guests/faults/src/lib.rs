//! Misbehaves as its arguments tell it: `{"do": "panic"}` and so on, see [`Act`]. Text is needed
//! only to make a call.

use std::hint::black_box;

use tms_guest::prelude::*;
use tms_guest::serde;

/// What to do.
#[derive(serde::Deserialize)]
#[serde(crate = "tms_guest::serde", tag = "do", rename_all = "snake_case")]
enum Act {
    /// Panics with a message, which becomes a trap.
    Panic,
    /// Executes an unreachable instruction.
    Trap,
    /// Never returns, computing.
    Loop,
    /// Computes for so many steps, and answers.
    Compute { steps: u64 },
    /// Calls itself until the stack is full.
    Recurse,
    /// Answers JSON of about this many bytes.
    Reply { bytes: usize },
    /// Fails by the caller's fault.
    CallerError,
    /// Fails by its own fault.
    ModelError,
    /// Fails by its own fault, in these words.
    Complain { words: String },
    /// Fails for want of something.
    ServerError,
    /// Writes one line at each level.
    Log,
    /// Writes to stdout and stderr.
    Print,
    /// Sleeps, which is waiting inside the host.
    Sleep { ms: u64 },
    /// Does nothing wrong.
    Nothing,
}

struct Faults;

impl Model for Faults {
    fn init() -> Result<Self> {
        Ok(Self)
    }

    fn describe(&self) -> Description {
        Description::text()
    }

    fn run(&mut self, _input: Input, args: &Args) -> Result<Output> {
        match args.get()? {
            Act::Panic => panic!("asked to panic"),
            Act::Trap => trap(),
            Act::Loop => spin(),
            Act::Compute { steps } => {
                (0..steps).for_each(|step| {
                    black_box(step);
                });
            }
            Act::Recurse => return Output::json(&recurse(black_box(1))),
            Act::Reply { bytes } => return Output::json(&"x".repeat(bytes)),
            Act::CallerError => bail_caller!("the caller is to blame"),
            Act::ModelError => return Err(Error::model("the model is to blame")),
            Act::Complain { words } => return Err(Error::model(words)),
            Act::ServerError => return Err(Error::server("the server is to blame")),
            Act::Log => log_all(),
            Act::Print => print(),
            Act::Sleep { ms } => std::thread::sleep(std::time::Duration::from_millis(ms)),
            Act::Nothing => {}
        }
        Output::json("done")
    }
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    std::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

fn spin() -> ! {
    let mut count = 0u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

#[allow(unconditional_recursion)] // until the stack is full
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[depth as usize % 64]
}

fn log_all() {
    trace!("a line at trace");
    debug!("a line at debug");
    info!("a line at info");
    warn!("a line at warn");
    error!("a line at error\nwith a break and \u{1b}[31m a control character");
}

fn print() {
    println!("a line on stdout");
    eprintln!("a line on stderr");
}

tms_guest::export!(Faults);
