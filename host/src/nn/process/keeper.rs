//! Sees to one graph whose sessions are in a child: it is loaded there, loaded again where the child ends,
//! and what ran at that moment is run again. A run is a pure function of inputs that the server still
//! has, so a second time does no harm; and as each graph is then alone, and has one run at a time, what
//! ends that process too is known.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    home::{Alone, Common, Home},
    link::{Gone, Link, ended_it},
    session::{ChildSession, SessionOptions},
};
use crate::{
    breaker::Breaker,
    child::{
        Ended,
        nursery::{Killed, how},
    },
    nn::{
        DType, Device, GraphOptions, LoadError, NnError,
        dispatch::{Dispatch, RunAlone, reply},
        job::Job,
        library::About,
        runner::{Going, Runner, RunnerSource},
    },
};

/// What a run may take beyond its model's limit of time: it is asked to stop then, and may need a moment.
const GRACE: Duration = Duration::from_secs(1);
/// How long a graph whose run ended its process stays alone.
const QUIET: Duration = Duration::from_secs(60);
/// How often idle sessions are asked to give back what they keep, and after which time.
const TIDY: Duration = Duration::from_secs(2);
/// How often a graph is loaded again at once, where its process ends meanwhile: it may be somebody else who
/// ends processes.
const TRIES: usize = 4;
/// The first pause after that; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long reading a graph may take. (What a device's library prepares takes minutes; no limit there.)
const LOADING: Duration = Duration::from_secs(300);

/// A graph in a child, for as long as it is used.
pub struct GraphKeeper {
    name: String,
    path: PathBuf,
    /// What its child reads to load it.
    reads: BTreeSet<PathBuf>,
    options: GraphOptions,
    /// Where it belongs.
    home: Arc<Home>,
    common: Arc<Common>,
    session: Arc<SessionOptions>,
    breaker: Breaker,
    /// Where it is now. None while its child is replaced.
    place: Mutex<Option<Place>>,
    /// Runs whose child ended.
    lost: Mutex<Vec<Job>>,
    /// Tells that a session was lost.
    loses: Notify,
    /// A run of it went on after its time, for which its child was ended.
    overran: AtomicBool,
    dispatch: OnceLock<Weak<Dispatch>>,
}

/// A graph that is loaded in a child.
#[derive(Clone)]
struct Place {
    link: Arc<Link>,
    /// Its number there.
    graph: u32,
    /// It is there alone, as it may have ended the child that it was in.
    alone: Option<Arc<Alone>>,
    /// One of few such places, until it is known whether it was this graph.
    permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// A graph that was loaded for the first time.
pub struct First {
    pub kept: Arc<GraphKeeper>,
    pub about: About,
    /// For [`GraphKeeper::keep`].
    pub wide: Box<dyn Runner>,
}

/// Why a graph is not loaded.
enum NotLoaded {
    /// It says so itself.
    Error(LoadError),
    /// The child cannot be started.
    NoChild(LoadError),
    /// The child ended while it was loaded.
    Ended(Option<Ended>),
}

impl GraphKeeper {
    /// Loads a graph for the first time.
    pub async fn load(
        home: Arc<Home>,
        common: Arc<Common>,
        name: &str,
        path: PathBuf,
        reads: BTreeSet<PathBuf>,
        options: GraphOptions,
    ) -> Result<First, LoadError> {
        let loading = Loading {
            home: &home,
            common: &common,
            name,
            path: &path,
            reads: &reads,
            options: &options,
        };
        let mut first = loading.load(None).await;
        for _ in 0..TRIES {
            if matches!(first, Err(NotLoaded::NoChild(_))) {
                first = loading.load(None).await;
            }
        }
        let Loaded { mut place, about, wide } = match first {
            Ok(loaded) => loaded,
            Err(NotLoaded::Error(e) | NotLoaded::NoChild(e)) => return Err(e),
            // Perhaps another graph ended it.
            Err(NotLoaded::Ended(_)) => match loading.load_alone().await {
                Ok(loaded) => loaded,
                Err(NotLoaded::Error(e) | NotLoaded::NoChild(e)) => return Err(e),
                Err(NotLoaded::Ended(how)) => return Err(ended_it(how)),
            },
        };
        place.permit = None;
        let breaker = Breaker::new(options.max_failures);
        let outputs: Vec<DType> = about.signature.outputs.iter().map(|info| info.dtype).collect();
        let session = Arc::new(SessionOptions {
            graph: name.to_owned(),
            limit: options.timeout.saturating_add(GRACE),
            max_output: options.max_output,
            outputs,
            ledger: common.ledger.clone(),
        });
        let (id, socket) = wide;
        let wide = ChildSession::new(place.link.clone(), id, socket, session.clone());
        let kept = Arc::new(Self {
            name: name.to_owned(),
            path,
            reads,
            options,
            home,
            common,
            session,
            breaker,
            place: Mutex::new(Some(place)),
            lost: Mutex::default(),
            loses: Notify::new(),
            overran: AtomicBool::new(false),
            dispatch: OnceLock::new(),
        });
        Ok(First { kept, about, wide: Box::new(wide) })
    }

