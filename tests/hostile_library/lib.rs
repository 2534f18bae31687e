//! A shared library that attacks as soon as it is loaded, as an inference library could that was tampered
//! with, or that a graph file has taken over. It tries everything that a child process must not be able to
//! do, says on stderr what came of it, a line each, and then is the library that lies beside it.
//!
//! `tests/native_hostile.rs` builds it (`rustc --crate-type cdylib`, nothing else) and reads the lines:
//! - `hostile: refused: NAME`: the kernel refused it, as it must
//! - `hostile: DONE: NAME`: it worked
//! - `hostile: OTHERWISE: NAME: WHY`: it failed, but nobody refused it
//! - `hostile: works: NAME`, `hostile: BROKEN: NAME: WHY`: the same for what any library may do
//! - `hostile: all tried`

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the numbers of system calls are those of x86-64");

use std::{
    env,
    ffi::{CString, c_char, c_int, c_long, c_void},
    fs::{self, File, OpenOptions, Permissions},
    io::{Error, ErrorKind, Read, Result},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt, symlink},
        net::{UnixDatagram, UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{self, Command},
    ptr, thread,
};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn pthread_create(
        thread: *mut usize,
        attributes: *const c_void,
        work: extern "C" fn(*mut c_void) -> *mut c_void,
        given: *mut c_void,
    ) -> c_int;
    fn pthread_join(thread: usize, result: *mut *mut c_void) -> c_int;
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The dynamic linker calls it when it has loaded the library, before anybody asks for a function.
#[used]
#[unsafe(link_section = ".init_array")]
static ATTACK: extern "C" fn() = attack;

extern "C" fn attack() {
    ordinary();
    files();
    network();
    processes();
    limits();
    kernel();
    eprintln!("hostile: all tried");
}

/// Where the real library lies, and the server's folder, which holds `tms.toml` and `models/`: variables
/// whose names begin so are passed on to children.
fn place(variable: &str) -> PathBuf {
    env::var_os(variable).map(PathBuf::from).unwrap_or_default()
}

/// The one function by which ONNX Runtime is entered.
#[unsafe(no_mangle)]
pub extern "C" fn OrtGetApiBase() -> *const c_void {
    const NOW: c_int = 2;
    let Ok(path) = CString::new(place("ORT_HOSTILE_REAL").as_os_str().as_bytes()) else {
        return ptr::null();
    };
    unsafe {
        let library = dlopen(path.as_ptr(), NOW);
        if library.is_null() {
            eprintln!("hostile: BROKEN: load the real library");
            return ptr::null();
        }
        let enter = dlsym(library, c"OrtGetApiBase".as_ptr());
        let enter: extern "C" fn() -> *const c_void = std::mem::transmute(enter);
        enter()
    }
}

/// Tries what must be refused.
fn attempt<T>(name: &str, attempt: impl FnOnce() -> Result<T>) {
    /// EPERM, EACCES, ENOSYS.
    const REFUSALS: [i32; 3] = [1, 13, 38];
    match attempt() {
        Ok(_) => eprintln!("hostile: DONE: {name}"),
        Err(e) if e.raw_os_error().is_some_and(|code| REFUSALS.contains(&code)) => {
            eprintln!("hostile: refused: {name}");
        }
        Err(e) => eprintln!("hostile: OTHERWISE: {name}: {e}"),
    }
}

/// Tries what must work.
fn needed<T>(name: &str, attempt: impl FnOnce() -> Result<T>) {
    match attempt() {
        Ok(_) => eprintln!("hostile: works: {name}"),
        Err(e) => eprintln!("hostile: BROKEN: {name}: {e}"),
    }
}

/// A system call with up to six numbers. Those that are made here are given no addresses but of memory that
/// outlives them.
fn call<const N: usize>(number: c_long, given: [usize; N]) -> Result<c_long> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&given);
    let [a, b, c, d, e, f] = all;
    match unsafe { syscall(number, a, b, c, d, e, f) } {
        -1 => Err(Error::last_os_error()),
        result => Ok(result),
    }
}

fn server() -> usize {
    std::os::unix::process::parent_id() as usize
}

