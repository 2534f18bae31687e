//! Which child serves which graphs, and what is watched over all children: how much memory they take, how
//! often they end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedSemaphorePermit, Semaphore};

use super::{
    link::{Gone, Link, NoLink, ended_it},
    message::{Begin, NativeStats},
};
use crate::{
    child::{Confinement, Ended, Launch, Nursery, confine, nursery::Killed},
    ledger::{Account, Ledger},
    machine,
    nn::{
        BackendChoice, Device, Gain, GraphOptions, LibraryError, LoadError, Options, Process,
        backend::onnxruntime::{Candidate, candidates},
    },
};

/// Models that have a child of their own, where that is asked for; those after them share one.
const MOST_OWN: usize = 32;
/// Graphs that stay alone, each in a child, because they ended the one that they were in.
const MOST_ALONE: usize = 16;
/// How often the memory of children that run something is looked at.
const WATCH: Duration = Duration::from_millis(100);

/// All children of a server that run graphs.
pub struct Homes {
    pub common: Arc<Common>,
    process: Process,
    shared: Arc<Home>,
    /// Of models by their names, and of devices.
    others: Mutex<BTreeMap<String, Arc<Home>>>,
}

/// What all homes have in common.
pub struct Common {
    pub nursery: Arc<Nursery>,
    program: PathBuf,
    candidates: Vec<Candidate>,
    backend: BackendChoice,
    threads: usize,
    /// Bytes of memory, of all children together.
    memory: u64,
    /// Children that are there now, or were just before.
    links: Mutex<Vec<Weak<Link>>>,
    /// A child has begun before.
    began: AtomicBool,
    /// What the kernel lacks was said.
    lacks_said: AtomicBool,
    /// Graphs that may be in a child of their own at the same time while it is found out which of them
    /// ended the child that they shared.
    alone: Arc<Semaphore>,
    /// Graphs that are alone now, that is, children besides those where graphs belong.
    alone_now: AtomicUsize,
    /// By cause.
    deaths: Mutex<BTreeMap<&'static str, u64>>,
    restarts: AtomicU64,
    pub reruns: AtomicU64,
    /// What regions and copies are charged to.
    pub ledger: Arc<Ledger>,
    /// Told when a graph begins to refuse calls.
    pub refusing: Option<Arc<Notify>>,
}

/// A child for one graph, away from where it belongs.
pub struct Alone {
    pub home: Arc<Home>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.home.common.alone_now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place for graphs: a child, which is started when it is needed.
pub struct Home {
    common: Arc<Common>,
    /// What it is called in the log.
    name: String,
    device: Option<Device>,
    /// Its graphs were loaded elsewhere before.
    is_second: bool,
    /// What it may read besides libraries.
    read: Mutex<BTreeSet<PathBuf>>,
    /// The child, with what it may read.
    current: AsyncMutex<Current>,
}

#[derive(Default)]
struct Current {
    link: Weak<Link>,
    reads: BTreeSet<PathBuf>,
    /// There was one before.
    started: bool,
}

impl Homes {
    /// Fails where the operator names a library that is none.
    pub fn new(options: &Options, nursery: Arc<Nursery>) -> Result<Self, LibraryError> {
        let candidates = match options.backend {
            BackendChoice::Tract => Vec::new(),
            _ => candidates(options.onnxruntime.as_deref())?,
        };
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let common = Arc::new(Common {
            nursery,
            program: options.program.clone().unwrap_or_else(|| "/proc/self/exe".into()),
            candidates,
            backend: options.backend,
            threads: options.threads(),
            memory: options.native_memory.unwrap_or_else(machine::native_memory),
            links: Mutex::default(),
            began: AtomicBool::new(false),
            lacks_said: AtomicBool::new(false),
            alone: Arc::new(Semaphore::new(cores.max(4))),
            alone_now: AtomicUsize::new(0),
            deaths: Mutex::default(),
            restarts: AtomicU64::new(0),
            reruns: AtomicU64::new(0),
            ledger: options.ledger.clone(),
            refusing: options.refusing.clone(),
        });
        let watched = Arc::downgrade(&common);
        common.nursery.spawn(watch(watched));
        let shared = Arc::new(Home::new(&common, "native code".into(), None));
        shared.may_read(options.graphs.iter().flat_map(|graph| places_of(graph)));
        Ok(Self { common, process: options.process, shared, others: Mutex::default() })
    }

