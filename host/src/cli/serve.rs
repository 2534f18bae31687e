//! `tms serve`: serves a folder of models until a signal ends it.

use crate::{
    allocator::{self, Keeps},
    child::confine,
    config::{ServeArgs, Settings},
    logging,
    server::{self, Ready},
};

pub fn serve(args: ServeArgs) -> Result<(), Box<dyn std::error::Error>> {
    // ONNX Runtime is talkative about its optimiser.
    logging::start("info,ort=warn")?;
    raise_open_files();
    // Its children are the same user's, and could otherwise look into it.
    if let Err(e) = confine::not_dumpable() {
        tracing::warn!("the server's memory is not closed to its own user: {e}");
    }
    let settings = Settings::resolve(args)?;
    // One for each worker, and for the others together. Blocks of 8 MiB: a 1080p image is less.
    let arenas = settings.workers.saturating_add(1);
    allocator::keep(Keeps { arenas: u16::try_from(arenas).unwrap_or(u16::MAX), mapped: 8 });
    // Accepts connections and waits for signals; the workers have runtimes of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Beside the runtime, which goes on serving where nobody reads the line or the log before it.
    let ready = |ready: Ready| {
        tokio::task::spawn_blocking(move || logging::print(&ready));
    };
    runtime.block_on(async {
        let shutdown = signals()?;
        server::serve(settings, shutdown, ready).await.map_err(Box::<dyn std::error::Error>::from)
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
