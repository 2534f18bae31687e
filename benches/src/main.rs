//! The servers and tools that `benches/run.py` measures `tms` against. All of them speak
//! proto/server.proto with the host's own generated code and settings, so that only the work
//! behind a call differs.
//!
//! - [`serve`]: a tonic server on one runtime a worker, or one shared runtime
//! - [`service`]: the calls of the protocol that are measured
//! - [`echo`]: next to no work, or the pixels' work without a sandbox
//! - [`classify`]: the classifier without a sandbox
//! - [`session`]: the classifier's network alone
//! - [`instances`]: what fresh, used, limited and idle instances cost
//! - [`pixels`]: the SDK's pixel operations, natively and as a guest
//! - [`first`]: a server's start until its first answer
//! - [`frames`]: the requests, as files for the load generators
//! - [`load`]: a load generator that keeps its pace, over [`client`]'s connections, at [`arrivals`]
//! - [`calibrate`]: what the machine takes for what a small call is made of

mod arrivals;
mod calibrate;
mod classify;
mod client;
mod echo;
mod first;
mod frames;
mod instances;
mod load;
mod pixels;
mod serve;
mod service;
mod session;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "What the benches measure tms against")]
enum Cli {
    #[command(flatten)]
    Command(Command),
}

#[derive(Subcommand)]
enum Command {
    /// Serve answers that cost nothing, or the pixels' work natively
    Echo(echo::Args),
    /// Serve the classifier with its own code compiled natively
    Classify(classify::Args),
    /// Run the classifier's network in a loop and print the times
    Session(session::Args),
    /// Measure what instances cost, without gRPC
    Instances(instances::Args),
    /// Measure the SDK's pixel operations natively and in a guest, without gRPC
    Pixels(pixels::Args),
    /// Start a server and wait for its first answer
    First(first::Args),
    /// Write the requests as files for the load generators
    Frames(frames::Args),
    /// Post a request at a rate, or in a closed loop, and print the times
    Load(load::Args),
    /// Measure the machine: system calls, wake-ups, loopback, memory
    Calibrate(calibrate::Args),
}

fn main() -> anyhow::Result<()> {
    let Cli::Command(command) = Cli::parse();
    match command {
        Command::Echo(args) => echo::run(args),
        Command::Classify(args) => classify::run(args),
        Command::Session(args) => session::run(args),
        Command::Instances(args) => instances::run(args),
        Command::Pixels(args) => pixels::run(args),
        Command::First(args) => first::run(args),
        Command::Frames(args) => frames::run(args),
        Command::Load(args) => load::run(args),
        Command::Calibrate(args) => calibrate::run(args),
    }
}
