//! One child that compiles one component: what it is sent, what it may use, how it ends. The server
//! watches it: while it goes on, it gets slower beside others, and over a bound it is ended.

use std::{
    fs, io,
    os::fd::AsFd,
    path::PathBuf,
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, setpriority_process};
use tokio::time::{sleep, timeout};

use crate::{
    child::{
        Child, Confinement, Ended, Launch, Nursery,
        channel::{Incoming, frame, receive, send_all},
        confine::system_files,
        nursery::Killed,
    },
    config::{limits::Limits, values::show_bytes},
    ledger::{Account, Ledger},
};

use super::{
    child::Answer,
    places::Place,
    sealed::{Draft, Sealed},
    work::Order,
};

/// What children are started with.
#[derive(Clone)]
pub struct Children {
    pub nursery: Arc<Nursery>,
    /// This very program.
    pub program: PathBuf,
    /// Their memory is counted here.
    pub ledger: Arc<Ledger>,
}

/// What compiling one component may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of memory, of which the code may be as many again.
    memory: u64,
    /// CPU time. Of wall-clock time it is [`WAITING`] times as much.
    time: Duration,
}

impl Bounds {
    pub fn of(limits: &Limits) -> Self {
        Self { memory: limits.compile_memory as u64, time: limits.compile_time }
    }

    fn wall(&self) -> Duration {
        self.time.saturating_mul(WAITING)
    }
}

/// How many times its CPU time it has of wall-clock time: it waits for a core while others compute.
const WAITING: u32 = 10;

/// How often a child is looked at: at first, and once it has gone on for a while.
const LOOK: Duration = Duration::from_millis(10);
const LATER: Duration = Duration::from_millis(50);

/// When a child that compiles is slowed down, and how far.
struct Slower {
    /// The CPU time that it has had.
    after: Duration,
    /// How far its priority is lowered ("nice").
    nice: i32,
    /// Only while other components compile or wait.
    beside_others: bool,
}

/// A component of a usual size is nearly through before it is slowed down; one that takes for ever soon
/// keeps little from others, and little from the calls that are served. No slower than this: a large one
/// that is honest is to come to its end on a machine that is busy.
const SLOWER: [Slower; 3] = [
    Slower { after: Duration::from_millis(50), nice: 5, beside_others: true },
    Slower { after: Duration::from_secs(1), nice: 5, beside_others: false },
    Slower { after: Duration::from_secs(5), nice: 10, beside_others: true },
];

/// How long the memory of a child that ends may take to be given back.
const ENDING: Duration = Duration::from_secs(10);

/// The longest answer of a child: a reason in words.
const LONGEST_ANSWER: usize = 1 << 20;

/// What a child that compiles ends with, when it made nothing.
#[derive(Debug)]
pub enum Failed {
    /// Others waited for its place.
    GaveWay,
    /// Why it cannot be done.
    Reason(String),
}

impl Children {
    /// Compiles in a child. `memories` are the contents that the order speaks of.
    pub async fn compile(
        &self,
        order: &Order,
        component: &Sealed,
        memories: Option<&Sealed>,
        bounds: Bounds,
        place: &Place,
    ) -> Result<Sealed, Failed> {
        let system = |e: io::Error| Failed::Reason(format!("a process to compile it fails: {e}"));
        // As many bytes of code as of memory to make it in: it has been there.
        let target = Draft::of_at_most(bounds.memory).map_err(system)?;
        let launch = Launch { program: &self.program, work: super::child::WORK, name: "compiling" };
        let (child, socket) = self.nursery.launch(launch).await.map_err(system)?;
        let socket = tokio::net::UnixStream::from_std(socket).map_err(system)?;
        let confinement = confinement(bounds);
        let mut descriptors = vec![component.as_fd(), target.as_fd()];
        descriptors.extend(memories.map(|memories| memories.as_fd()));
        let talk = async {
            send_all(&socket, &frame(&confinement)?, &[]).await?;
            send_all(&socket, &frame(order)?, &descriptors).await?;
            answer(&socket).await
        };
        let watch = Watch { child: &child, bounds, place, ledger: &self.ledger };
        let (answered, most) = watch.during(talk).await?;
        match answered {
            Ok(Some(Answer::Made { length })) => made(&child, target, length).await,
            Ok(Some(Answer::Refused(reason))) => Err(Failed::Reason(reason)),
            Ok(None) => Err(ended(&child, bounds, most).await),
            // Sending fails where it has ended, and then how it ended says more.
            Err(e) if e.kind() != io::ErrorKind::InvalidData => {
                Err(ended(&child, bounds, most).await)
            }
            Err(_) => {
                child.kill(Killed::Nonsense);
                Err(ended(&child, bounds, most).await)
            }
        }
    }
}

fn confinement(bounds: Bounds) -> Confinement {
    // What is looked at from outside comes first: then it is known what happened. A part of what the
    // kernel counts is threads' stacks, and what is reserved and never used.
    let memory = bounds.memory.saturating_add(bounds.memory / 4).saturating_add(256 << 20);
    Confinement {
        parent: process::id(),
        memory: Some(memory),
        cpu_seconds: Some(bounds.time.as_secs().saturating_add(2)),
        read: system_files(),
        devices: Vec::new(),
    }
}

