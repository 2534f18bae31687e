//! What a child says, in the server's log: its own log, and what libraries in it print. All of it
//! comes over its stderr, a line at a time; lines of the log begin with a mark that nobody types.

use std::{
    fmt,
    io::{self, Write},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::unix::pipe,
};
use tracing::{Event, Level, Subscriber, field::Field};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};

use crate::{logging, text::bounded};

/// Stands before lines of a child's log, with the level's letter behind it.
const MARK: char = '\u{1}';
/// Bytes of a line; what is longer is cut into several.
const LINE: u64 = 4096;
/// Lines that are logged in a time; the others are counted.
const MOST: usize = 200;
const PERIOD: Duration = Duration::from_secs(10);

/// Logs what a child writes, until its end. Called on a runtime.
pub fn forward(stderr: OwnedFd, name: String) {
    match pipe::Receiver::from_owned_fd(stderr) {
        Ok(stderr) => drop(tokio::spawn(log_lines(stderr, name))),
        Err(e) => tracing::warn!("what the child {name} says is not heard: {e}"),
    }
}

async fn log_lines(stderr: pipe::Receiver, name: String) {
    let mut stderr = BufReader::new(stderr);
    let (mut began, mut lines) = (Instant::now(), 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stderr).take(LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if began.elapsed() > PERIOD {
            dropped(&name, lines);
            (began, lines) = (Instant::now(), 0);
        }
        lines += 1;
        if lines <= MOST {
            log(&name, String::from_utf8_lossy(&line).trim_end());
        }
    }
    dropped(&name, lines);
}

fn dropped(name: &str, lines: usize) {
    if let more @ 1.. = lines.saturating_sub(MOST) {
        tracing::warn!("{more} more lines of the child {name} are not logged");
    }
}

fn log(name: &str, line: &str) {
    let Some(marked) = line.strip_prefix(MARK) else {
        if !line.is_empty() {
            tracing::warn!(target: "native", "{name}: {}", printable(line));
        }
        return;
    };
    let mut characters = marked.chars();
    let level = characters.next();
    let text = printable(characters.as_str());
    match level {
        Some('E') => tracing::error!(target: "native", "{text}"),
        Some('W') => tracing::warn!(target: "native", "{text}"),
        Some('I') => tracing::info!(target: "native", "{text}"),
        _ => tracing::debug!(target: "native", "{text}"),
    }
}

fn printable(text: &str) -> String {
    bounded(text, LINE as usize).replace(char::is_control, " ")
}

/// Starts the log of a child: marked lines on stderr.
pub fn start(default: &str) -> Result<(), String> {
    let levels = logging::levels(default)?;
    let subscriber = tracing_subscriber::registry().with(Marked.with_filter(levels));
    tracing::subscriber::set_global_default(subscriber).map_err(|e| e.to_string())
}

/// Writes each event as one marked line.
struct Marked;

impl<S: Subscriber> Layer<S> for Marked {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let letter = match *event.metadata().level() {
            Level::ERROR => 'E',
            Level::WARN => 'W',
            Level::INFO => 'I',
            _ => 'D',
        };
        let mut line = Line(format!("{MARK}{letter}"));
        event.record(&mut line);
        let text = line.0.replace(['\n', '\r'], " ");
        // Nobody hears it where the server has ended; then the child does too.
        let _ = writeln!(io::stderr().lock(), "{}", bounded(&text, LINE as usize - 1));
    }
}

struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        let written = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        // Writing to a string does not fail.
        let _ = written;
    }
}
