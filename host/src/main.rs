//! The binary `tms`: arguments in, exit code out.

use std::io::Write;

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

fn main() -> ! {
    keep_quiet();
    let code = match run(Cli::parse().command) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("tms: {error}");
            1
        }
    };
    leave(code)
}

/// Ends the process at once, all of ours being closed by now. An ordinary exit would clean up
/// ONNX Runtime's statics under the feet of its threads, which may be reading a graph or running one
/// that nobody waits for, and crash.
fn leave(code: i32) -> ! {
    // Whoever started the program may have closed it.
    let _ = std::io::stdout().flush();
    // SAFETY: it takes no pointer and does not return.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(code)
    }
}

/// Tells ONNX Runtime to report nothing to its makers, as its published libraries do from 1.29 on
/// unless the environment says so before they are loaded.
fn keep_quiet() {
    const SETTING: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(SETTING).is_none() {
        // SAFETY: this is the first thing that the process does: there are no other threads, which might
        // read the environment at the same time.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var(SETTING, "1");
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
    raise_open_files();
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

/// Asks for as many open files as the system allows: each connection is one. Many systems start
/// programs with 1024, for the sake of those that use `select`.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, limit);
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