    /// Starts the child that most graphs share, to see whether the libraries are there.
    pub async fn try_libraries(&self) -> Result<Arc<Link>, LibraryError> {
        match self.shared.link().await {
            Ok(link) => Ok(link),
            Err(NoLink::Library(error)) => Err(error),
            Err(NoLink::Start(reason)) => Err(LibraryError(reason)),
        }
    }

    /// Where a graph lives that needs to read these [places](places_of). Its name is that of its model, and
    /// its own behind a slash.
    pub fn home(&self, name: &str, reads: &BTreeSet<PathBuf>, options: &GraphOptions) -> Arc<Home> {
        let model = name.split('/').next().unwrap_or(name);
        let process = options.process.unwrap_or(self.process);
        let home = match options.device {
            Device::Cpu if process == Process::Own => {
                self.other(model, format!("native code of {model}"), None)
            }
            Device::Cpu => self.shared.clone(),
            // A device is one place: a library's memory and contexts there are for all.
            device @ (Device::Cuda(index) | Device::TensorRt(index)) => {
                self.other(&format!(" {index}"), format!("native code on {device}"), Some(device))
            }
        };
        home.may_read(reads.iter().cloned());
        home
    }

    fn other(&self, key: &str, name: String, device: Option<Device>) -> Arc<Home> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(home) = others.get(key) {
            return home.clone();
        }
        if others.len() >= MOST_OWN && device.is_none() {
            return self.shared.clone();
        }
        let home = Arc::new(Home::new(&self.common, name, device));
        others.insert(key.to_owned(), home.clone());
        home
    }

    pub fn stats(&self) -> NativeStats {
        self.common.stats()
    }
}

/// What a process reads to load a graph: the folder that it lies in, and its files where they are links to
/// elsewhere. Not the folders there. It reads the file, so not on the thread of children.
pub fn places_of(path: &Path) -> BTreeSet<PathBuf> {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    let mut files = vec![path.to_owned()];
    files.extend(crate::nn::files::external(path).unwrap_or_default());
    let real = files.iter().filter_map(|file| file.canonicalize().ok());
    let inside = |file: &PathBuf| folder.as_ref().is_some_and(|folder| file.starts_with(folder));
    let elsewhere: Vec<PathBuf> = real.filter(|file| !inside(file)).collect();
    folder.into_iter().chain(elsewhere).collect()
}

impl Home {
    fn new(common: &Arc<Common>, name: String, device: Option<Device>) -> Self {
        let (read, current) = (Mutex::default(), AsyncMutex::default());
        Self { common: common.clone(), name, device, is_second: false, read, current }
    }

    /// A place for one graph alone.
    pub fn alone(&self, graph: &str, reads: &BTreeSet<PathBuf>) -> Arc<Alone> {
        let name = format!("native code of {graph}, alone");
        let mut home = Self::new(&self.common, name, self.device);
        home.is_second = true;
        home.may_read(reads.iter().cloned());
        self.common.alone_now.fetch_add(1, Ordering::Relaxed);
        Arc::new(Alone { home: Arc::new(home) })
    }

    fn may_read(&self, folders: impl IntoIterator<Item = PathBuf>) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).extend(folders);
    }

    /// The child that serves here, started where there is none.
    pub async fn link(&self) -> Result<Arc<Link>, NoLink> {
        let mut current = self.current.lock().await;
        let wanted = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fits = |link: &Arc<Link>| !link.child().has_ended() && wanted.is_subset(&current.reads);
        if let Some(link) = current.link.upgrade().filter(fits) {
            return Ok(link);
        }
        let again = current.started || self.is_second;
        let link = Arc::new(self.common.start(&self.name, self.device, &wanted, again).await?);
        if current.started {
            self.common.restarts.fetch_add(1, Ordering::Relaxed);
        }
        *current = Current { link: Arc::downgrade(&link), reads: wanted, started: true };
        Ok(link)
    }

    /// Measures what batches would gain a graph.
    pub async fn measure(
        &self,
        path: PathBuf,
        options: &GraphOptions,
        rows: usize,
    ) -> Result<Result<Vec<Gain>, String>, LoadError> {
        let link = self.link().await.map_err(LoadError::from)?;
        self.common.remember(&link);
        match link.measure(path, options, rows).await {
            Ok(measured) => measured,
            Err(Gone) => Err(ended_it(link.child().ended().await)),
        }
    }
}