/// What libraries do that compute.
fn ordinary() {
    const EVENTFD2: c_long = 290;
    const EPOLL_CREATE1: c_long = 291;
    const TIMERFD_CREATE: c_long = 283;
    const MADVISE: c_long = 28;
    const TGKILL: c_long = 234;
    // Not Rust's own, which wait for the linker, as the linker waits for this.
    needed("threads", || {
        extern "C" fn give_back(given: *mut c_void) -> *mut c_void {
            given
        }
        let given = ptr::without_provenance_mut(6);
        let (mut thread, mut result) = (0, ptr::null_mut());
        let error = unsafe { pthread_create(&mut thread, ptr::null(), give_back, given) };
        if error != 0 {
            return Err(Error::from_raw_os_error(error));
        }
        unsafe { pthread_join(thread, &mut result) };
        if result == given { Ok(()) } else { Err(Error::from(ErrorKind::Other)) }
    });
    needed("memory", || {
        let memory = vec![1u8; 32 << 20];
        let page = (memory.as_ptr() as usize).next_multiple_of(4096);
        call(MADVISE, [page, 4096, 4])
    });
    needed("eventfd", || call(EVENTFD2, [0, 0]));
    needed("epoll", || call(EPOLL_CREATE1, [0]));
    needed("timerfd", || call(TIMERFD_CREATE, [1, 0]));
    needed("a signal to itself", || {
        call(TGKILL, [process::id() as usize, process::id() as usize, 0])
    });
    needed("the number of cores", thread::available_parallelism);
    for file in ["/proc/self/maps", "/proc/self/cgroup", "/proc/cpuinfo", "/proc/meminfo"] {
        needed(&format!("read {file}"), || fs::read(file));
    }
    needed("read /dev/urandom", || File::open("/dev/urandom")?.read_exact(&mut [0; 8]));
    needed("list the system's libraries", || fs::read_dir("/usr/lib"));
}

fn files() {
    const OPENAT2: c_long = 437;
    const TRUNCATE: c_long = 76;
    const UTIMENSAT: c_long = 280;
    const SETXATTR: c_long = 188;
    const NAME_TO_HANDLE_AT: c_long = 303;
    const OPEN_BY_HANDLE_AT: c_long = 304;
    const INOTIFY_INIT1: c_long = 294;
    const O_TRUNC: c_int = 0o1000;
    const O_TMPFILE: c_int = 0o20200000;
    const HERE: usize = -100isize as usize;
    let server = server();

    attempt("read /etc/passwd", || fs::read("/etc/passwd"));
    attempt("read /etc/shadow", || fs::read("/etc/shadow"));
    attempt("list /", || fs::read_dir("/"));
    attempt("list /proc", || fs::read_dir("/proc"));
    attempt("read /etc/passwd past /proc/self/root", || fs::read("/proc/self/root/etc/passwd"));
    for file in ["environ", "mem", "maps", "cmdline", "root/etc/passwd"] {
        attempt(&format!("read {file} of the server"), || {
            File::open(format!("/proc/{server}/{file}"))
        });
    }
    attempt("list the server's descriptors", || fs::read_dir(format!("/proc/{server}/fd")));
    let write = |path: &Path| OpenOptions::new().write(true).open(path);
    attempt("write the server's memory", || write(Path::new(&format!("/proc/{server}/mem"))));
    attempt("be spared when memory runs out", || fs::write("/proc/self/oom_score_adj", "-1000"));

    for folder in ["/tmp", "/dev/shm", "/var/tmp"] {
        let file = Path::new(folder).join("tms-hostile");
        attempt(&format!("create a file in {folder}"), || File::create_new(&file));
        attempt(&format!("create a file without a name in {folder}"), || {
            OpenOptions::new().write(true).custom_flags(O_TMPFILE).open(folder)
        });
        attempt(&format!("create a folder in {folder}"), || {
            fs::create_dir(file.with_extension("d"))
        });
        attempt(&format!("create a link in {folder}"), || symlink("/", file.with_extension("l")));
    }

    let folder = place("ORT_HOSTILE_FOLDER");
    attempt("read tms.toml", || fs::read(folder.join("tms.toml")));
    let graph = folder.join("models/victim/model.onnx");
    let Ok(name) = CString::new(graph.as_os_str().as_bytes()) else { return };
    let name = name.as_ptr() as usize;
    attempt("write a graph", || write(&graph));
    attempt("empty a graph", || OpenOptions::new().read(true).custom_flags(O_TRUNC).open(&graph));
    attempt("cut a graph short", || call(TRUNCATE, [name, 0]));
    attempt("open a graph by openat2", || {
        let how = [2u64, 0, 0];
        call(OPENAT2, [HERE, name, how.as_ptr() as usize, size_of_val(&how)])
    });
    attempt("remove a graph", || fs::remove_file(&graph));
    attempt("rename a graph", || fs::rename(&graph, graph.with_extension("old")));
    attempt("link a graph", || fs::hard_link(&graph, graph.with_extension("more")));
    attempt("create a graph", || fs::write(graph.with_extension("new"), "x"));
    attempt("change a graph's mode", || fs::set_permissions(&graph, Permissions::from_mode(0o666)));
    attempt("change a graph's owner", || std::os::unix::fs::chown(&graph, Some(12345), None));
    attempt("change a graph's time", || call(UTIMENSAT, [HERE, name, 0, 0]));
    attempt("mark a graph", || {
        let (key, value) = (c"user.hostile", [b'x']);
        call(SETXATTR, [name, key.as_ptr() as usize, value.as_ptr() as usize, 1, 0])
    });
    attempt("name a file by a handle", || {
        let (mut handle, mut mount) = ([128u32; 40], 0u32);
        let handle = handle.as_mut_ptr() as usize;
        let mount = &raw mut mount as usize;
        call(NAME_TO_HANDLE_AT, [HERE, c"/etc/passwd".as_ptr() as usize, handle, mount, 0])
    });
    attempt("open a file by a handle", || call(OPEN_BY_HANDLE_AT, [HERE, 0, 0]));
    attempt("watch files", || call(INOTIFY_INIT1, [0]));
}

