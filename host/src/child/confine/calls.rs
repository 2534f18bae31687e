//! Which system calls a child may make: all but those that reach beyond it. seccomp sees to it.
//!
//! This is a list of what is refused and not of what is allowed: the C library, inference libraries and
//! drivers change, and a list of allowed calls would one day end a server that worked yesterday. Calls that
//! are newer than the list answer as on a kernel that does not have them.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    env::consts::ARCH,
    io::{Error, Result},
};

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen,
    SeccompCmpOp::{self, Eq, MaskedEq, Ne},
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

/// Refused, whatever the arguments.
const REFUSED: &[c_long] = &[
    // The network. What is connected already stays so: the child's channel to the server. (`socket` is below.)
    libc::SYS_connect,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Other programs. (Threads are `clone`, below.)
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes. (`kill` and its kin are below.)
    libc::SYS_tkill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    // What does other calls' work out of this filter's sight.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    // Kernel interfaces that programs which compute do not need, and that had holes.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    libc::SYS_syslog,
    libc::SYS_remap_file_pages,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    // Files by number, past Landlock.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Changing files and folders. Landlock sees to most of it, older ones not to all: none of them looks at
    // modes, owners, times and attributes. (`open` is below.)
    libc::SYS_truncate,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_sync,
    libc::SYS_syncfs,
    // Watching what others do with files, which Landlock allows.
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    // Memory and queues that outlive the process, or that its limit does not count.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_memfd_secret,
    // Other users.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// The same, for calls that x86-64 has kept from its first years.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_creat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_inotify_init,
    libc::SYS_modify_ldt,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_uselib,
    libc::SYS__sysctl,
];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[c_long] = &[RENAMEAT_OF_AARCH64];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const REFUSED_HERE: &[c_long] = &[];

/// Refused where there are no devices. CUDA's libraries may share memory between their parts, and pin their
/// threads: neither reaches beyond the process and the devices that it is given. CUDA does not start without
/// a socket that it binds and listens on, where other processes could ask for memory of the device: nobody
/// is ever let in, as `accept` is refused.
const REFUSED_WITHOUT_DEVICES: &[c_long] = &[
    libc::SYS_memfd_create,
    libc::SYS_socketpair,
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_listen,
];

/// Numbers that the libc crate does not have for every processor.
const FCHMODAT2: c_long = 452;
#[cfg(target_arch = "aarch64")]
const RENAMEAT_OF_AARCH64: c_long = 38;
/// The newest call that was known when this list was written: `mseal`, of Linux 6.10. Numbers are the same
/// on all processors since Linux 5.1.
const NEWEST: c_long = 462;

/// Bounds what calls this thread, and all that it starts, can make from now on. Gives what the kernel lacks
/// for it, if anything.
pub fn restrict(devices: bool) -> Result<Option<String>> {
    let arch = match TargetArch::try_from(ARCH) {
        Ok(arch) if !REFUSED_HERE.is_empty() => arch,
        _ => return Ok(Some(format!("filters of system calls for {ARCH}, {OPEN}"))),
    };
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    // Calls of another kind of processor (32-bit ones, on x86-64) end the process.
    let filter = SeccompFilter::new(rules(devices)?, SeccompAction::Allow, refuse, arch);
    let filter = filter.map_err(Error::other)?;
    let refused = BpfProgram::try_from(filter).map_err(Error::other)?;
    // Where several filters speak, the stricter one is heard.
    for program in [unknown(), refused] {
        match apply_filter(&program) {
            Ok(()) => {}
            Err(seccompiler::Error::Seccomp(e))
                if [libc::ENOSYS, libc::EINVAL].map(Some).contains(&e.raw_os_error()) =>
            {
                return Ok(Some(format!("filters of system calls (seccomp), {OPEN}")));
            }
            Err(e) => return Err(Error::other(e)),
        }
    }
    Ok(None)
}

/// What a child can do where no calls are refused.
const OPEN: &str = "without which a child can use the network, start processes like itself and disturb those \
                    of its user";

