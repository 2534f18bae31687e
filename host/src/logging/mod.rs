//! The log: to stderr, so that stdout has nothing but what was asked for. Nobody who logs or prints
//! here ever waits for whoever reads it: calls are answered and signals obeyed beside a pipe that is
//! full.
//!
//! - [`lossy`]: the writer that all lines go through

mod lossy;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    panic::PanicHookInfo,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use self::lossy::Lossy;

/// Levels as in `TMS_LOG=debug` or `TMS_LOG=info,model=debug`; `model` is what models log.
pub const VARIABLE: &str = "TMS_LOG";

/// How long the end of the process, and the line that the server is ready, wait for lines that are
/// still to be written: a reader that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where all lines of the log go. One a process, as stderr is, whatever number of servers there are.
static LOG: OnceLock<Arc<Lossy>> = OnceLock::new();
/// What a server prints.
static STDOUT: OnceLock<Arc<Lossy>> = OnceLock::new();

/// Starts logging, at `default` levels where the variable names none. A level that cannot be read is
/// an error in words.
pub fn start(default: &str) -> Result<(), String> {
    let log = writer(&LOG, "log", io::stderr(), |lost| {
        tracing::warn!("{lost} lines of the log are lost so far: nobody read them in time");
    });
    let log = log.map_err(|e| format!("the log does not start: {e}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(levels(default)?)
        .with_writer(Lines(log))
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // They would go to stderr past the writer, and wait there.
        .log_internal_errors(false)
        .try_init()
        .map_err(|e| e.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// The levels that the variable names, or `default` ones where it names none.
pub fn levels(default: &str) -> Result<EnvFilter, String> {
    match std::env::var(VARIABLE) {
        Ok(levels) if !levels.is_empty() => read_levels(&levels),
        _ => Ok(EnvFilter::new(default)),
    }
}

/// Levels as the variable names them. A word that is no level would be taken for a part of the server, and
/// everything else switched off.
fn read_levels(levels: &str) -> Result<EnvFilter, String> {
    let is_level = |word: &str| {
        ["off", "error", "warn", "info", "debug", "trace"].contains(&word.to_lowercase().as_str())
    };
    let is_filter = |part: &str| part.is_empty() || part.contains(['=', '[']) || is_level(part);
    if let Some(word) = levels.split(',').map(str::trim).find(|part| !is_filter(part)) {
        return Err(format!(
            "{VARIABLE}={levels}: `{word}` is not a level: error, warn, info, debug, trace or off, or one \
             of them for a part, such as model=debug"
        ));
    }
    EnvFilter::try_new(levels)
        .map_err(|e| format!("{VARIABLE}={levels} is not a list of levels: {e}"))
}

/// Prints a line to stdout, after what was logged before it.
///
/// It waits for the log, so call it where that harms nobody; nobody waits for stdout.
pub fn print(line: &dyn fmt::Display) {
    if let Some(log) = LOG.get() {
        log.flush(PATIENCE);
    }
    match writer(&STDOUT, "stdout", io::stdout(), |_| {}) {
        Ok(stdout) => stdout.write(format!("{line}\n").as_bytes()),
        Err(e) => tracing::warn!("nothing is printed to stdout: {e}"),
    }
}

/// Says on stderr why the process ends, after what was logged before it.
pub fn complain(why: &dyn fmt::Display) {
    match LOG.get() {
        Some(log) => log.write(format!("tms: {why}\n").as_bytes()),
        // A command that does not log, whose stderr is a person's or a script's.
        None => {
            // It may be closed; then nobody wants to know.
            let _ = writeln!(io::stderr(), "tms: {why}");
        }
    }
}

/// Waits until all that was logged and printed is written, but not for a reader that does not read.
pub fn finish() {
    for writer in [&LOG, &STDOUT].into_iter().filter_map(OnceLock::get) {
        writer.flush(PATIENCE);
    }
}

/// How many lines of the log were not written.
pub fn lines_lost() -> u64 {
    LOG.get().map_or(0, |log| log.lost())
}

/// The writer in `slot`, which is started where there is none.
fn writer(
    slot: &'static OnceLock<Arc<Lossy>>,
    name: &str,
    stream: impl AsFd,
    report: impl Fn(u64) + Send + 'static,
) -> io::Result<Arc<Lossy>> {
    if let Some(writer) = slot.get() {
        return Ok(writer.clone());
    }
    // A descriptor of its own: the standard library's has a lock, which is held while it writes.
    let stream = File::from(stream.as_fd().try_clone_to_owned()?);
    let writer = Lossy::start(name, stream, report)?;
    Ok(slot.get_or_init(|| writer).clone())
}

/// A panic is a line of the log; the usual hook would write to stderr, and wait there.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    // Where RUST_BACKTRACE asks for it.
    let trace = Backtrace::capture();
    let trace = match trace.status() {
        BacktraceStatus::Captured => format!("\n{trace}"),
        _ => String::new(),
    };
    tracing::error!("the thread {thread} panicked at {place}: {message}{trace}");
}

/// Hands the writer to `tracing`, which writes each event with one call.
struct Lines(Arc<Lossy>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Lossy);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // What a model, a file or a caller wrote may be quoted in it: further lines are indented, so that
        // none passes for an event.
        match line.strip_suffix(b"\n") {
            Some(text) if text.contains(&b'\n') => {
                let lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
                self.0.write(&[lines.join(&b"\n    "[..]).as_slice(), b"\n"].concat());
            }
            _ => self.0.write(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
