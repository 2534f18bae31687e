//! A writer of lines that keeps nobody waiting: a thread of its own writes them, and lines that come
//! while too many wait for it are lost and counted.
//!
//! The crate `tracing-appender` has such a writer. Its bound is a number of lines, not of bytes; where
//! its thread does not get on, it prints to stdout when the process ends, which may be the same pipe
//! and would wait for ever; lines that could not be written are not counted.

use std::{
    io::{self, ErrorKind, Write},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Bytes that may wait. As many again may be on their way out of the thread: 16 MiB in all.
const MAX_WAITING: usize = 8 << 20;
/// A line has no more bytes than this: whoever writes one has a lower bound, and where that is
/// forgotten, this one holds. A guest's line has at most 4 KiB.
const MAX_LINE: usize = 17 << 10;
/// What is kept of a buffer that is empty again.
const KEPT: usize = 64 << 10;
/// Nobody else's bytes come between those of a piece of this size (`PIPE_BUF`), where other processes
/// write to the same pipe.
const PIECE: usize = 4096;
/// How soon a stream that somebody else switched to non-blocking is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug, Default)]
pub struct Lossy {
    queue: Mutex<Queue>,
    /// There are lines to write.
    filled: Condvar,
    /// There are none, and none that the thread has taken and not yet written.
    drained: Condvar,
    /// Lines that were not written.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole lines, one after the other.
    waiting: Vec<u8>,
    /// Whether the thread has lines that it has not yet written.
    writing: bool,
}

impl Lossy {
    /// A writer to `stream`. Its thread calls `report` with the number of lines lost, where there are
    /// more than before and lines can be written again.
    pub fn start(
        name: &str,
        stream: impl Write + Send + 'static,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let writer = Arc::new(Self::default());
        let own = writer.clone();
        // It ends with the process.
        thread::Builder::new().name(name.into()).spawn(move || own.run(stream, report))?;
        Ok(writer)
    }

    /// Takes a line, with its end. It is lost where there is no room.
    pub fn write(&self, line: &[u8]) {
        let (line, end) = cut(line);
        let mut queue = self.queue();
        if queue.waiting.len() + line.len() + end.len() > MAX_WAITING {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        queue.waiting.extend_from_slice(line);
        queue.waiting.extend_from_slice(end);
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until all lines are written, but no longer than this.
    pub fn flush(&self, limit: Duration) {
        let busy = |queue: &mut Queue| queue.writing || !queue.waiting.is_empty();
        let wait = self.drained.wait_timeout_while(self.queue(), limit, busy);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    fn run(&self, mut stream: impl Write, report: impl Fn(u64)) {
        let mut lines = Vec::new();
        let (mut reported, mut writable) = (0, true);
        loop {
            self.take(&mut lines);
            // What was taken came before the lines that were lost, and there is room for the report
            // behind it. The report may be lost too; then there is one more to report next time.
            let lost = self.lost();
            if writable && lost != reported {
                reported = lost;
                report(lost);
            }
            let failed = write_pieces(&mut stream, &lines);
            self.lost.fetch_add(failed, Relaxed);
            // Else each report would be a line that cannot be written, and a reason for the next.
            writable = failed == 0;
            lines.clear();
            lines.shrink_to(KEPT);
        }
    }

    /// Waits for lines, and takes all that there are. Those taken before are written.
    fn take(&self, lines: &mut Vec<u8>) {
        let mut queue = self.queue();
        queue.writing = false;
        if queue.waiting.is_empty() {
            self.drained.notify_all();
        }
        let empty = |queue: &mut Queue| queue.waiting.is_empty();
        let wait = self.filled.wait_while(queue, empty);
        queue = wait.unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut queue.waiting, lines);
        queue.writing = true;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nobody panics while holding it, and bytes are bytes.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line that is too long without its end, and what marks that.
fn cut(line: &[u8]) -> (&[u8], &'static [u8]) {
    if line.len() <= MAX_LINE {
        return (line, b"");
    }
    // Not in the middle of a character.
    let inside = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    let end = (0..=MAX_LINE).rev().find(|end| line.get(*end).is_some_and(|byte| !inside(byte)));
    (&line[..end.unwrap_or(0)], "…\n".as_bytes())
}

/// Writes whole lines, as many at a time as make a piece. Returns how many could not be written.
fn write_pieces(stream: &mut impl Write, mut lines: &[u8]) -> u64 {
    let is_end = |byte: &u8| *byte == b'\n';
    let mut failed = 0;
    while !lines.is_empty() {
        let piece = &lines[..lines.len().min(PIECE)];
        let end = piece
            .iter()
            .rposition(is_end)
            // A line of several pieces.
            .or_else(|| lines.iter().position(is_end))
            .map_or(lines.len(), |end| end + 1);
        let (piece, rest) = lines.split_at(end);
        let unwritten = write_all(stream, piece);
        failed += unwritten.iter().filter(|byte| is_end(byte)).count() as u64;
        lines = rest;
    }
    failed
}

/// Writes, waiting as long as it takes. Returns what could not be written: the reader is gone, or the
/// disk is full.
fn write_all<'a>(stream: &mut impl Write, mut bytes: &'a [u8]) -> &'a [u8] {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => break,
            Ok(written) => bytes = &bytes[written..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(_) => break,
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers each write; fails after so many.
    struct Stream {
        writes: Vec<Vec<u8>>,
        most: usize,
    }

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.writes.len() == self.most {
                return Err(ErrorKind::BrokenPipe.into());
            }
            self.writes.push(bytes.into());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_long_line_ends_between_two_characters() {
        for before in ["", "a", "ab"] {
            let line = format!("{before}{}\n", "\u{1f680}".repeat(10_000));
            let (kept, end) = cut(line.as_bytes());
            let kept = [kept, end].concat();
            assert!((MAX_LINE - 3..=MAX_LINE + 4).contains(&kept.len()), "{}", kept.len());
            assert!(str::from_utf8(&kept).unwrap().ends_with("\u{1f680}…\n"));
        }
        assert_eq!(cut(b"short\n"), (&b"short\n"[..], &b""[..]));
    }

    #[test]
    fn lines_are_written_whole_and_counted_where_they_are_not() {
        let short = format!("{}\n", "s".repeat(1500));
        let long = format!("{}\n", "l".repeat(9000));
        let lines = format!("{short}{short}{short}{long}{short}");
        let mut stream = Stream { writes: Vec::new(), most: 10 };
        assert_eq!(write_pieces(&mut stream, lines.as_bytes()), 0);
        let written: Vec<_> = stream.writes.iter().map(Vec::len).collect();
        assert_eq!(written, [3002, 1501, 9001, 1501]);
        assert_eq!(stream.writes.concat(), lines.as_bytes());
        let mut stream = Stream { writes: Vec::new(), most: 1 };
        assert_eq!(write_pieces(&mut stream, lines.as_bytes()), 3);
    }
}