fn network() {
    const SOCKET: c_long = 41;
    const CONNECT: c_long = 42;
    const BIND: c_long = 49;
    const NETLINK: usize = 16;
    const RAW: usize = 3;
    const CHANNEL: usize = 0;
    attempt("connect by TCP", || TcpStream::connect("127.0.0.1:22"));
    attempt("listen for TCP", || TcpListener::bind("127.0.0.1:0"));
    attempt("use UDP", || UdpSocket::bind("127.0.0.1:0"));
    attempt("use a Unix socket", UnixDatagram::unbound);
    attempt("connect to a Unix socket", || UnixStream::connect("/run/hostile"));
    attempt("listen on a Unix socket", || UnixListener::bind("/tmp/tms-hostile.sock"));
    attempt("make a pair of sockets", UnixStream::pair);
    attempt("use a netlink socket", || call(SOCKET, [NETLINK, RAW, 0]));
    // The address family alone: a Unix socket that is connected would be disconnected.
    let address = [0u8; 2];
    attempt("connect the channel to something else", || {
        call(CONNECT, [CHANNEL, address.as_ptr() as usize, 2])
    });
    attempt("bind the channel", || call(BIND, [CHANNEL, address.as_ptr() as usize, 2]));
}

fn processes() {
    const FCNTL: c_long = 72;
    const CLONE: c_long = 56;
    const FORK: c_long = 57;
    const EXIT_GROUP: c_long = 231;
    const KILL: c_long = 62;
    const TKILL: c_long = 200;
    const TGKILL: c_long = 234;
    const RT_SIGQUEUEINFO: c_long = 129;
    const PTRACE: c_long = 101;
    const PRCTL: c_long = 157;
    const SETPRIORITY: c_long = 141;
    const IOPRIO_SET: c_long = 251;
    const SCHED_SETSCHEDULER: c_long = 144;
    const SCHED_SETAFFINITY: c_long = 203;
    const PRLIMIT64: c_long = 302;
    const PROCESS_VM_READV: c_long = 310;
    const PROCESS_VM_WRITEV: c_long = 311;
    const KCMP: c_long = 312;
    const PIDFD_OPEN: c_long = 434;
    const CLONE3: c_long = 435;
    const SIGCHLD: usize = 17;
    const ATTACH: usize = 16;
    const SEIZE: usize = 0x4206;
    const SETOWN: usize = 8;
    const PDEATHSIG: usize = 1;
    let server = server();

    attempt("run a program", || Command::new("/bin/true").status());
    attempt("become a program", || Err::<(), _>(Command::new("/bin/true").exec()));
    for (name, number) in [("fork", FORK), ("fork by clone", CLONE)] {
        attempt(name, || {
            let child = call(number, if number == CLONE { [SIGCHLD] } else { [0] })?;
            if child == 0 {
                let _ = call(EXIT_GROUP, [0]);
            }
            Ok(())
        });
    }
    attempt("clone3", || call(CLONE3, [0, 0]));
    // With signal 0 the kernel only says whether another one would be sent.
    attempt("signal the server", || call(KILL, [server, 0]));
    attempt("signal the process group", || call(KILL, [0, 0]));
    attempt("signal everybody", || call(KILL, [usize::MAX, 0]));
    attempt("signal the server's thread", || call(TKILL, [server, 0]));
    attempt("signal the server's thread by its group", || call(TGKILL, [server, server, 0]));
    attempt("queue a signal for the server", || {
        let information = [0u8; 128];
        call(RT_SIGQUEUEINFO, [server, 0, information.as_ptr() as usize])
    });
    attempt("have the server signalled", || call(FCNTL, [0, SETOWN, server]));
    attempt("hold the server", || call(PIDFD_OPEN, [server, 0]));
    attempt("trace the server", || call(PTRACE, [ATTACH, server, 0, 0]));
    attempt("trace the server without stopping it", || call(PTRACE, [SEIZE, server, 0, 0]));
    let mut there = 0u64;
    let place = [&raw mut there as usize, 8];
    let place = place.as_ptr() as usize;
    attempt("read the server's memory", || call(PROCESS_VM_READV, [server, place, 1, place, 1, 0]));
    attempt("change the server's memory", || {
        call(PROCESS_VM_WRITEV, [server, place, 1, place, 1, 0])
    });
    attempt("compare itself with the server", || {
        call(KCMP, [process::id() as usize, server, 0, 0, 0])
    });
    attempt("see the server's limits", || {
        let mut limits = [0u64; 2];
        call(PRLIMIT64, [server, 7, 0, limits.as_mut_ptr() as usize])
    });
    attempt("slow the server down", || call(SETPRIORITY, [0, server, 19]));
    attempt("slow the user's processes down", || call(SETPRIORITY, [2, 0, 19]));
    attempt("slow the server's files down", || call(IOPRIO_SET, [1, server, 3 << 13]));
    let parameters = [0u32; 4];
    let parameters = parameters.as_ptr() as usize;
    attempt("make the server idle", || call(SCHED_SETSCHEDULER, [server, 5, parameters]));
    let one = [1u64];
    attempt("keep the server to one core", || {
        call(SCHED_SETAFFINITY, [server, 8, one.as_ptr() as usize])
    });
    attempt("outlive the server", || call(PRCTL, [PDEATHSIG, 0]));
}

