//! The log and its readers: one that does not read, one that is gone. Neither holds up a call, or the
//! end of the server.

use std::{
    fs::{self, OpenOptions},
    io::{PipeReader, PipeWriter, Read, Write},
    net::TcpListener,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::harness::{Caller, Setup, metrics::samples, until};

/// A server of two models, one of which may log what it likes, with streams that a test has made.
struct Server {
    child: Child,
    port: u16,
    metrics: String,
    _folder: TempDir,
}

impl Server {
    /// The server, once it takes calls.
    async fn start(stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Option<Self> {
        // Nothing that it says may be needed to reach it.
        let [port, page] = free_ports();
        let metrics = format!("127.0.0.1:{page}");
        let setup = Setup::new()
            .component("tests/hostile/guest", "hostile")
            .guest("echo")
            .workers(1)
            .config("[model.hostile.limits]\nlog_lines = 100_000\nlog_bytes = '100 MB'")
            .arg("--port")
            .arg(&port.to_string())
            .arg("--metrics")
            .arg(&metrics);
        let (child, folder) = setup.spawn(stdout.into(), stderr.into())?;
        let mut server = Self { child, port, metrics, _folder: folder };
        until("its port", async || {
            assert!(server.child.try_wait().unwrap().is_none(), "it ended");
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Some(server)
    }

    /// A call that logs so many times 60 KB. Of 280 of them not all may wait for a reader.
    async fn flood(&self, pieces: usize) {
        let caller = Caller::connect(self.port).await;
        let args = format!(r#"{{"pieces": {pieces}}}"#);
        let answer = caller.text("hostile", "stdout_flood", &args).await;
        assert_eq!(answer.unwrap(), "done");
    }

    /// A model that has nothing to do with it.
    async fn assert_answers(&self) {
        let caller = Caller::connect(self.port).await;
        assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
    }

    fn lines_lost(&self) -> f64 {
        let samples = samples(&self.metrics);
        let lost = samples.iter().find(|(name, _)| name == "tms_log_lines_lost_total");
        lost.expect("the metric").1
    }

    async fn assert_stops(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(exit_code(&mut self.child).await, Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn exit_code(child: &mut Child) -> Option<i32> {
    until("the exit", async || child.try_wait().unwrap().is_some()).await;
    child.wait().unwrap().code()
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// A pipe with no room for another byte.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    // A second way into the same pipe, on which a write fails where it would wait.
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let filler = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut filler = filler.unwrap();
    for size in [4096, 1] {
        while filler.write(&vec![b'.'; size]).is_ok() {}
    }
    (reader, writer)
}

/// A pipe whose reader is gone.
fn broken_pipe() -> PipeWriter {
    std::io::pipe().unwrap().1
}

#[tokio::test]
async fn nobody_reads_the_log() {
    let (_reader, stderr) = full_pipe();
    let Some(mut server) = Server::start(Stdio::null(), stderr).await else { return };
    server.assert_answers().await;
    for _ in 0..3 {
        server.flood(280).await;
        server.assert_answers().await;
    }
    assert!(server.lines_lost() > 0.0);
    server.assert_stops().await;
}

#[tokio::test]
async fn who_reads_the_log_again_is_told_what_is_missing() {
    let (mut reader, stderr) = full_pipe();
    let Some(mut server) = Server::start(Stdio::null(), stderr).await else { return };
    for _ in 0..3 {
        server.flood(280).await;
    }
    let lost = server.lines_lost();
    assert!(lost > 0.0);
    let log = Arc::new(Mutex::new(Vec::new()));
    let copy = log.clone();
    let reading = thread::spawn(move || {
        let mut piece = vec![0; 1 << 16];
        loop {
            match reader.read(&mut piece).unwrap() {
                0 => return,
                read => copy.lock().unwrap().extend_from_slice(&piece[..read]),
            }
        }
    });
    let text = || String::from_utf8_lossy(&log.lock().unwrap()).into_owned();
    let told = format!("WARN {lost} lines of the log are lost so far: nobody read them in time\n");
    until("the report", async || text().contains(&told)).await;
    server.assert_stops().await;
    reading.join().unwrap();
    let text = text();
    // It comes where the lines are missing, and once. From there on all is there.
    let (before, after) = text.split_once(&told).unwrap();
    assert!(before.contains("flood flood") && !after.contains(" lines of the log are lost"));
    assert!(after.contains(" INFO stopping\n"), "{after}");
}

#[tokio::test]
async fn nobody_reads_the_line_that_it_is_ready() {
    let (_reader, stdout) = full_pipe();
    let Some(mut server) = Server::start(stdout, Stdio::null()).await else { return };
    server.flood(50).await;
    server.assert_answers().await;
    assert_eq!(server.lines_lost(), 0.0, "the log has a reader");
    server.assert_stops().await;
}

#[tokio::test]
async fn the_readers_are_gone() {
    let Some(mut server) = Server::start(broken_pipe(), broken_pipe()).await else { return };
    server.flood(280).await;
    server.assert_answers().await;
    until("lost lines", async || server.lines_lost() > 4000.0).await;
    server.assert_stops().await;
}

#[tokio::test]
async fn nobody_reads_why_it_does_not_start() {
    let (_reader, stderr) = full_pipe();
    let setup = Setup::new().arg("--models").arg("nowhere");
    let Some((mut child, _folder)) = setup.spawn(Stdio::null(), stderr.into()) else { return };
    assert_eq!(exit_code(&mut child).await, Some(1));
}

#[tokio::test]
async fn a_log_in_a_file_is_plain_text_and_is_there_before_the_ready_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = fs::File::create(&path).unwrap();
    let (mut stdout, writer) = std::io::pipe().unwrap();
    let Some(mut server) = Server::start(writer, log).await else { return };
    let mut ready = Vec::new();
    let mut byte = [0];
    while !ready.ends_with(b"\n") {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{ready:?}");
        ready.extend(byte);
    }
    let text = fs::read_to_string(&path).unwrap();
    for model in ["hostile", "echo"] {
        let line = |line: &str| {
            line.contains("INFO ready in ") && line.ends_with(&format!(" model={model}"))
        };
        assert!(text.lines().any(line), "{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
    server.assert_stops().await;
    assert!(fs::read_to_string(&path).unwrap().ends_with(" INFO stopping\n"));
}