/// Answers that there is no such call (ENOSYS), where a refusal would not do. Library users cannot write
/// "larger than" for the call's number itself, so this one is written by hand.
fn unknown() -> BpfProgram {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const IF_ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const MISSING: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        // The number, which is the first field of what a filter sees.
        step(LOAD, 0, 0, 0),
        // Their arguments lie in memory, where a filter cannot look: the C library goes on to use `clone`
        // and `openat`.
        step(IF_EQUAL, 3, 0, libc::SYS_clone3 as u32),
        step(IF_EQUAL, 2, 0, libc::SYS_openat2 as u32),
        // What this list does not know yet; and x32's numbers, which are those of x86-64 with bit 30 set and
        // would pass by a list of x86-64's.
        step(IF_ABOVE, 1, 0, NEWEST as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(RETURN, 0, 0, MISSING),
    ]
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// What is refused: always (no rules), or where one of the rules holds.
fn rules(devices: bool) -> Result<Rules> {
    let refused = REFUSED.iter().chain(REFUSED_HERE);
    let without = REFUSED_WITHOUT_DEVICES.iter().filter(|_| !devices);
    let mut rules: Rules = refused.chain(without).map(|call| (*call, Vec::new())).collect();
    let mut refuse = |call, conditions: &[Condition]| {
        let conditions: std::result::Result<Vec<_>, _> =
            conditions.iter().map(Condition::compiled).collect();
        let rule = conditions.and_then(SeccompRule::new).map_err(Error::other)?;
        match rules.entry(call) {
            Entry::Vacant(entry) => drop(entry.insert(vec![rule])),
            // No rules mean that it is refused always.
            Entry::Occupied(mut entry) if !entry.get().is_empty() => entry.get_mut().push(rule),
            Entry::Occupied(_) => {}
        }
        Result::Ok(())
    };
    let own = u64::from(std::process::id());

    if devices {
        // Sockets of this machine, of the one type that CUDA has: without `connect` they reach nobody.
        refuse(libc::SYS_socket, &[argument(0, Ne, bits(libc::AF_UNIX))])?;
        // Each bit of the type, as only parts that are equal can be asked for.
        for bit in [1, 2, 4, 8] {
            let other = !libc::SOCK_SEQPACKET & bit;
            refuse(libc::SYS_socket, &[argument(1, masked(bit), bits(other))])?;
        }
    }
    // Processes: threads may be started, in no other namespace.
    refuse(libc::SYS_clone, &[argument(0, masked(libc::CLONE_THREAD), 0)])?;
    for namespace in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWCGROUP,
    ] {
        refuse(libc::SYS_clone, &[argument(0, masked(namespace), bits(namespace))])?;
    }
    // Signals: to itself, which is how `abort` ends a process.
    for call in
        [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo]
    {
        refuse(call, &[argument(0, Ne, own)])?;
    }
    // Limits, priorities and places of other processes' threads. 0 is the caller.
    let mut others = vec![
        libc::SYS_prlimit64,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setattr,
        libc::SYS_migrate_pages,
        libc::SYS_move_pages,
    ];
    if !devices {
        // A thread's number may be one of the server's, which a filter cannot tell. The inference libraries
        // pin threads only where they are told to.
        others.push(libc::SYS_sched_setaffinity);
    }
    for call in others {
        refuse(call, &[argument(0, Ne, 0), argument(0, Ne, own)])?;
    }
    // Of these the first argument says whose number the second is.
    for (call, one_thread) in
        [(libc::SYS_setpriority, libc::PRIO_PROCESS as u64), (libc::SYS_ioprio_set, 1)]
    {
        refuse(call, &[argument(0, Ne, one_thread)])?;
        refuse(call, &[argument(1, Ne, 0)])?;
    }
    // It is to end with the server.
    refuse(libc::SYS_prctl, &[argument(0, Eq, bits(libc::PR_SET_PDEATHSIG))])?;

    // Descriptors: signals to others when something happens on one, and leases that hold up whoever opens
    // the file next.
    const F_SETSIG: u64 = 10;
    const F_SETOWN_EX: u64 = 15;
    for command in
        [bits(libc::F_SETOWN), F_SETOWN_EX, F_SETSIG, bits(libc::F_SETLEASE), bits(libc::F_NOTIFY)]
    {
        refuse(libc::SYS_fcntl, &[argument(1, Eq, command)])?;
    }
    const FIOSETOWN: u64 = 0x8901;
    const SIOCSPGRP: u64 = 0x8902;
    const TIOCLINUX: u64 = 0x541c;
    if devices {
        // Devices are used by `ioctl`, with numbers of their own: all but those that type into a terminal
        // and those that have signals sent.
        for command in [libc::TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP] {
            refuse(libc::SYS_ioctl, &[argument(1, Eq, command)])?;
        }
    } else {
        let allowed = [
            libc::TCGETS,
            libc::TIOCGWINSZ,
            libc::FIONREAD,
            libc::FIONBIO,
            libc::FIOCLEX,
            libc::FIONCLEX,
        ];
        let none_of: Vec<_> = allowed.iter().map(|command| argument(1, Ne, *command)).collect();
        refuse(libc::SYS_ioctl, &none_of)?;
    }

    // Files: none is opened for writing, also where Landlock is missing; devices are. The first versions of
    // Landlock let a file be emptied that may be read.
    let mut writing = vec![libc::O_CREAT, libc::O_TRUNC];
    if !devices {
        // The bits of reading and writing; together they are a third way to write.
        writing.extend([libc::O_WRONLY, libc::O_RDWR]);
    }
    for flag in writing {
        refuse(libc::SYS_openat, &[argument(2, masked(flag), bits(flag))])?;
        #[cfg(target_arch = "x86_64")]
        refuse(libc::SYS_open, &[argument(1, masked(flag), bits(flag))])?;
    }
    // Memory that the limit of private memory does not count. Drivers may need it, and have no such limit.
    if !devices {
        for flags in [libc::MAP_SHARED | libc::MAP_ANONYMOUS, libc::MAP_GROWSDOWN] {
            refuse(libc::SYS_mmap, &[argument(3, masked(flags), bits(flags))])?;
        }
    }
    Ok(rules)
}

