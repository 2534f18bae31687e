//! What a child may open: the files that it is given to read, and devices. Landlock sees to it.
//!
//! Landlock looks at what is opened, not at descriptors that are open already, and not at names: that a
//! file exists, and how large it is, can still be seen.

use std::{
    env,
    io::{Error, Result},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};

/// What inference libraries need besides their own files.
const SYSTEM: [&str; 30] = [
    // Shared libraries, and the linker's index of them.
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/etc/ld.so.cache",
    // Languages and time zones: texts are normalised by them, and log lines have a time.
    "/usr/share/locale",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/locale.alias",
    "/etc/timezone",
    // This process: its threads, memory map and control group.
    "/proc/self",
    // The processor, the memory, and how they may be used.
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/version",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/vm/max_map_count",
    "/proc/sys/vm/mmap_min_addr",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
    "/sys/kernel/mm/hugepages",
    "/sys/fs/cgroup",
    // The void and randomness.
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];

/// What NVIDIA's driver and CUDA read besides.
const DRIVER: [&str; 11] = [
    "/proc/driver",
    "/proc/devices",
    "/proc/modules",
    "/sys/bus/pci",
    "/sys/class",
    "/sys/devices",
    "/sys/dev",
    "/sys/module",
    // Where CUDA's own libraries are put, by its packages and by container runtimes.
    "/usr/local/cuda",
    "/usr/local/nvidia",
    "/usr/share/nvidia",
];

/// What CUDA writes: it does not start where it cannot name the threads of this very process.
const NAMES_OF_THREADS: &str = "/proc/self/task";

/// Files and folders that inference libraries need besides their own: the dynamic linker's and the
/// system's libraries, locales, and what the kernel says of the machine and of the process itself.
pub fn system_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    // Where the operator says that libraries are. An empty entry would be the working folder.
    let searched = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    files.extend(env::split_paths(&searched).filter(|path| path.is_absolute()));
    // A panic's backtrace names functions by it.
    files.extend(env::current_exe().ok());
    files
}

/// Bounds what this process may open from now on. Gives what the kernel lacks for it, if anything.
pub fn restrict(read: &[PathBuf], devices: &[PathBuf]) -> Result<Option<String>> {
    /// All that this version of the library knows: what the kernel does not know is left out.
    const NEWEST: ABI = ABI::V10;
    // Executing is not among it; mapping a library's code is reading, for Landlock.
    let may_read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let may_use = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});
    let may_write = may_read | AccessFs::WriteFile;
    let with_devices = !devices.is_empty();
    let driver = DRIVER.iter().map(Path::new).filter(|_| with_devices);
    let names = Some(Path::new(NAMES_OF_THREADS)).filter(|_| with_devices);
    let used = devices.iter().map(PathBuf::as_path).chain([Path::new("/dev/null")]);
    let given = (read.iter().map(PathBuf::as_path).chain(driver).map(|path| (path, may_read)))
        .chain(names.map(|path| (path, may_write)))
        .chain(used.map(|path| (path, may_use)));
    let mut rules = Rules::default();
    for (path, access) in given {
        rules.add(path, access);
    }
    let restrict = || {
        // No connections and no signals to the outside, for what the list of system calls leaves.
        Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(rules.0.iter().map(Rule::beneath))?
            .restrict_self()
    };
    let status = restrict().map_err(Error::other)?;
    rules.keep();
    Ok(match status.ruleset {
        RulesetStatus::NotEnforced => Some(
            "Landlock (Linux 5.13 or newer, and switched on), without which a child can read what the \
             server can"
                .into(),
        ),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => None,
    })
}

/// A file or folder, and what is allowed there.
struct Rule {
    place: PathFd,
    access: BitFlags<AccessFs>,
}

impl Rule {
    fn beneath(&self) -> std::result::Result<PathBeneath<&PathFd>, landlock::RulesetError> {
        Ok(PathBeneath::new(&self.place, self.access))
    }
}

#[derive(Default)]
struct Rules(Vec<Rule>);

impl Rules {
    /// Adds a place, where it exists.
    fn add(&mut self, path: &Path, access: BitFlags<AccessFs>) {
        let Ok(place) = PathFd::new(path) else { return };
        let access = match path.is_dir() {
            true => access,
            false => access & !AccessFs::ReadDir,
        };
        self.0.push(Rule { place, access });
    }

    /// Keeps all places open for as long as the process lives: /proc forgets what nobody uses, and makes
    /// it anew when it is asked for again, as something that no rule speaks of.
    fn keep(self) {
        static KEPT: OnceLock<Vec<PathFd>> = OnceLock::new();
        KEPT.get_or_init(|| self.0.into_iter().map(|rule| rule.place).collect());
    }
}
