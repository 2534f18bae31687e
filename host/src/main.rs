//! The binary `tms`: arguments in, exit code out.

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};
use tms::{build::BuildArgs, call::CallArgs, check::CheckArgs, config::ServeArgs};

/// Tiny Model Server: serves models whose pre- and post-processing is a WebAssembly component.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a folder of models over gRPC
    Serve(ServeArgs),
    /// Build the components of models that come as source
    Build(BuildArgs),
    /// Check models' folders, and whether calls of their graphs can be batched
    Check(CheckArgs),
    /// Call a model of a running server and print its answer
    Call(CallArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tms: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Serve(args) => serve(args),
        Command::Build(args) => Ok(tms::build::build(&args)?),
        Command::Check(args) => {
            tms::logging::start("warn")?;
            Ok(tms::check::check(&args)?)
        }
        Command::Call(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let answer = runtime.block_on(tms::call::call(args))?;
            Ok(writeln!(std::io::stdout(), "{answer}")?)
        }
    }
}

fn serve(args: ServeArgs) -> Result<(), Box<dyn std::error::Error>> {
    // ONNX Runtime is talkative about its optimiser.
    tms::logging::start("info,ort=warn")?;
    let settings = tms::config::Settings::resolve(args)?;
    // Accepts connections and waits for signals; the workers have runtimes of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ready = |ready| {
        // Whoever started the server may have closed stdout; serving matters more.
        let _ = writeln!(std::io::stdout(), "{ready}");
    };
    runtime.block_on(async {
        let shutdown = signals()?;
        tms::serve::serve(settings, shutdown, ready)
            .await
            .map_err(Box::<dyn std::error::Error>::from)
    })
}

/// Ends with the first SIGTERM or SIGINT.
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
