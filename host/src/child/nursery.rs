//! Starts children, from one thread: the kernel ends a child with the thread that started it, not with
//! the process, so that thread lives as long as the server does. It also waits for them, so that none
//! stays a zombie.

use std::{
    collections::HashSet,
    env, fmt,
    future::Future,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt, process::ExitStatusExt},
    },
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::unix::AsyncFd,
    runtime::{Builder, Handle},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::machine;

use super::output;

/// Variables that a child gets. The others are the server's: there may be passwords among them.
const VARIABLES: [&str; 9] = [
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "TMS_LOG",
    "TZ",
    "RUST_BACKTRACE",
    "GLIBC_TUNABLES",
    "LOCPATH",
];
/// What variables of the inference libraries and the devices begin with.
const PREFIXES: [&str; 8] =
    ["ORT_", "OMP_", "CUDA_", "CUDNN_", "NVIDIA_", "TRT_", "TENSORRT_", "MALLOC_"];

/// The thread that starts children, and runs what watches over them.
pub struct Nursery {
    handle: Handle,
    /// The numbers of the children that have not been waited for.
    living: Arc<Mutex<HashSet<u32>>>,
    /// Ends the thread, and with it all children.
    _end: DropGuard,
}

/// How a child is started.
pub struct Launch<'a> {
    /// The program, which must be this very one.
    pub program: &'a Path,
    /// What it is to do: the word after `tms child`.
    pub work: &'static str,
    /// What it is called in the log, such as "native inference".
    pub name: &'a str,
}

/// Why the server ended a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// It is not needed any more.
    Unneeded,
    /// What it did went on after its time.
    Overrun,
    /// It took more memory than it may.
    Memory,
    /// What it sent made no sense.
    Nonsense,
}

/// How a child ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// Set where the server ended it.
    pub killed: Option<Killed>,
}

impl Ended {
    /// One word for metrics: by what it ended.
    pub fn cause(&self) -> &'static str {
        match (self.killed, self.status.signal()) {
            (Some(Killed::Unneeded), _) => "unneeded",
            (Some(Killed::Overrun), _) => "overrun",
            (Some(Killed::Memory), _) => "memory",
            (Some(Killed::Nonsense), _) => "nonsense",
            (None, Some(_)) => "signal",
            (None, None) => "exit",
        }
    }
}

/// How a child ended, for messages; None where only the server's own end is known.
pub fn how(ended: Option<Ended>) -> String {
    ended.map_or_else(|| "the server ends".to_owned(), |ended| ended.to_string())
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.killed, self.status.signal()) {
            (Some(Killed::Unneeded), _) => f.write_str("it was not needed any more"),
            (Some(Killed::Overrun), _) => f.write_str("it went on after its time"),
            (Some(Killed::Memory), _) => f.write_str("it took more memory than it may"),
            (Some(Killed::Nonsense), _) => f.write_str("what it sent made no sense"),
            (None, Some(signal)) => match name(signal) {
                Some(name) => f.write_str(name),
                None => write!(f, "signal {signal}"),
            },
            (None, None) => write!(f, "{}", self.status),
        }
    }
}

/// Signals that end programs.
fn name(signal: i32) -> Option<&'static str> {
    Some(match Signal::from_named_raw(signal)? {
        Signal::ABORT => "SIGABRT",
        Signal::BUS => "SIGBUS",
        Signal::FPE => "SIGFPE",
        Signal::ILL => "SIGILL",
        Signal::KILL => "SIGKILL",
        Signal::SEGV => "SIGSEGV",
        Signal::TERM => "SIGTERM",
        Signal::XCPU => "SIGXCPU",
        _ => return None,
    })
}

/// A child. It ends with this.
pub struct Child {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    /// Why the server ended it: the first reason counts.
    killed: Arc<OnceLock<Killed>>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Nursery {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
        let ends = end.clone();
        let work = move || {
            runtime.block_on(ends.cancelled());
            // Tasks that watch children end them as they are dropped.
            drop(runtime);
        };
        thread::Builder::new().name("tms-nursery".into()).spawn(work)?;
        Ok(Self { handle, living: Arc::default(), _end: end.drop_guard() })
    }

    /// CPU time of the children that are there.
    pub fn cpu_time(&self) -> Duration {
        let living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.iter().filter_map(|pid| machine::cpu_time_of(*pid)).sum()
    }