impl Common {
    async fn start(
        &self,
        name: &str,
        device: Option<Device>,
        read: &BTreeSet<PathBuf>,
        again: bool,
    ) -> Result<Link, NoLink> {
        // What a graph is warned of is said once, and where the library is.
        let log = match (self.began.swap(true, Ordering::Relaxed), again) {
            (false, _) => "info,ort=warn",
            (true, false) => "warn",
            (true, true) => "error,onnxruntime=warn",
        };
        let mut readable: Vec<PathBuf> = confine::system_files();
        readable.extend(self.candidates.iter().flat_map(Candidate::files));
        if device.is_some() {
            // The provider's own libraries: where they are, the driver's packages decide.
            let paths = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
            readable.extend(std::env::split_paths(&paths));
        }
        readable.extend(read.iter().cloned());
        let begin = Begin {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            confinement: Confinement {
                parent: std::process::id(),
                // A device's memory is mapped into the process, too.
                memory: device.is_none().then_some(self.memory),
                cpu_seconds: None,
                read: readable,
                devices: device.map(devices).unwrap_or_default(),
            },
            candidates: self.candidates.clone(),
            backend: self.backend,
            threads: self.threads,
            log: log.to_owned(),
        };
        let launch = Launch { program: &self.program, work: "native", name };
        let link = Link::start(&self.nursery, launch, &begin, &self.ledger).await?;
        if !link.lacks.is_empty() && !self.lacks_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "native code is not confined as it could be: this kernel lacks {}",
                link.lacks.join(", ")
            );
        }
        tracing::debug!(pid = link.child().pid(), "a process for {name}");
        Ok(link)
    }

    /// Remembers a child, to watch it.
    pub fn remember(&self, link: &Arc<Link>) {
        let mut links = self.links();
        links.retain(|known| known.strong_count() > 0);
        let link = Arc::downgrade(link);
        if !links.iter().any(|known| known.ptr_eq(&link)) {
            links.push(link);
        }
    }

    /// Waits until a graph may have a child of its own, to find out whether it ends it.
    pub async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.alone.clone().acquire_owned().await.ok()
    }

    /// Whether no more graphs can stay alone: each is a process.
    pub fn is_full(&self) -> bool {
        self.alone_now.load(Ordering::Relaxed) > MOST_ALONE
    }

    /// A child that was needed has ended.
    pub fn died(&self, ended: &Ended) {
        let mut deaths = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        *deaths.entry(ended.cause()).or_default() += 1;
    }

    fn links(&self) -> MutexGuard<'_, Vec<Weak<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Vec<Arc<Link>> {
        let mut live: Vec<_> = self.links().iter().filter_map(Weak::upgrade).collect();
        live.retain(|link| !link.child().has_ended());
        live
    }

    fn stats(&self) -> NativeStats {
        let live = self.live();
        let deaths = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        NativeStats {
            children: live.len(),
            memory: live.iter().filter_map(|link| link.child().memory()).sum(),
            deaths: deaths.iter().map(|(cause, count)| (*cause, *count)).collect(),
            restarts: self.restarts.load(Ordering::Relaxed),
            reruns: self.reruns.load(Ordering::Relaxed),
            regions: self.ledger.used_for(Account::Regions) as u64,
            kept: live.iter().map(|link| link.kept()).sum(),
        }
    }
}

/// Ends the child that takes most where all together take more than they may: the kernel, which would
/// do so next, might choose the server.
async fn watch(common: Weak<Common>) {
    loop {
        tokio::time::sleep(WATCH).await;
        let Some(common) = common.upgrade() else { return };
        let live = common.live();
        if !live.iter().any(|link| link.is_running()) {
            continue;
        }
        let taken = live.iter().filter_map(|link| Some((link.child().memory()?, link)));
        let taken: Vec<_> = taken.collect();
        let sum: u64 = taken.iter().map(|(bytes, _)| bytes).sum();
        let most =
            taken.iter().filter(|(_, link)| link.is_running()).max_by_key(|(bytes, _)| bytes);
        if let (true, Some((bytes, link))) = (sum > common.memory, most) {
            let (limit, pid) = (common.memory, link.child().pid());
            tracing::error!(
                "native code takes {sum} bytes of memory, its limit is {limit} (native_memory): \
                 process {pid} is ended, which takes {bytes}"
            );
            link.child().kill(Killed::Memory);
        }
    }
}

/// The files of a device. Which there are, depends on the driver.
fn devices(_: Device) -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let of_nvidia = |name: &str| name.starts_with("nvidia");
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(of_nvidia))
        .map(|entry| entry.path())
        .collect()
}
