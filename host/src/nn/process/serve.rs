//! The child's side: reads graphs and runs them, as the server says. It has one thread for orders, and
//! one for each session.

use std::{
    collections::HashMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use bytes::Bytes;

use super::crew::{Crew, Member};
use super::message::{
    Answer, Begin, FromSession, Input, Order, Place, Placed, Report, STAYS, ToSession,
};
use crate::{
    allocator::{self, Keeps},
    child::{
        channel::{Blocking, Sender},
        confine::confine,
        output,
        region::{Lent, Target, lay_out},
    },
    machine,
    nn::{
        DType, GraphOptions, LoadError, NnError, Options, Tensor, TensorError,
        backend::{Session, SessionFactory},
        cancel::Cancel,
        library::{Libraries, ReadGraph},
        local,
        thread::{LOADING, native_thread},
    },
};

/// How long after its last run a child gives memory back to the system that it does not use.
const QUIET: Duration = Duration::from_millis(500);
/// What it keeps of that, in bytes.
const KEPT: u64 = 32 << 20;

/// Serves until the server closes `socket`, or ends.
pub fn serve(socket: OwnedFd) -> io::Result<()> {
    let mut orders = Blocking::new(socket);
    let Some(begin) = orders.receive::<Begin>()? else { return Ok(()) };
    // Before anything else: no other thread, no library yet.
    let lacks = confine(&begin.confinement)?;
    let reports = Arc::new(Mutex::new(orders.sender()?));
    output::start(&begin.log).map_err(io::Error::other)?;
    // Memory that a run does not use any more is for the system, not kept for the next one. A store for each
    // thread would take and give back its last piece for each run.
    allocator::keep(Keeps { arenas: 1, mapped: 32 });
    let options = Options {
        candidates: Some(begin.candidates),
        backend: begin.backend,
        threads: Some(begin.threads),
        lean: true,
        ..Options::default()
    };
    let libraries = match begin.version == env!("CARGO_PKG_VERSION") {
        true => Libraries::start(&options),
        false => return Err(io::Error::other("the server is of another version")),
    };
    let libraries = match libraries {
        Ok(libraries) => Arc::new(libraries),
        Err(e) => return report(&reports, &Report::Began(Err(e))),
    };
    report(&reports, &Report::Began(Ok(lacks)))?;
    let (graphs, runs) = (HashMap::new(), Arc::default());
    let (tidy, crew) = (Tidy::start()?, Crew::new()?);
    let (kept, regions) = (Arc::default(), HashMap::new());
    let mut child = Child { libraries, reports, graphs, runs, tidy, crew, kept, regions };
    while let Some(order) = orders.receive()? {
        child.obey(order, &mut orders)?;
    }
    Ok(())
}

fn report(reports: &Mutex<Sender>, report: &Report) -> io::Result<()> {
    reports.lock().unwrap_or_else(PoisonError::into_inner).send(report)
}

struct Child {
    libraries: Arc<Libraries>,
    reports: Arc<Mutex<Sender>>,
    graphs: HashMap<u32, Arc<Graph>>,
    runs: Arc<Runs>,
    tidy: Arc<Tidy>,
    crew: Arc<Crew<ServedSession>>,
    kept: Arc<KeptOutputs>,
    /// For kept tensors that are fetched.
    regions: HashMap<u32, Arc<Mutex<Target>>>,
}

/// Gives memory back to the system that nobody uses, when nothing has run for a while.
struct Tidy {
    /// Runs so far.
    runs: AtomicU64,
    /// The thread sleeps until there is another run.
    sleeps: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Tidy {
    fn start() -> io::Result<Arc<Self>> {
        let (runs, sleeps) = (AtomicU64::new(0), AtomicBool::new(false));
        let tidy = Arc::new(Self { runs, sleeps, thread: OnceLock::new() });
        let it = tidy.clone();
        let thread = native_thread("nn-tidy", move || it.go_on())?;
        let _ = tidy.thread.set(thread.thread().clone());
        Ok(tidy)
    }

    /// A run has ended.
    fn ran(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        if self.sleeps.load(Ordering::Relaxed) && self.sleeps.swap(false, Ordering::Relaxed) {
            self.thread.get().inspect(|thread| thread.unpark());
        }
    }

    fn go_on(&self) {
        let mut least = u64::MAX;
        loop {
            let before = self.runs.load(Ordering::Relaxed);
            thread::sleep(QUIET);
            if self.runs.load(Ordering::Relaxed) == before {
                // What a run of a usual size takes is there for the next one.
                let memory = || machine::own_memory("self").unwrap_or_default();
                if memory() > least.saturating_add(KEPT) {
                    allocator::give_back();
                }
                least = least.min(memory());
                self.sleeps.store(true, Ordering::Relaxed);
                // One that ended just now does not see it: the next one does.
                while self.sleeps.load(Ordering::Relaxed) {
                    thread::park();
                }
            }
        }
    }
}

/// A graph, from the moment that it is to be loaded.
struct Graph {
    name: String,
    state: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    /// Once it is loaded.
    factory: Option<Arc<dyn SessionFactory>>,
    /// Made with it, until it is asked for.
    first: Option<Box<dyn Session>>,
}

impl Child {
    fn obey(&mut self, order: Order, orders: &mut Blocking) -> io::Result<()> {
        match order {
            Order::Load { number, graph, name, path, options } => {
                let loaded = Arc::new(Graph { name, state: Mutex::default() });
                self.graphs.insert(graph, loaded.clone());
                let libraries = self.libraries.clone();
                self.beside(number, move || {
                    Answer::Loaded(loaded.load(&libraries, &path, &options))
                })
            }
            Order::Session { number, graph, session, threads } => {
                let socket = orders.descriptor()?;
                match self.graphs.get(&graph) {
                    Some(graph) => self.session(number, graph.clone(), session, threads, socket),
                    None => self.answer(number, Answer::Session(Err(unknown()))),
                }
            }
            Order::Measure { number, path, options, rows } => {
                let libraries = self.libraries.clone();
                self.beside(number, move || {
                    Answer::Measured(libraries.try_batches(&path, &options, rows))
                })
            }
            Order::Stop { session, run } => {
                self.runs.stop(session, run);
                Ok(())
            }
            Order::Unload { graph } => {
                self.graphs.remove(&graph);
                Ok(())
            }
            Order::Region { region } => {
                let target = Target::map(&orders.descriptor()?)?;
                self.regions.insert(region, Arc::new(Mutex::new(target)));
                Ok(())
            }
            Order::DropRegion { region } => {
                self.regions.remove(&region);
                Ok(())
            }
            Order::Fetch { number, kept, region } => {
                let (tensor, region) = (self.kept.get(kept), self.regions.get(&region).cloned());
                self.beside(number, move || Answer::Fetched(copied(tensor, region)))
            }
            Order::Forget { kept } => {
                self.kept.forget(kept);
                Ok(())
            }
        }
    }

    fn answer(&self, number: u64, answer: Answer) -> io::Result<()> {
        report(&self.reports, &Report::Answer { number, answer })
    }

    /// Works beside the orders, on a thread fit for native code.
    fn beside(
        &self,
        number: u64,
        work: impl FnOnce() -> Answer + Send + 'static,
    ) -> io::Result<()> {
        let reports = self.reports.clone();
        native_thread(LOADING, move || {
            // Where nobody listens any more, the process ends.
            let _ = report(&reports, &Report::Answer { number, answer: work() });
        })
        .map(drop)
    }

    /// Makes a session, which the crew serves from then on.
    fn session(
        &self,
        number: u64,
        graph: Arc<Graph>,
        session: u32,
        threads: Option<usize>,
        socket: OwnedFd,
    ) -> io::Result<()> {
        let (runs, tidy, crew) = (self.runs.clone(), self.tidy.clone(), self.crew.clone());
        let kept = self.kept.clone();
        self.beside(number, move || {
            let made = graph.session(threads).and_then(|made| {
                let current = runs.open(session);
                let served = ServedSession {
                    graph: graph.name.clone(),
                    session: made,
                    channel: Blocking::new(socket),
                    inputs: None,
                    outputs: None,
                    last: Vec::new(),
                    last_may_stay: false,
                    current: RunsOf { runs, session, current },
                    tidy,
                    kept,
                };
                crew.serve(session, served)
                    .map_err(|e| LoadError::Graph(format!("it cannot be served: {e}")))
            });
            Answer::Session(made)
        })
    }
}

/// Copies a kept tensor into a region, and gives its length.
fn copied(tensor: Option<Tensor>, region: Option<Arc<Mutex<Target>>>) -> Option<u64> {
    let (tensor, region) = (tensor?, region?);
    let mut region = region.lock().unwrap_or_else(PoisonError::into_inner);
    region.write(0, tensor.data()).then_some(tensor.byte_length() as u64)
}

/// Outputs that stayed here, by their numbers.
#[derive(Default)]
struct KeptOutputs {
    next: AtomicU64,
    tensors: Mutex<HashMap<u64, Tensor>>,
}

impl KeptOutputs {
    fn keep(&self, tensor: Tensor) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.tensors().insert(number, tensor);
        number
    }

    fn get(&self, number: u64) -> Option<Tensor> {
        self.tensors().get(&number).cloned()
    }

    fn forget(&self, number: u64) {
        let forgotten = self.tensors().remove(&number);
        // Freeing it may take a moment.
        drop(forgotten);
    }

    fn tensors(&self) -> MutexGuard<'_, HashMap<u64, Tensor>> {
        self.tensors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown() -> LoadError {
    LoadError::Graph("there is no such graph".into())
}

impl Graph {
    fn load(
        &self,
        libraries: &Libraries,
        path: &Path,
        options: &GraphOptions,
    ) -> Result<crate::nn::library::About, LoadError> {
        let ReadGraph { about, first, factory } = libraries.read(&self.name, path, options)?;
        let mut state = self.state();
        state.factory = Some(factory);
        state.first = Some(first);
        Ok(about)
    }

    fn session(&self, threads: Option<usize>) -> Result<Box<dyn Session>, LoadError> {
        let factory = {
            let mut state = self.state();
            if let (None, Some(first)) = (threads, state.first.take()) {
                return Ok(first);
            }
            state.factory.clone().ok_or_else(unknown)?
        };
        local::make(&*factory, threads)
    }

    fn state(&self) -> MutexGuard<'_, Loaded> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runs that are under way, by their sessions, so that an order can stop them.
#[derive(Default)]
struct Runs(Mutex<HashMap<u32, Arc<Mutex<Current>>>>);

/// A session's run.
#[derive(Default)]
struct Current {
    run: u64,
    cancel: Arc<Cancel>,
}

impl Runs {
    fn open(&self, session: u32) -> Arc<Mutex<Current>> {
        let current = Arc::<Mutex<Current>>::default();
        self.lock().insert(session, current.clone());
        current
    }

    fn close(&self, session: u32) {
        self.lock().remove(&session);
    }

    fn stop(&self, session: u32, run: u64) {
        let Some(current) = self.lock().get(&session).cloned() else { return };
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.run < run {
            // The order came before the run.
            *current = Current { run, cancel: Arc::default() };
        }
        if current.run == run {
            current.cancel.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Mutex<Current>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's runs, which can be stopped as long as it is there.
struct RunsOf {
    runs: Arc<Runs>,
    session: u32,
    current: Arc<Mutex<Current>>,
}

impl Drop for RunsOf {
    fn drop(&mut self) {
        self.runs.close(self.session);
    }
}

/// A session with what it shares with the server.
struct ServedSession {
    graph: String,
    session: Box<dyn Session>,
    channel: Blocking,
    inputs: Option<Arc<Lent>>,
    outputs: Option<Target>,
    /// Outputs that the region is too small for, and whether large ones may stay.
    last: Vec<Tensor>,
    last_may_stay: bool,
    current: RunsOf,
    tidy: Arc<Tidy>,
    kept: Arc<KeptOutputs>,
}

impl Member for ServedSession {
    fn socket(&self) -> BorrowedFd<'_> {
        self.channel.socket()
    }

    fn work(&mut self) -> bool {
        // An error is the server's end, or this session's.
        self.obey().unwrap_or(false)
    }
}

impl ServedSession {
    /// Reads what is there, and does what it says.
    fn obey(&mut self) -> io::Result<bool> {
        if self.channel.read()? == 0 {
            return Ok(false);
        }
        while let Some(message) = self.channel.received()? {
            match message {
                ToSession::Inputs { here } => {
                    self.inputs = match here {
                        true => Some(Arc::new(Lent::map(&self.channel.descriptor()?)?)),
                        false => None,
                    };
                }
                ToSession::Outputs { here } => {
                    self.outputs = match here {
                        true => Some(Target::map(&self.channel.descriptor()?)?),
                        false => None,
                    };
                }
                ToSession::Run { run, inputs, outputs, may_stay } => {
                    let answer = match self.run(run, &inputs, &outputs) {
                        Ok(outputs) => self.give(outputs, may_stay),
                        Err(e) => FromSession::Failed(e),
                    };
                    self.channel.send(&answer)?;
                    self.tidy.ran();
                }
                ToSession::Again => {
                    let outputs = std::mem::take(&mut self.last);
                    let answer = self.give(outputs, self.last_may_stay);
                    self.channel.send(&answer)?;
                }
                ToSession::Forget => self.last.clear(),
            }
        }
        Ok(true)
    }

    fn run(&mut self, run: u64, inputs: &[Input], outputs: &[u32]) -> Result<Vec<Tensor>, NnError> {
        let cancel = {
            let mut current = self.current.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.run != run {
                *current = Current { run, cancel: Arc::default() };
            }
            current.cancel.clone()
        };
        let inputs: Vec<(usize, Tensor)> = inputs
            .iter()
            .map(|input| Ok((input.position as usize, self.input(&input.tensor)?)))
            .collect::<Result<_, NnError>>()?;
        let outputs: Vec<usize> = outputs.iter().map(|&at| at as usize).collect();
        match local::run(&self.graph, self.session.as_mut(), &inputs, &outputs, &cancel) {
            // What else is broken in this process, nobody knows. The server starts another one.
            Err(NnError::Broken(_)) => std::process::abort(),
            result => result,
        }
    }

    /// An input over the bytes in the region, or one that stayed here.
    fn input(&self, placed: &Placed) -> Result<Tensor, NnError> {
        let lost = || NnError::Runtime("an input is not where it was said to be".into());
        let wrong = |e: TensorError| NnError::Runtime(e.to_string());
        let length = placed.length as usize;
        let offset = match placed.place {
            Place::Region { offset } => offset as usize,
            Place::Kept { number } => {
                let kept = self.kept.get(number).ok_or_else(lost)?;
                return kept.reshape(&placed.shape[..]).map_err(wrong);
            }
        };
        let data = match (length, &self.inputs) {
            (0, _) => Bytes::new(),
            (_, Some(region)) => {
                region.bytes(offset, length).ok_or_else(lost)?;
                Bytes::from_owner(View { region: region.clone(), offset, length })
            }
            (_, None) => return Err(lost()),
        };
        Tensor::checked_before(placed.dtype, &placed.shape[..], data).map_err(wrong)
    }

    /// Puts outputs into the region, or keeps them: until they are asked for, or until the region is large
    /// enough.
    fn give(&mut self, outputs: Vec<Tensor>, may_stay: bool) -> FromSession {
        let stays = |tensor: &Tensor| {
            may_stay
                && tensor.byte_length() >= STAYS
                && !matches!(tensor.dtype(), DType::Bool | DType::Bytes)
        };
        let lengths = outputs.iter().map(|t| if stays(t) { 0 } else { t.byte_length() });
        let Some((offsets, bytes)) = lay_out(lengths) else {
            return FromSession::Failed(NnError::Runtime("its outputs are too large".into()));
        };
        let room = self.outputs.as_ref().map_or(0, Target::length);
        if bytes > room {
            (self.last, self.last_may_stay) = (outputs, may_stay);
            return FromSession::TooLarge { bytes: bytes as u64 };
        }
        let mut placed = Vec::with_capacity(outputs.len());
        for (tensor, offset) in outputs.into_iter().zip(offsets) {
            let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
            let length = tensor.byte_length() as u64;
            let place = if stays(&tensor) {
                Place::Kept { number: self.kept.keep(tensor) }
            } else {
                let written = match &mut self.outputs {
                    Some(region) => region.write(offset, tensor.data()),
                    None => length == 0,
                };
                if !written {
                    return FromSession::Failed(NnError::Runtime("an output has no room".into()));
                }
                Place::Region { offset: offset as u64 }
            };
            placed.push(Placed { dtype, shape, length, place });
        }
        FromSession::Outputs(placed)
    }
}

/// Bytes of an input in a region.
struct View {
    region: Arc<Lent>,
    offset: usize,
    length: usize,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        // Looked at before this was made.
        self.region.bytes(self.offset, self.length).unwrap_or_default()
    }
}