    /// Runs a task on the thread, beside others: it must not block.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.handle.spawn(task)
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Starts a child, and gives the server's end of its channel.
    pub async fn launch(&self, launch: Launch<'_>) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let name = launch.name.to_owned();
        let mut command = Command::new(launch.program);
        command
            .arg0("tms")
            .args(["child", launch.work])
            .env_clear()
            .envs(env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed_on)))
            .env(
                "ORT_DISABLE_TELEMETRY",
                env::var_os("ORT_DISABLE_TELEMETRY").unwrap_or("1".into()),
            )
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let living = self.living.clone();
        let start = async move { started(command, &name, living) };
        let child = self.handle.spawn(start).await.map_err(io::Error::other)??;
        Ok((child, ours))
    }
}

fn is_passed_on(name: &str) -> bool {
    VARIABLES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Starts a child on this thread, and the tasks that watch it.
fn started(
    mut command: Command,
    name: &str,
    living: Arc<Mutex<HashSet<u32>>>,
) -> io::Result<Child> {
    let mut process = command.spawn()?;
    let pid = process.id();
    let stderr = process.stderr.take().map(OwnedFd::from);
    let (tell, ended) = watch::channel(None);
    let killed = Arc::<OnceLock<Killed>>::default();
    let watched = || -> io::Result<OwnedFd> {
        let pid = Pid::from_raw(pid as i32).ok_or_else(|| io::Error::other("it has no number"))?;
        Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
    };
    let pidfd =
        match watched().and_then(|pidfd| Ok((Arc::new(pidfd.try_clone()?), on_runtime(pidfd)?))) {
            Ok((pidfd, ending)) => {
                living.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
                let reaper = Reaper { process, killed: killed.clone(), tell, living };
                tokio::spawn(reaper.wait(ending));
                pidfd
            }
            Err(e) => {
                // Nobody would ever wait for it.
                let _ = process.kill();
                let _ = process.wait();
                return Err(e);
            }
        };
    if let Some(stderr) = stderr {
        output::forward(stderr, format!("{name} ({pid})"));
    }
    Ok(Child { pid, pidfd, killed, ended })
}

/// A descriptor that the runtime of this thread watches.
#[allow(unsafe_code)]
fn on_runtime(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same open descriptor for as long as it lives, and it lives in what
    // is made here.
    let watched = unsafe { AsyncFd::register(descriptor) };
    Ok(watched?)
}

/// Waits for a child, and ends it with the thread.
struct Reaper {
    process: std::process::Child,
    /// Why the server ended it: the first reason counts.
    killed: Arc<OnceLock<Killed>>,
    tell: watch::Sender<Option<Ended>>,
    /// Its number is there until it has been waited for: it may be another's then.
    living: Arc<Mutex<HashSet<u32>>>,
}

impl Reaper {
    async fn wait(mut self, ending: AsyncFd<OwnedFd>) {
        // It is readable once the process has ended, and stays so.
        let _ = ending.readable().await;
        self.reap();
    }

    fn reap(&mut self) {
        self.living.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.process.id());
        if let Ok(status) = self.process.wait() {
            // One that ended by itself just before is not the server's doing.
            let by_us = status.signal() == Some(Signal::KILL.as_raw());
            let killed = self.killed.get().copied().filter(|_| by_us);
            self.tell.send_replace(Some(Ended { status, killed }));
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if self.tell.borrow().is_none() {
            let _ = self.process.kill();
            self.reap();
        }
    }
}

impl Child {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it at once. The first reason is the one that counts.
    pub fn kill(&self, why: Killed) {
        let _ = self.killed.set(why);
        // It may have ended by itself.
        let _ = pidfd_send_signal(self.pidfd.as_fd(), Signal::KILL);
    }

    /// Waits for its end. None where nobody knows how it ended, as the server ends too.
    pub async fn ended(&self) -> Option<Ended> {
        let mut ended = self.ended.clone();
        ended.wait_for(Option::is_some).await.ok().and_then(|ended| *ended)
    }

    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Bytes of memory that are its own. None once it has ended.
    pub fn memory(&self) -> Option<u64> {
        machine::own_memory(&self.pid.to_string())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.kill(Killed::Unneeded);
        }
    }
}