/// A comparison with an argument of a call. All arguments that are compared are numbers of 32 bits, and the
/// kernel ignores the other half of the register, as is done here.
struct Condition {
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
}

fn argument(argument: u8, operator: SeccompCmpOp, value: u64) -> Condition {
    Condition { argument, operator, value }
}

fn bits(flags: i32) -> u64 {
    u64::from(flags as u32)
}

fn masked(flags: i32) -> SeccompCmpOp {
    MaskedEq(bits(flags))
}

impl Condition {
    fn compiled(&self) -> std::result::Result<SeccompCondition, seccompiler::BackendError> {
        let operator = self.operator.clone();
        SeccompCondition::new(self.argument, SeccompCmpArgLen::Dword, operator, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    const OWN_ARCH: u32 = match cfg!(target_arch = "x86_64") {
        true => 0xc000_003e,
        false => 0xc000_00b7,
    };

    /// What a call looks like to a filter.
    struct Call {
        number: c_long,
        arch: u32,
        arguments: Vec<u64>,
    }

    fn call(number: c_long, arguments: &[u64]) -> Call {
        Call { number, arch: OWN_ARCH, arguments: arguments.to_vec() }
    }

    /// What the kernel makes of a call: as it runs a filter, for the few steps that ours have.
    fn answer(program: &[sock_filter], call: &Call) -> u32 {
        let mut seen = Vec::new();
        seen.extend((call.number as u32).to_le_bytes());
        seen.extend(call.arch.to_le_bytes());
        seen.extend([0; 8]);
        for place in 0..6 {
            seen.extend(call.arguments.get(place).copied().unwrap_or(0).to_le_bytes());
        }
        let (mut at, mut value) = (0, 0u32);
        loop {
            let step = &program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match step.code {
                0x20 => {
                    let (word, _) = seen[step.k as usize..].split_first_chunk().unwrap();
                    value = u32::from_le_bytes(*word);
                }
                0x54 => value &= step.k,
                0x05 => at += step.k as usize,
                0x15 => at += jump(value == step.k),
                0x25 => at += jump(value > step.k),
                0x35 => at += jump(value >= step.k),
                0x06 => return step.k,
                code => panic!("step {code:#x}"),
            }
        }
    }

    /// What both filters together answer.
    fn decided(devices: bool, call: &Call) -> u32 {
        let filter = SeccompFilter::new(
            rules(devices).unwrap(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EPERM as u32),
            ARCH.try_into().unwrap(),
        );
        let refused = BpfProgram::try_from(filter.unwrap()).unwrap();
        match [answer(&unknown(), call), answer(&refused, call)] {
            [ALLOWED, second] => second,
            [first, ALLOWED] => first,
            [first, second] => panic!("both refuse {}: {first:#x}, {second:#x}", call.number),
        }
    }

    #[test]
    fn calls_that_reach_out_are_refused() {
        let own = u64::from(std::process::id());
        let thread = (libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD) as u64;
        let namespace = thread | libc::CLONE_NEWNET as u64;
        for (number, arguments, expected) in [
            (libc::SYS_socket, vec![libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0], EPERM),
            (libc::SYS_socket, vec![libc::AF_UNIX as u64, libc::SOCK_DGRAM as u64, 0], EPERM),
            (libc::SYS_socket, vec![libc::AF_INET as u64, libc::SOCK_STREAM as u64, 0], EPERM),
            (libc::SYS_socket, vec![libc::AF_INET as u64, libc::SOCK_SEQPACKET as u64, 0], EPERM),
            (libc::SYS_socket, vec![libc::AF_NETLINK as u64, libc::SOCK_RAW as u64, 0], EPERM),
            (libc::SYS_connect, vec![], EPERM),
            (libc::SYS_accept, vec![], EPERM),
            (libc::SYS_accept4, vec![], EPERM),
            (libc::SYS_execve, vec![], EPERM),
            (libc::SYS_io_uring_setup, vec![], EPERM),
            (libc::SYS_clone3, vec![], ENOSYS),
            (libc::SYS_openat2, vec![], ENOSYS),
            (NEWEST, vec![], ALLOWED),
            (NEWEST + 1, vec![], ENOSYS),
            // x32.
            (0x4000_0000 | libc::SYS_getpid, vec![], ENOSYS),
            (0x4000_0000 | 520, vec![], ENOSYS),
            (libc::SYS_clone, vec![thread], ALLOWED),
            (libc::SYS_clone, vec![libc::SIGCHLD as u64], EPERM),
            (libc::SYS_clone, vec![namespace], EPERM),
            (libc::SYS_kill, vec![own, 6], ALLOWED),
            (libc::SYS_kill, vec![1, 6], EPERM),
            (libc::SYS_kill, vec![0, 6], EPERM),
            // The kernel looks at 32 bits of it.
            (libc::SYS_kill, vec![1 << 32 | 1, 6], EPERM),
            (libc::SYS_kill, vec![u64::MAX, 6], EPERM),
            (libc::SYS_tgkill, vec![own, own, 6], ALLOWED),
            (libc::SYS_tgkill, vec![1, 1, 6], EPERM),
            (libc::SYS_prlimit64, vec![0, 7], ALLOWED),
            (libc::SYS_prlimit64, vec![own, 7], ALLOWED),
            (libc::SYS_prlimit64, vec![1, 7], EPERM),
            (libc::SYS_sched_setattr, vec![0], ALLOWED),
            (libc::SYS_sched_setattr, vec![1], EPERM),
            (libc::SYS_setpriority, vec![0, 0, 5], ALLOWED),
            (libc::SYS_setpriority, vec![0, 1, 5], EPERM),
            (libc::SYS_setpriority, vec![2, 0, 5], EPERM),
            (libc::SYS_prctl, vec![libc::PR_SET_NAME as u64], ALLOWED),
            (libc::SYS_prctl, vec![libc::PR_SET_PDEATHSIG as u64], EPERM),
            (libc::SYS_fcntl, vec![0, libc::F_SETFL as u64], ALLOWED),
            (libc::SYS_fcntl, vec![0, libc::F_SETOWN as u64, 1], EPERM),
            // What goes on after a socket was made.
            (libc::SYS_sendmsg, vec![], ALLOWED),
            (libc::SYS_recvmsg, vec![], ALLOWED),
            (libc::SYS_futex, vec![], ALLOWED),
            (libc::SYS_madvise, vec![], ALLOWED),
        ] {
            for devices in [false, true] {
                let answer = decided(devices, &call(number, &arguments));
                assert_eq!(answer, expected, "{number} {arguments:?}, devices: {devices}");
            }
        }
    }

    #[test]
    fn devices_are_used_by_more_calls() {
        let open = |flags: i32| (libc::SYS_openat, vec![u64::MAX, 0, flags as u64]);
        let map = |flags: i32| (libc::SYS_mmap, vec![0, 1, 3, flags as u64]);
        let control = |command: u64| (libc::SYS_ioctl, vec![3, command]);
        let socket = |kind: i32| (libc::SYS_socket, vec![libc::AF_UNIX as u64, kind as u64, 0]);
        for ((number, arguments), without, with) in [
            (open(libc::O_RDONLY | libc::O_CLOEXEC), ALLOWED, ALLOWED),
            (open(libc::O_RDWR), EPERM, ALLOWED),
            (open(libc::O_WRONLY), EPERM, ALLOWED),
            (open(libc::O_ACCMODE), EPERM, ALLOWED),
            (open(libc::O_RDONLY | libc::O_TRUNC), EPERM, EPERM),
            (open(libc::O_RDWR | libc::O_CREAT), EPERM, EPERM),
            (map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS), ALLOWED, ALLOWED),
            (map(libc::MAP_SHARED), ALLOWED, ALLOWED),
            (map(libc::MAP_SHARED | libc::MAP_ANONYMOUS), EPERM, ALLOWED),
            (map(libc::MAP_SHARED_VALIDATE | libc::MAP_ANONYMOUS), EPERM, ALLOWED),
            (map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_GROWSDOWN), EPERM, ALLOWED),
            (control(libc::FIONBIO), ALLOWED, ALLOWED),
            // One of NVIDIA's.
            (control(0xc0d0_46d6), EPERM, ALLOWED),
            (control(libc::TIOCSTI), EPERM, EPERM),
            ((libc::SYS_memfd_create, vec![]), EPERM, ALLOWED),
            ((libc::SYS_sched_setaffinity, vec![12345]), EPERM, ALLOWED),
            (socket(libc::SOCK_SEQPACKET), EPERM, ALLOWED),
            (
                socket(libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK),
                EPERM,
                ALLOWED,
            ),
            (socket(libc::SOCK_STREAM | libc::SOCK_CLOEXEC), EPERM, EPERM),
            (socket(libc::SOCK_RAW), EPERM, EPERM),
            ((libc::SYS_bind, vec![]), EPERM, ALLOWED),
            ((libc::SYS_listen, vec![]), EPERM, ALLOWED),
        ] {
            for (devices, expected) in [(false, without), (true, with)] {
                let answer = decided(devices, &call(number, &arguments));
                assert_eq!(answer, expected, "{number} {arguments:x?}, devices: {devices}");
            }
        }
    }

    #[test]
    fn calls_of_another_processor_end_the_process() {
        /// 32-bit x86, whose numbers mean other calls.
        const I386: u32 = 0x4000_0003;
        let call = Call { arch: I386, ..call(libc::SYS_getpid, &[]) };
        assert_eq!(decided(false, &call), libc::SECCOMP_RET_KILL_PROCESS);
    }
}