fn limits() {
    const MMAP: c_long = 9;
    const SHMGET: c_long = 29;
    const SETRLIMIT: c_long = 160;
    const MEMFD_CREATE: c_long = 319;
    const READ_WRITE: usize = 3;
    const SHARED: usize = 0x21;
    const GROWS_DOWN: usize = 0x122;
    const NONE: usize = usize::MAX;
    let unlimited = [u64::MAX; 2];
    for (name, resource) in [("memory", 2), ("cores", 4), ("files", 7)] {
        attempt(&format!("lift the limit of {name}"), || {
            call(SETRLIMIT, [resource, unlimited.as_ptr() as usize])
        });
    }
    for (name, flags) in [("shared", SHARED), ("growing", GROWS_DOWN)] {
        attempt(&format!("take {name} memory, which no limit counts"), || {
            call(MMAP, [0, 4096, READ_WRITE, flags, NONE, 0])
        });
    }
    attempt("take memory that outlives the process", || call(SHMGET, [0, 4096, 0o1600]));
    attempt("take memory as a file", || call(MEMFD_CREATE, [c"x".as_ptr() as usize, 0]));
}

fn kernel() {
    /// Set in the number of a call of x32, the other way of x86-64 to call the kernel.
    const X32: c_long = 0x4000_0000;
    for (name, number, given) in [
        ("io_uring", 425, [1, 0, 0]),
        ("bpf", 321, [0, 0, 0]),
        ("userfaultfd", 323, [1, 0, 0]),
        ("perf_event_open", 298, [0, 0, 0]),
        ("unshare", 272, [0x1000_0000, 0, 0]),
        ("setns", 308, [0, 0, 0]),
        ("mount", 165, [0, 0, 0]),
        ("umount2", 166, [0, 0, 0]),
        ("open_tree", 428, [0, 0, 0]),
        ("fsopen", 430, [0, 0, 0]),
        ("pivot_root", 155, [0, 0, 0]),
        ("chroot", 161, [c"/".as_ptr() as usize, 0, 0]),
        ("keyctl", 250, [0, 0, 0]),
        ("add_key", 248, [0, 0, 0]),
        ("personality", 135, [0x0004_0000, 0, 0]),
        ("modify_ldt", 154, [0, 0, 0]),
        ("init_module", 175, [0, 0, 0]),
        ("kexec_load", 246, [0, 0, 0]),
        ("reboot", 169, [0, 0, 0]),
        ("swapoff", 168, [0, 0, 0]),
        ("acct", 163, [0, 0, 0]),
        ("settimeofday", 164, [0, 0, 0]),
        ("syslog", 103, [10, 0, 0]),
        ("setuid", 105, [12345, 0, 0]),
        ("capset", 126, [0, 0, 0]),
        ("type into the terminal", 16, [2, 0x5412, c"x".as_ptr() as usize]),
        ("a call that came later", 463, [0, 0, 0]),
        ("a socket by x32", X32 | 41, [1, 1, 0]),
        ("a program by x32", X32 | 520, [c"/bin/true".as_ptr() as usize, 0, 0]),
        ("trace by x32", X32 | 521, [16, server(), 0]),
    ] {
        attempt(name, || call(number, given));
    }
}
