//! What a child process does to itself right after exec, before it loads a library or reads a graph: from
//! then on it cannot reach the server, other processes, the network or files, whatever code runs in it.
//!
//! - [`files`]: what it may open (Landlock)
//! - [`calls`]: which system calls it may make (seccomp)
//!
//! The layers overlap on purpose: kernels lack one or the other. Nothing here can be undone, and it holds
//! for the calling thread and those that it starts later, so it comes before there are others.

mod calls;
mod files;

use std::{fs, io, path::PathBuf, process};

use rustix::{
    process::{
        DumpableBehavior, Resource, Rlimit, Signal, getppid, getrlimit, set_dumpable_behavior,
        set_parent_process_death_signal, setpgid, setrlimit,
    },
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs},
};
use serde::{Deserialize, Serialize};

pub use files::system_files;

/// What a child may do: the server's first message to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confinement {
    /// The process id of the server; a child whose parent is another one by now ends at once.
    pub parent: u32,
    /// Bytes of private writable memory. None: not bounded (drivers of devices reserve far more than they
    /// use).
    pub memory: Option<u64>,
    /// Seconds of CPU. None: not bounded.
    pub cpu_seconds: Option<u64>,
    /// What it may read: files, and folders with all in them. Links are followed here, when the child
    /// starts, and not inside of folders. What does not exist is left out.
    pub read: Vec<PathBuf>,
    /// Devices that it may use: `/dev/nvidia0` and so on. With any, fewer system calls are refused.
    pub devices: Vec<PathBuf>,
}

/// Confines this process for good. Gives what the kernel lacks for it, in words that go on "this kernel
/// lacks": empty where all of it holds.
pub fn confine(confinement: &Confinement) -> io::Result<Vec<String>> {
    alone()?;
    end_with(confinement.parent)?;
    stand_apart();
    set_no_new_privs(true)?;
    let mut lacking = Vec::new();
    lacking.extend(prefer_to_be_killed());
    limit(confinement)?;
    lacking.extend(files::restrict(&confinement.read, &confinement.devices)?);
    drop_capabilities()?;
    // Last: what comes before makes calls that are refused from here on.
    lacking.extend(calls::restrict(!confinement.devices.is_empty())?);
    Ok(lacking)
}

/// For the server: other processes of its user, its children among them, can neither read its memory and
/// environment nor trace it, also where the kernel lacks what [`confine`] asks for. It leaves no core.
pub fn not_dumpable() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Fails where there are other threads: they would stay as they are.
fn alone() -> io::Result<()> {
    match fs::read_dir("/proc/self/task").map(Iterator::count) {
        Ok(2..) => Err(io::Error::other("a process can confine itself only before it has threads")),
        // Without /proc nobody knows.
        _ => Ok(()),
    }
}

/// Ends this process with the server.
fn end_with(server: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the kernel was told.
    let parent = getppid().map(|parent| parent.as_raw_nonzero().get() as u32);
    if parent != Some(server) {
        process::exit(1);
    }
    Ok(())
}

/// Leaves the server's group of processes, and does not listen to signals that ask programs to end: a terminal
/// and a service manager send them to the server and to all that it has started, and the server wants its
/// children until it has drained. It ends them by SIGKILL, which cannot be ignored.
fn stand_apart() {
    // Not a session of its own: the kernel would divide its time between sessions first (autogroup), and let a
    // child that starts wait for seconds beside busy ones (Linux 6.18). Where it fails, the process leads a
    // group already, which is as good.
    let _ = setpgid(None, None);
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: there are no other threads, and no handler is installed, only what ignores the signal.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Where the machine runs out of memory, the kernel is to end this process, which can be started again,
/// rather than the server.
fn prefer_to_be_killed() -> Option<String> {
    const FILE: &str = "/proc/self/oom_score_adj";
    /// Of 1000: before what an operator has marked a little, and after what is marked to go first.
    const SCORE: i32 = 800;
    let raise = || {
        let score: i32 = fs::read_to_string(FILE)?.trim().parse().map_err(io::Error::other)?;
        // Lowering it takes a privilege.
        if score < SCORE { fs::write(FILE, SCORE.to_string()) } else { Ok(()) }
    };
    let without =
        "without which the server may be ended where memory runs out, rather than a child";
    raise().err().map(|e| format!("a {FILE} that can be written ({e}), {without}"))
}

/// Resource limits. Those that the kernel counts for all processes of a user (processes, signals) would
/// take from the server, and are left alone.
fn limit(confinement: &Confinement) -> io::Result<()> {
    /// Libraries open few files; a device's driver opens some hundreds.
    const FILES: u64 = 4096;
    // 1 and not 0: the kernel feeds even a core of no bytes to a crash handler, if the system has one, and
    // a child's memory holds its callers' data.
    lower(Resource::Core, 1, 1)?;
    lower(Resource::Nofile, FILES, FILES)?;
    if let Some(bytes) = confinement.memory {
        lower(Resource::Data, bytes, bytes)?;
    }
    if let Some(seconds) = confinement.cpu_seconds {
        // The first signal says what it was; a process may ignore it, the second it may not.
        lower(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    }
    Ok(())
}

/// Lowers a limit where it is higher: raising one takes a privilege.
fn lower(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let least = |now: Option<u64>, limit: u64| Some(now.map_or(limit, |now| now.min(limit)));
    let (current, maximum) = (least(now.current, current), least(now.maximum, maximum));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

/// Gives up root's privileges, where there are any, but for one: reading files that belong to others, as
/// the server does. Which files, Landlock says.
fn drop_capabilities() -> io::Result<()> {
    let permitted = capabilities(None)?.permitted;
    let read = CapabilitySet::DAC_READ_SEARCH;
    // Containers often have only the one that lets write too.
    let read = if permitted.contains(read) { read } else { CapabilitySet::DAC_OVERRIDE };
    let (kept, none) = (permitted & read, CapabilitySet::empty());
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: none };
    Ok(set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use std::{env, io::Write, thread};

    use rustix::net::{self, AddressFamily, SocketType};

    use super::*;

    #[test]
    fn a_process_with_devices_may_do_what_cuda_starts_with() {
        // The layers hold for the thread that asks for them, and for those that it starts.
        thread::spawn(confined).join().unwrap();
    }

    fn confined() {
        set_no_new_privs(true).unwrap();
        files::restrict(&system_files(), &[PathBuf::from("/dev/zero")]).unwrap();
        calls::restrict(true).unwrap();

        // It names its threads, by /proc.
        let named = thread::spawn(|| {
            let file = format!("/proc/self/task/{}/comm", rustix::thread::gettid());
            let mut opened = fs::OpenOptions::new().write(true).open(&file).unwrap();
            opened.write_all(b"cuda").map(|()| fs::read_to_string(file))
        });
        assert_eq!(named.join().unwrap().unwrap().unwrap(), "cuda\n");
        // It listens on a socket without a file, where nobody is let in and from where nobody is reached.
        let socket = || net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None);
        let name = format!("tms-confined-{}", process::id());
        let address = net::SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        let listening = socket().unwrap();
        net::bind(&listening, &address).unwrap();
        net::listen(&listening, 1).unwrap();
        assert_eq!(net::accept(&listening).unwrap_err(), rustix::io::Errno::PERM);
        let connected = net::connect(socket().unwrap(), &address);
        assert_eq!(connected.unwrap_err(), rustix::io::Errno::PERM);
        // Nothing else is written.
        let elsewhere = env::temp_dir().join(&name);
        assert!(fs::write(elsewhere, "").is_err());
        assert!(fs::write("/proc/self/comm", "").is_err());
    }
}
