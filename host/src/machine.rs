//! How much memory there is for the server and its children, and how it is divided: below the limit of the
//! machine and of the server's own group of processes, because systems end a whole group that goes over its
//! limit (Kubernetes does).

use std::{fs, time::Duration};

/// Of what there is, for native code: all but a quarter.
const NOT_NATIVE: u64 = 4;
/// What the server has in any case, of what there is: an eighth.
const LEAST: u64 = 8;
/// The server's own, which is in no account: its code, its threads' stacks, models' compiled code, and what
/// its allocator keeps; and a part of the whole.
const UNACCOUNTED: u64 = 64 << 20;
const UNACCOUNTED_PART: u64 = 8;

/// Bytes for native code, all its processes together, where nobody says how many.
pub fn native_memory() -> u64 {
    let all = all();
    all - all / NOT_NATIVE
}

/// Bytes for the server itself, where nobody says how many: what native code leaves.
pub fn server_memory(native: u64) -> u64 {
    let all = all();
    all.saturating_sub(native).max(all / LEAST)
}

/// Of the server's memory, what can be accounted for.
pub fn accounted(memory: u64) -> u64 {
    memory - (UNACCOUNTED + memory / UNACCOUNTED_PART).min(memory / 2)
}

/// The server's memory of which `accounted` bytes can be accounted for.
pub fn memory_for(accounted: u64) -> u64 {
    let part = accounted.saturating_add(UNACCOUNTED) / (UNACCOUNTED_PART - 1);
    let memory = part.saturating_mul(UNACCOUNTED_PART).saturating_add(UNACCOUNTED_PART);
    memory.max(accounted.saturating_mul(2).min(4 * UNACCOUNTED))
}

/// Bytes of memory that are a process's own, by its number or `self`: neither in files nor shared, in RAM
/// and swapped out.
pub fn own_memory(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let kilobytes = field("RssAnon:")?.saturating_add(field("VmSwap:").unwrap_or(0));
    Some(kilobytes.saturating_mul(1024))
}

/// CPU time of this process, and of those of its children that have ended and were waited for.
pub fn cpu_time() -> Option<Duration> {
    let times = times("self")?;
    Some(times.iter().sum())
}

/// CPU time of another process, by its number.
pub fn cpu_time_of(process: u32) -> Option<Duration> {
    let [user, system, ..] = times(&process.to_string())?;
    Some(user + system)
}

/// A process's time as a user's and in the system, and the same of those that it has waited for.
fn times(process: &str) -> Option<[Duration; 4]> {
    /// In which the kernel counts for programs, a second (USER_HZ): the same wherever this server runs.
    const TICKS: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name, which may be anything, is in brackets.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || {
        let ticks: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_millis(ticks.saturating_mul(1000 / TICKS)))
    };
    Some([next()?, next()?, next()?, next()?])
}

/// What there is for the server and its children together.
fn all() -> u64 {
    let limits = [machine(), group_v2(), group_v1()];
    limits.into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// All memory of the machine, in bytes.
fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The limit of this process's group, in the second version of control groups: the lowest on the way
/// from the group to the root.
fn group_v2() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    lowest("/sys/fs/cgroup", &path, "memory.max")
}

/// The same in the first version.
fn group_v1() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers.split(',').any(|name| name == "memory").then(|| parts.next())?
    })?;
    lowest("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
}

/// The lowest number in the files of this name, in a folder and those above it.
fn lowest(root: &str, path: &str, file: &str) -> Option<u64> {
    let mut path = path;
    let mut found: Option<u64> = None;
    loop {
        // In a container the group's own folder is mounted as the root.
        let here = format!("{root}{}/{file}", path.trim_end_matches('/'));
        let limit = fs::read_to_string(here).ok().and_then(|text| text.trim().parse().ok());
        found = [found, limit].into_iter().flatten().min();
        match path.rfind('/') {
            Some(at) if !path.is_empty() => path = &path[..at],
            _ => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_on_the_way_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let inner = folder.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(lowest(root, "/a/b", "memory.max"), None);
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(folder.path().join("a/memory.max"), "1000\n").unwrap();
        fs::write(folder.path().join("memory.max"), "2000\n").unwrap();
        assert_eq!(lowest(root, "/a/b", "memory.max"), Some(1000));
        assert_eq!(lowest(root, "/elsewhere", "memory.max"), Some(2000));
        assert_eq!(lowest(root, "/", "memory.max"), Some(2000));
        fs::write(inner.join("memory.max"), "500\n").unwrap();
        assert_eq!(lowest(root, "/a/b/", "memory.max"), Some(500));
    }

    #[test]
    fn cpu_time_is_counted() {
        let began = std::time::Instant::now();
        let before = cpu_time().unwrap();
        let mut busy = 0u64;
        // The time of this thread is at most that of the process.
        while cpu_time().unwrap() < before + Duration::from_millis(50) {
            busy = std::hint::black_box(busy + 1);
            assert!(began.elapsed() < Duration::from_secs(60), "nothing is counted");
        }
        assert!(cpu_time_of(std::process::id()).unwrap() >= Duration::from_millis(50));
        assert_eq!(cpu_time_of(u32::MAX), None);
    }

    #[test]
    fn what_there_is_is_divided() {
        let (all, native) = (all(), native_memory());
        assert!((1 << 20..u64::MAX / 2).contains(&native));
        assert_eq!(native + server_memory(native), all);
        assert_eq!(server_memory(2 * all), all / 8);
        assert_eq!(accounted(128 << 20), 64 << 20);
        for wanted in [50 << 20, 100 << 20, 1 << 30, 100 << 30] {
            let (memory, slack) = (memory_for(wanted), 200 << 20);
            assert!((wanted..wanted + slack).contains(&accounted(memory)), "{wanted}: {memory}");
        }
        assert_eq!(accounted(1 << 30), (1 << 30) - (192 << 20));
    }
}