    /// Serves until `end`, whatever becomes of children.
    pub fn keep(
        self: &Arc<Self>,
        dispatch: &Arc<Dispatch>,
        wide: Box<dyn Runner>,
        end: CancellationToken,
    ) {
        let _ = self.dispatch.set(Arc::downgrade(dispatch));
        dispatch.open(wide, self.common.nursery.handle());
        let kept = self.clone();
        self.common.nursery.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = kept.go_on() => {}
            }
            if let Some(place) = kept.place().take() {
                place.link.unload(place.graph);
            }
        });
    }

    async fn go_on(&self) {
        loop {
            let Some(place) = self.place().clone() else { return };
            match self.until_something(&place).await {
                Something::Ended(ended) => self.recover(place, ended).await,
                Something::Quiet => self.go_home(&place).await,
            }
        }
    }

    /// Waits until the child ends, or until a graph that is alone has been quiet.
    async fn until_something(&self, place: &Place) -> Something {
        let quiet_from = Instant::now();
        let ended = place.link.child().ended();
        let mut ended = std::pin::pin!(ended);
        loop {
            tokio::select! {
                ended = &mut ended => return Something::Ended(ended),
                () = self.loses.notified() => {
                    // It may have been told before all was well again.
                    if self.lost().is_empty() {
                        continue;
                    }
                    return Something::Ended(end_of(&place.link).await);
                }
                () = tokio::time::sleep(TIDY) => {
                    if let Some(dispatch) = self.dispatch() {
                        dispatch.queue.rest(TIDY);
                    }
                    place.link.rest(TIDY);
                    if place.alone.is_some() && quiet_from.elapsed() > QUIET {
                        return Something::Quiet;
                    }
                }
            }
        }
    }

    /// Loads the graph again, and runs again what its child had.
    async fn recover(&self, place: Place, ended: Option<Ended>) {
        let Some(dispatch) = self.dispatch() else { return };
        *self.place() = None;
        dispatch.queue.hold();
        let how = how(ended);
        if let Some(ended) = &ended
            && place.link.tells()
        {
            self.common.died(ended);
            let pid = place.link.child().pid();
            tracing::warn!(
                "process {pid} of native code ended ({how}): its graphs are loaded again"
            );
        }
        // Each of them notices the end by itself, on its own thread.
        dispatch.queue.idle().await;
        let lost = std::mem::take(&mut *self.lost());
        let Place { link, alone, .. } = place;
        drop(link);
        if !lost.is_empty() {
            let runs = lost.len();
            tracing::warn!(
                graph = self.name,
                "its process ended ({how}) during {runs} of its runs, which are run again, alone"
            );
        }
        self.common.reruns.fetch_add(lost.len() as u64, Ordering::Relaxed);
        let overran = self.overran.swap(false, Ordering::Relaxed);
        let mut guilty = alone.is_some() || overran;
        let mut wants_alone = !lost.is_empty() || guilty;
        let mut lost = lost.into_iter();
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        let mut alone = alone;
        loop {
            let (place, mut wide) = match self.again(&mut alone, wants_alone).await {
                Ok(again) => again,
                Err(NotLoaded::Ended(_)) if !wants_alone => {
                    wants_alone = true;
                    continue;
                }
                Err(NotLoaded::Ended(_) | NotLoaded::NoChild(_)) if tries < TRIES => {
                    tries += 1;
                    continue;
                }
                Err(why) => {
                    // Whoever waits is told; then it is tried again without end, in case that it gets better.
                    let why = match why {
                        NotLoaded::Error(e) | NotLoaded::NoChild(e) => e.to_string(),
                        NotLoaded::Ended(how) => ended_it(how).to_string(),
                    };
                    tracing::error!(graph = self.name, "it cannot be loaded again: {why}");
                    let error = NnError::Ended(format!(
                        "the native library ended while other runs were under way, and graph `{}` \
                         cannot be loaded again",
                        self.name
                    ));
                    lost.by_ref().for_each(|job| reply(job, Err(error.clone())));
                    self.failed();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            if self.run_again(&dispatch, &place, wide.as_mut(), &mut lost).await {
                guilty = true;
                continue;
            }
            let mut place = place;
            // Others may find out.
            place.permit = None;
            *self.place() = Some(place);
            dispatch.open(wide, self.common.nursery.handle());
            break;
        }
        // Another graph ended the child that they shared, or too many are alone.
        if !guilty || self.common.is_full() {
            let place = self.place().clone();
            if let Some(place) = place.filter(|place| place.alone.is_some()) {
                self.go_home(&place).await;
            }
        }
    }

    /// Runs what was lost, one after the other. True where one of them ended this process as well.
    async fn run_again(
        &self,
        dispatch: &Dispatch,
        place: &Place,
        wide: &mut dyn Runner,
        lost: &mut impl Iterator<Item = Job>,
    ) -> bool {
        for job in lost {
            if job.cancel.is_cancelled() || job.deadline <= Instant::now() {
                // Its caller has left, or does so now.
                continue;
            }
            match dispatch.serve_alone(wide, job).await {
                Ok(()) => {}
                Err(RunAlone::Lost(job)) => {
                    let ended = end_of(&place.link).await;
                    if let Some(ended) = &ended {
                        self.common.died(ended);
                    }
                    let how = how(ended);
                    tracing::error!(
                        graph = self.name,
                        "a run ended its process a second time, when it was alone ({how}): its call fails"
                    );
                    let name = &self.name;
                    let error = match ended.and_then(|ended| ended.killed) {
                        Some(Killed::Memory) => NnError::Memory(format!(
                            "a run of graph `{name}` took more memory than native code may \
                             (native_memory)"
                        )),
                        _ => NnError::Ended(format!(
                            "the native library ended while it ran graph `{name}` ({how})"
                        )),
                    };
                    reply(job, Err(error));
                    self.failed();
                    return true;
                }
                Err(RunAlone::Overran) => {
                    let ended = place.link.child().ended().await;
                    if let Some(ended) = &ended {
                        self.common.died(ended);
                    }
                    self.failed();
                    return true;
                }
            }
        }
        false
    }

    /// The graph in a child, once more.
    async fn again(
        &self,
        alone: &mut Option<Arc<Alone>>,
        wants_alone: bool,
    ) -> Result<(Place, Box<dyn Runner>), NotLoaded> {
        let loading = Loading {
            home: &self.home,
            common: &self.common,
            name: &self.name,
            path: &self.path,
            reads: &self.reads,
            options: &self.options,
        };
        let loaded = match (wants_alone, &*alone) {
            (false, _) => loading.load(None).await,
            (true, Some(there)) => loading.load(Some(there.clone())).await,
            (true, None) => loading.load_alone().await,
        }?;
        *alone = loaded.place.alone.clone();
        let (id, socket) = loaded.wide;
        let link = loaded.place.link.clone();
        let wide = ChildSession::new(link, id, socket, self.session.clone());
        Ok((loaded.place, Box::new(wide)))
    }

    /// Moves to the child where it belongs. Calls go on here until it is loaded there.
    async fn go_home(&self, from: &Place) {
        let Some(dispatch) = self.dispatch() else { return };
        let mut alone = None;
        let (place, wide) = match self.again(&mut alone, false).await {
            Ok(again) => again,
            Err(_) => {
                // It stays where it is, and tries again after the next quiet time.
                return;
            }
        };
        dispatch.queue.hold();
        dispatch.queue.idle().await;
        if !self.lost().is_empty() {
            // The child that it leaves ended just now, during its runs: that is seen to first.
            place.link.unload(place.graph);
            return;
        }
        from.link.unload(from.graph);
        *self.place() = Some(place);
        dispatch.open(wide, self.common.nursery.handle());
    }

    /// A run or the loading ended a process that had nothing else to do.
    fn failed(&self) {
        if !self.breaker.failure(Instant::now()) {
            return;
        }
        tracing::error!(graph = self.name, "refused for a while: it ended its process too often");
        if let Some(refusing) = &self.common.refusing {
            refusing.notify_one();
        }
    }

    fn dispatch(&self) -> Option<Arc<Dispatch>> {
        self.dispatch.get()?.upgrade()
    }

    fn place(&self) -> MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, Vec<Job>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a child that has closed a session's socket. Mostly it is about to end; one that only closed the
/// socket is not right, and is ended.
async fn end_of(link: &Link) -> Option<Ended> {
    if timeout(GRACE, link.child().ended()).await.is_err() {
        link.child().kill(Killed::Nonsense);
    }
    link.child().ended().await
}

enum Something {
    Ended(Option<Ended>),
    Quiet,
}

/// What is needed to load a graph.
struct Loading<'a> {
    home: &'a Home,
    common: &'a Arc<Common>,
    name: &'a str,
    path: &'a PathBuf,
    reads: &'a BTreeSet<PathBuf>,
    options: &'a GraphOptions,
}

struct Loaded {
    place: Place,
    about: About,
    /// The first session's number and socket.
    wide: (u32, std::os::unix::net::UnixStream),
}

impl Loading<'_> {
    /// Loads it in a child of its own.
    async fn load_alone(&self) -> Result<Loaded, NotLoaded> {
        let permit = self.common.permit().await.map(Arc::new);
        let mut loaded = self.load(Some(self.home.alone(self.name, self.reads))).await?;
        loaded.place.permit = permit;
        Ok(loaded)
    }

    /// Loads it where it belongs, or alone.
    async fn load(&self, alone: Option<Arc<Alone>>) -> Result<Loaded, NotLoaded> {
        let home = alone.as_ref().map_or(self.home, |alone| &alone.home);
        let link = home.link().await.map_err(|e| NotLoaded::NoChild(e.into()))?;
        self.common.remember(&link);
        let graph = link.new_graph();
        let gone = async |Gone| NotLoaded::Ended(link.child().ended().await);
        let loaded = link.load(graph, self.name, self.path.clone(), self.options);
        let limit = match self.options.device {
            Device::Cpu => LOADING,
            _ => Duration::MAX,
        };
        let Ok(loaded) = timeout(limit, loaded).await else {
            link.child().kill(Killed::Overrun);
            return Err(NotLoaded::Error(LoadError::Graph(format!(
                "the native library did not read the graph within {limit:?}"
            ))));
        };
        let about = match loaded {
            Ok(loaded) => loaded.map_err(NotLoaded::Error)?,
            Err(e) => return Err(gone(e).await),
        };
        let wide = match link.session(graph, None).await {
            Ok(made) => made.map_err(NotLoaded::Error)?,
            Err(e) => return Err(gone(e).await),
        };
        let link = link.clone();
        Ok(Loaded { place: Place { link, graph, alone, permit: None }, about, wide })
    }
}

impl RunnerSource for GraphKeeper {
    fn runner(&self, threads: usize) -> Going<'_, Result<Box<dyn Runner>, LoadError>> {
        let place = self.place().clone();
        Box::pin(async move {
            let ended = || LoadError::Graph("its process has just ended".into());
            let Place { link, graph, .. } = place.ok_or_else(ended)?;
            let (id, socket) =
                link.session(graph, Some(threads)).await.map_err(|Gone| ended())??;
            let session = ChildSession::new(link, id, socket, self.session.clone());
            Ok(Box::new(session) as Box<dyn Runner>)
        })
    }

    fn refuses(&self) -> Option<NnError> {
        let left = self.breaker.refuses(Instant::now())?;
        Some(NnError::Refused(format!(
            "graph `{}` ended its process too often just before; calls are let through again in \
             {left:.1?}",
            self.name
        )))
    }

    fn answered(&self) {
        self.breaker.success();
    }

    fn lost(&self, jobs: Vec<Job>) {
        self.lost().extend(jobs);
        self.loses.notify_one();
    }

    fn overran(&self) {
        self.overran.store(true, Ordering::Relaxed);
        self.failed();
    }
}
