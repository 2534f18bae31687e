//! The real server in a process of its own: ready line, log, signals, exit.

use std::{
    fs,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::{NamedTempFile, TempDir};
use tokio::task::JoinHandle;
use tonic::Code;

use super::{Caller, client::Answer, until};

/// A running server, killed when it is dropped.
pub struct Server {
    child: Child,
    pub port: u16,
    /// The line that it printed when it was ready.
    pub ready: String,
    /// Files, not pipes: what the server has written is there at once.
    out: NamedTempFile,
    log: NamedTempFile,
    /// Its models and settings, removed when it is gone.
    folder: TempDir,
}

impl Server {
    /// The server, once it is ready.
    pub async fn start(command: Command, folder: TempDir) -> Self {
        let mut server = Self::begin(command, folder).await;
        let mut ended = None;
        until("ready", async || {
            ended = server.child.try_wait().unwrap();
            ended.is_some() || server.ready().contains('\n')
        })
        .await;
        assert!(ended.is_none(), "it ended with {ended:?}:\n{}", server.log());
        server.ready = server.ready();
        server
    }

    /// The server, once it takes calls.
    pub async fn begin(mut command: Command, folder: TempDir) -> Self {
        let [out, log] = [(); 2].map(|()| NamedTempFile::new().unwrap());
        command.stdin(Stdio::null()).stdout(out.reopen().unwrap()).stderr(log.reopen().unwrap());
        let mut child = command.spawn().unwrap();
        let (mut ended, mut port) = (None, None);
        until("its port", async || {
            ended = child.try_wait().unwrap();
            // The last line may not be whole.
            // The log has it first, where it is not switched off.
            let said = text(&out) + &text(&log);
            let whole = said.rfind('\n').map_or("", |end| &said[..end]);
            port = whole
                .split([' ', ',', '\n'])
                .filter(|word| word.starts_with("grpc"))
                .find_map(|word| word.split_once("://")?.1.rsplit_once(':')?.1.parse().ok());
            ended.is_some() || port.is_some()
        })
        .await;
        let port = port.unwrap_or_else(|| panic!("it ended with {ended:?}:\n{}", text(&log)));
        Self { child, port, ready: String::new(), out, log, folder }
    }

    /// What it has printed.
    pub fn ready(&self) -> String {
        text(&self.out)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client on a connection of its own.
    pub async fn caller(&self) -> Caller {
        Caller::connect(self.port).await
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// Waits until the log has `text`, and gives the log.
    pub async fn logged(&self, text: &str) -> String {
        until(&format!("`{text}` in the log"), async || self.log().contains(text)).await;
        self.log()
    }

    /// Starts a call of the guest `faults`, whose only instance it takes, and waits until it has.
    pub async fn occupy(&self, what: &'static str) -> JoinHandle<Answer> {
        let other = self.caller().await;
        loop {
            let caller = self.caller().await;
            let call = tokio::spawn(async move { caller.fault(what).await });
            until("the only instance is taken", async || {
                let refused = other.fault(r#""do": "nothing""#).await;
                call.is_finished() || refused.is_err_and(|e| e.code() == Code::ResourceExhausted)
            })
            .await;
            // It may have met the other call, and been refused itself.
            if !call.is_finished() {
                return call;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the process to end by itself.
    pub async fn exit(&mut self) -> ExitStatus {
        until("the exit", async || self.has_ended()).await;
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            // Shown with the test that failed.
            eprintln!("--- the server's log\n{}", self.log());
        }
    }
}

/// What a file holds by now.
fn text(file: &NamedTempFile) -> String {
    String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned()
}
