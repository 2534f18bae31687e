//! The server's side of one child: orders go out, and their answers find whoever waits for them.

use std::{
    collections::HashMap,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    net::UnixStream as Watched,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::message::{Answer, Begin, Order, Report};
use crate::{
    child::{
        Child, Ended, Launch, Nursery,
        channel::{self, Incoming, receive, send_all},
        nursery::{Killed, how},
        region::{Copies, NoRegion, OutputRegion},
    },
    ledger::{Ledger, NoRoom},
    nn::{Gain, GraphOptions, LibraryError, LoadError, library::About},
};

/// How long a child may take to begin: to confine itself and to find its libraries.
const BEGINNING: Duration = Duration::from_secs(60);

/// A child that has begun. With the last reference to it, it ends.
pub struct Link {
    child: Child,
    orders: mpsc::UnboundedSender<Outgoing>,
    waiting: Arc<Waiting>,
    /// Numbers of orders, graphs and sessions so far.
    numbers: AtomicU64,
    graphs: AtomicU32,
    sessions: AtomicU32,
    /// Runs under way.
    running: AtomicUsize,
    /// Regions that no fetch uses now, for the next one; and how many were made.
    spare: Mutex<Vec<Spare>>,
    copies: Copies,
    /// What regions are charged to.
    ledger: Arc<Ledger>,
    regions: AtomicU32,
    /// Bytes of tensors that stay with it.
    kept: AtomicU64,
    /// Its end was told.
    told: AtomicBool,
    /// What the kernel lacks to confine it.
    pub lacks: Vec<String>,
}

/// A region by its number with the child, and when it was used last.
type Spare = (u32, OutputRegion, Instant);

/// An order as it travels.
struct Outgoing {
    frame: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

/// Those who wait for answers, by the numbers of their orders.
#[derive(Default)]
struct Waiting(Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>);

/// Why there is no link.
#[derive(Debug)]
pub enum NoLink {
    /// What the operator asks for cannot be had.
    Library(LibraryError),
    /// The child did not begin.
    Start(String),
}

impl From<NoLink> for LoadError {
    fn from(error: NoLink) -> Self {
        match error {
            NoLink::Library(error) => error.into(),
            NoLink::Start(reason) => Self::Graph(reason),
        }
    }
}

/// Why a graph is not loaded whose child ended meanwhile.
pub fn ended_it(ended: Option<Ended>) -> LoadError {
    let how = how(ended);
    LoadError::Graph(format!("the native library ended while it read the graph ({how})"))
}

/// The child has ended, or is about to.
#[derive(Debug)]
pub struct Gone;

/// Why a tensor is not here.
#[derive(Debug)]
pub enum NotFetched {
    /// It was lost with the child.
    Gone,
    NoRoom(NoRoom),
}

impl From<Gone> for NotFetched {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<NoRoom> for NotFetched {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}

impl Link {
    /// Starts a child and tells it how to begin.
    pub async fn start(
        nursery: &Nursery,
        launch: Launch<'_>,
        begin: &Begin,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, NoLink> {
        let failed = |what: &str, e: &dyn std::fmt::Display| NoLink::Start(format!("{what}: {e}"));
        let (child, socket) = nursery
            .launch(launch)
            .await
            .map_err(|e| failed("a process for native code cannot start", &e))?;
        let (orders, outgoing) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let (began, beginning) = oneshot::channel();
        let talk = Talk { outgoing, waiting: waiting.clone(), began: Some(began) };
        nursery.spawn(talk.go_on(socket));
        let link = Self {
            child,
            orders,
            waiting,
            numbers: AtomicU64::new(0),
            graphs: AtomicU32::new(0),
            sessions: AtomicU32::new(0),
            running: AtomicUsize::new(0),
            spare: Mutex::default(),
            copies: Copies::new(ledger),
            ledger: ledger.clone(),
            regions: AtomicU32::new(0),
            kept: AtomicU64::new(0),
            told: AtomicBool::new(false),
            lacks: Vec::new(),
        };
        let frame = channel::frame(begin).map_err(|e| failed("its first message", &e))?;
        link.send(frame, None);
        match timeout(BEGINNING, beginning).await {
            Ok(Ok(Ok(lacks))) => Ok(Self { lacks, ..link }),
            Ok(Ok(Err(library))) => Err(NoLink::Library(library)),
            Ok(Err(_)) => {
                let how = how(link.child.ended().await);
                Err(failed("the process for native code ended before it began", &how))
            }
            Err(_) => Err(failed("the process for native code did not begin in time", &"")),
        }
    }

    pub fn child(&self) -> &Child {
        &self.child
    }

    /// A number for a graph.
    pub fn new_graph(&self) -> u32 {
        self.graphs.fetch_add(1, Ordering::Relaxed)
    }

    pub async fn load(
        &self,
        graph: u32,
        name: &str,
        path: PathBuf,
        options: &GraphOptions,
    ) -> Result<Result<About, LoadError>, Gone> {
        let (name, options) = (name.to_owned(), Box::new(options.clone()));
        let order = |number| Order::Load { number, graph, name, path, options };
        match self.ask(order, None).await? {
            Answer::Loaded(loaded) => Ok(loaded),
            _ => Err(self.nonsense()),
        }
    }

    /// A session of a graph, by its number, and the server's end of its socket.
    pub async fn session(
        &self,
        graph: u32,
        threads: Option<usize>,
    ) -> Result<Result<(u32, UnixStream), LoadError>, Gone> {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        let pair = UnixStream::pair().and_then(|(ours, theirs)| {
            ours.set_nonblocking(true)?;
            Ok((ours, OwnedFd::from(theirs)))
        });
        let (ours, theirs) = match pair {
            Ok(pair) => pair,
            Err(e) => return Ok(Err(LoadError::Graph(format!("it has no socket: {e}")))),
        };
        let order = |number| Order::Session { number, graph, session, threads };
        match self.ask(order, Some(theirs)).await? {
            Answer::Session(made) => Ok(made.map(|()| (session, ours))),
            _ => Err(self.nonsense()),
        }
    }

    pub async fn measure(
        &self,
        path: PathBuf,
        options: &GraphOptions,
        rows: usize,
    ) -> Result<Result<Result<Vec<Gain>, String>, LoadError>, Gone> {
        let options = Box::new(options.clone());
        let order = |number| Order::Measure { number, path, options, rows };
        match self.ask(order, None).await? {
            Answer::Measured(measured) => Ok(measured),
            _ => Err(self.nonsense()),
        }
    }

    /// A copy of a kept tensor of `length` bytes.
    pub async fn fetch(&self, kept: u64, length: usize) -> Result<Bytes, NotFetched> {
        let (region, mapped) = self.region(length)?;
        let order = |number| Order::Fetch { number, kept, region };
        let bytes = match self.ask(order, None).await? {
            Answer::Fetched(Some(fetched)) if fetched == length as u64 => {
                mapped.copy(0, length, &self.copies)
            }
            _ => Ok(None),
        };
        // Without room the region is good all the same.
        let bytes = bytes.transpose().ok_or_else(|| self.nonsense())?;
        self.spare().push((region, mapped, Instant::now()));
        Ok(bytes?)
    }

    /// A region of at least `length` bytes, and its number with the child.
    fn region(&self, length: usize) -> Result<(u32, OutputRegion), NotFetched> {
        {
            let mut spare = self.spare();
            if let Some(at) = spare.iter().position(|(_, region, _)| region.length() >= length) {
                let (number, region, _) = spare.swap_remove(at);
                return Ok((number, region));
            }
        }
        let made = OutputRegion::new(length, &self.ledger);
        let (region, descriptor) = made.map_err(|e| match e {
            NoRegion::NoRoom(no_room) => NotFetched::NoRoom(no_room),
            NoRegion::System(_) => {
                tracing::warn!("{e}");
                NotFetched::Gone
            }
        })?;
        let number = self.regions.fetch_add(1, Ordering::Relaxed);
        let order = channel::frame(&Order::Region { region: number }).map_err(|_| Gone)?;
        self.send(order, Some(descriptor));
        Ok((number, region))
    }

    /// Gives back regions that nobody has used for `since`.
    pub fn rest(&self, since: Duration) {
        let mut rested = Vec::new();
        self.spare().retain(|(number, _, used)| {
            let keep = used.elapsed() < since;
            if !keep {
                rested.push(*number);
            }
            keep
        });
        if !rested.is_empty() {
            self.copies.clear();
        }
        rested.into_iter().for_each(|region| self.order(&Order::DropRegion { region }));
    }

    /// Nobody will ask for a kept tensor any more.
    pub fn forget(&self, kept: u64) {
        self.order(&Order::Forget { kept });
    }

    /// Bytes of tensors that stay with it.
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    pub fn count_kept(&self, bytes: usize, more: bool) {
        match more {
            true => self.kept.fetch_add(bytes as u64, Ordering::Relaxed),
            false => self.kept.fetch_sub(bytes as u64, Ordering::Relaxed),
        };
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stop(&self, session: u32, run: u64) {
        self.order(&Order::Stop { session, run });
    }

    pub fn unload(&self, graph: u32) {
        self.order(&Order::Unload { graph });
    }

    /// A run is under way until the result is dropped.
    pub fn running(&self) -> RunUnderWay<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        RunUnderWay(self)
    }

    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// True for the first who asks: of the graphs in a child that has ended, one tells of it.
    pub fn tells(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// Ends a child that says what makes no sense.
    pub fn nonsense(&self) -> Gone {
        self.child.kill(Killed::Nonsense);
        Gone
    }

    async fn ask(
        &self,
        order: impl FnOnce(u64) -> Order,
        descriptor: Option<OwnedFd>,
    ) -> Result<Answer, Gone> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (tell, answer) = oneshot::channel();
        match &mut *self.waiting.lock() {
            Some(waiting) => waiting.insert(number, tell),
            None => return Err(Gone),
        };
        let frame = channel::frame(&order(number)).map_err(|_| Gone)?;
        self.send(frame, descriptor);
        answer.await.map_err(|_| Gone)
    }

    fn order(&self, order: &Order) {
        if let Ok(frame) = channel::frame(order) {
            self.send(frame, None);
        }
    }

    fn send(&self, frame: Vec<u8>, descriptor: Option<OwnedFd>) {
        // One that has ended does not hear it.
        let _ = self.orders.send(Outgoing { frame, descriptor });
    }
}

/// Counts a run.
pub struct RunUnderWay<'a>(&'a Link);

impl Drop for RunUnderWay<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said over a child's socket, on the nursery's thread.
struct Talk {
    outgoing: mpsc::UnboundedReceiver<Outgoing>,
    waiting: Arc<Waiting>,
    began: Option<oneshot::Sender<Result<Vec<String>, LibraryError>>>,
}

impl Talk {
    /// Talks until the child ends or nobody has an order for it any more.
    async fn go_on(mut self, socket: UnixStream) {
        // Whatever ended it: who watches the child sees to it.
        let _ = self.talk(socket).await;
        // Whoever waits for an answer gets none.
        *self.waiting.lock() = None;
    }

    async fn talk(&mut self, socket: UnixStream) -> io::Result<()> {
        let socket = Watched::from_std(socket)?;
        let mut incoming = Incoming::default();
        loop {
            tokio::select! {
                order = self.outgoing.recv() => match order {
                    Some(Outgoing { frame, descriptor }) => {
                        let descriptor = descriptor.as_ref().map(AsFd::as_fd);
                        send_all(&socket, &frame, descriptor.as_slice()).await?;
                    }
                    None => return Ok(()),
                },
                read = receive(&socket, &mut incoming) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    while let Some(report) = incoming.message()? {
                        self.hear(report);
                    }
                }
            }
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Began(began) => {
                if let Some(tell) = self.began.take() {
                    let _ = tell.send(began);
                }
            }
            Report::Answer { number, answer } => {
                let waiting = self.waiting.lock().as_mut().and_then(|all| all.remove(&number));
                if let Some(tell) = waiting {
                    let _ = tell.send(answer);
                }
            }
        }
    }
}
