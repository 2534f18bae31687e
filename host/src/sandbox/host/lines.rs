//! A model's lines in the host's log, under its name: those that it logs, and its stdout and stderr.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::{config::limits::Limits, sandbox::account::Usage, text::bounded};

/// Longer lines are cut, in bytes.
const MAX_LINE: usize = 4096;

/// A model's way into the log, with what this call may still write.
#[derive(Clone)]
pub struct GuestLog(Arc<Shared>);

struct Shared {
    model: Arc<str>,
    usage: Arc<Usage>,
    lines_left: AtomicUsize,
    bytes_left: AtomicUsize,
    dropped: AtomicU64,
}

impl GuestLog {
    pub fn new(model: Arc<str>, usage: Arc<Usage>) -> Self {
        let (lines_left, bytes_left) = Default::default();
        Self(Arc::new(Shared { model, usage, lines_left, bytes_left, dropped: AtomicU64::new(0) }))
    }

    /// A new call: a new allowance, and a word about what the last one lost.
    pub fn renew(&self, limits: &Limits) {
        if self.0.dropped.load(Ordering::Relaxed) > 0 {
            let dropped = self.0.dropped.swap(0, Ordering::Relaxed);
            self.0.usage.log_lines_dropped.fetch_add(dropped, Ordering::Relaxed);
            tracing::warn!(target: "model", model = %self.0.model,
                "{dropped} lines of the log were dropped: a call may write {} lines and {} bytes",
                limits.log_lines, limits.log_bytes);
        }
        self.0.lines_left.store(limits.log_lines, Ordering::Relaxed);
        self.0.bytes_left.store(limits.log_bytes, Ordering::Relaxed);
    }

    pub fn line(&self, level: Level, line: &str) {
        let take = |left: &AtomicUsize, n| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(n))
        };
        if take(&self.0.lines_left, 1).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Nothing that a guest writes can forge a line of its own or move the terminal's cursor.
        let mut escaped = String::new();
        for c in line.chars().take(MAX_LINE) {
            match c.is_control() && c != '\t' {
                true => escaped.extend(c.escape_default()),
                false => escaped.push(c),
            }
        }
        let text = bounded(&escaped, MAX_LINE);
        if take(&self.0.bytes_left, text.len()).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let model = &self.0.model;
        match level {
            Level::TRACE => tracing::trace!(target: "model", %model, "{text}"),
            Level::DEBUG => tracing::debug!(target: "model", %model, "{text}"),
            Level::INFO => tracing::info!(target: "model", %model, "{text}"),
            Level::WARN => tracing::warn!(target: "model", %model, "{text}"),
            Level::ERROR => tracing::error!(target: "model", %model, "{text}"),
        }
    }
}

/// A guest's stdout or stderr.
#[derive(Clone)]
pub struct Stdio {
    pub log: GuestLog,
    pub level: Level,
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // WASI 0.3 would ask for this one; guests of 0.2 have the one below.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.lines())
    }
}

impl Stdio {
    fn lines(&self) -> Lines {
        Lines { to: self.clone(), pending: Vec::new() }
    }
}

/// Collects bytes until a line is whole (or too long).
struct Lines {
    to: Stdio,
    pending: Vec<u8>,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = &bytes[..bytes.len().min(MAX_LINE - self.pending.len())];
            let end = room.iter().position(|byte| *byte == b'\n');
            let (taken, rest) = bytes.split_at(end.map_or(room.len(), |end| end + 1));
            self.pending.extend_from_slice(taken);
            if end.is_some() || self.pending.len() >= MAX_LINE {
                self.write();
            }
            bytes = rest;
        }
    }

    fn write(&mut self) {
        let line = String::from_utf8_lossy(&self.pending);
        let line = line.trim_end_matches(['\n', '\r']);
        if !line.is_empty() {
            self.to.log.line(self.to.level, line);
        }
        self.pending.clear();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.write();
    }
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}