/// The child's answer. None where it ended without one.
async fn answer(socket: &tokio::net::UnixStream) -> io::Result<Option<Answer>> {
    let (mut incoming, mut length) = (Incoming::default(), 0);
    loop {
        if let Some(answer) = incoming.message()? {
            return Ok(Some(answer));
        }
        length += match receive(socket, &mut incoming).await {
            Ok(0) => return Ok(None),
            Ok(read) => read,
            // It had not read all that it was sent.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(e),
        };
        if length > LONGEST_ANSWER {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Takes what a child says that it made: from here on it cannot change it.
async fn made(child: &Child, target: Draft, length: u64) -> Result<Sealed, Failed> {
    let target = match target.seal(length) {
        Ok(sealed) => return Ok(sealed),
        Err((target, _)) => target,
    };
    // It may have it mapped.
    child.kill(Killed::Unneeded);
    child.ended().await;
    target.seal(length).map_err(|(_, e)| Failed::Reason(format!("the code cannot be taken: {e}")))
}

/// How a child ended that gave no answer, in words. `most` is the memory that it was seen to have.
async fn ended(child: &Child, bounds: Bounds, most: u64) -> Failed {
    if timeout(ENDING, child.ended()).await.is_err() {
        // It has closed its end of the channel and lives on.
        child.kill(Killed::Nonsense);
    }
    let Some(ended) = child.ended().await else {
        return Failed::Reason("compiling it ended with the server".into());
    };
    Failed::Reason(said_of(ended, bounds, most))
}

fn said_of(ended: Ended, bounds: Bounds, most: u64) -> String {
    let ended_by = ended.to_string();
    match (ended.killed, ended_by.as_str()) {
        (Some(Killed::Memory), _) => format!(
            "compiling it takes more than {} of memory (limit `compile_memory`)",
            show_bytes(bounds.memory)
        ),
        (Some(Killed::Overrun), _) | (_, "SIGXCPU") => {
            let time = humantime::format_duration(bounds.time);
            format!(
                "compiling it takes more than {time} of CPU time, or {WAITING} times as long by the \
                 clock (limit `compile_time`)"
            )
        }
        (Some(_), _) => format!("compiling it was ended: {ended_by}"),
        // How a program ends that gets no more memory, and some others.
        (None, "SIGABRT") => format!(
            "compiling it ended by SIGABRT, with {} of its {} of memory (limit `compile_memory`)",
            show_bytes(most),
            show_bytes(bounds.memory)
        ),
        (None, _) => format!("compiling it ended by {ended_by}"),
    }
}

/// Looks at a child while it is at work.
struct Watch<'a> {
    child: &'a Child,
    bounds: Bounds,
    place: &'a Place,
    ledger: &'a Arc<Ledger>,
}

impl Watch<'_> {
    /// What `talk` gives, and the most memory that the child was seen to have. A child over a bound is
    /// ended, which `talk` hears.
    async fn during<T>(&self, talk: impl Future<Output = T>) -> Result<(T, u64), Failed> {
        let mut talk = std::pin::pin!(talk);
        let began = Instant::now();
        let (mut most, mut nice) = (0, 0);
        // It leaves less to others. It is not refused any: its own bound ends it.
        let mut counted = self.ledger.nothing(Account::Compiling);
        loop {
            let look = if began.elapsed() < Duration::from_secs(1) { LOOK } else { LATER };
            tokio::select! {
                talked = &mut talk => return Ok((talked, most)),
                () = sleep(look) => {}
            }
            if self.place.is_wanted() {
                return Err(Failed::GaveWay);
            }
            let memory = self.child.memory().unwrap_or_default();
            most = memory.max(most);
            let now = usize::try_from(memory).unwrap_or(usize::MAX);
            counted.shrink_to(now);
            counted.add(now.saturating_sub(counted.bytes()));
            if memory > self.bounds.memory {
                self.child.kill(Killed::Memory);
            }
            let cpu = cpu_time(self.child.pid()).unwrap_or_default();
            if cpu > self.bounds.time || began.elapsed() > self.bounds.wall() {
                self.child.kill(Killed::Overrun);
            }
            let beside_others = self.place.has_others();
            let due = SLOWER
                .iter()
                .filter(|slower| cpu > slower.after && (beside_others || !slower.beside_others));
            let due = due.map(|slower| slower.nice).max().unwrap_or_default();
            if due > nice {
                nice = due;
                slow_down(self.child.pid(), nice);
            }
        }
    }
}

/// Lowers the priority of all threads of a process: on Linux each has its own, and hands it on to those
/// that it starts.
fn slow_down(pid: u32, nice: i32) {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for thread in threads {
        let thread = thread.file_name().to_str().and_then(|thread| thread.parse().ok());
        if let Some(thread) = thread.and_then(Pid::from_raw) {
            // It may have ended by now.
            let _ = setpriority_process(Some(thread), nice);
        }
    }
}

/// CPU time of a process, all of its threads. None once it has ended.
fn cpu_time(pid: u32) -> Option<Duration> {
    let pid = libc::pid_t::try_from(pid).ok()?;
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both write to the one variable that they are given, which is of the type that they expect
    // and outlives the call; the clock is used only where the first call says that it is one.
    #[allow(unsafe_code)]
    let read = unsafe {
        libc::clock_getcpuclockid(pid, &mut clock) == 0
            && libc::clock_gettime(clock, &mut time) == 0
    };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    read.then(|| Duration::new(seconds, nanos))
}
