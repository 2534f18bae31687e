//! A session in a child, as the graph's dispatch sees it: inputs are copied into a region that the child
//! reads, the answer is read on the caller's own thread, and outputs are copied out of another region
//! before anything is concluded from them.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::UnixStream as Watched,
    runtime::{Handle, Id},
    time::timeout_at,
};

use super::{
    answer::{self, Expected, NotTaken},
    kept::Kept,
    link::Link,
    message::{FromSession, Input, Place, Placed, ToSession},
};
use crate::{
    child::{
        channel::{Incoming, frame, receive, receive_now, send_all},
        nursery::Killed,
        region::{Copies, InputRegion, NoRegion, OutputRegion, lay_out},
    },
    ledger::Ledger,
    nn::{
        DType, NnError, Tensor,
        cancel::Stop,
        runner::{Going, Run, RunEnd, Runner},
        spin::Spin,
    },
};

/// A region is kept for the next run up to this size, in bytes; a larger one for a while.
const KEPT: usize = 1 << 20;

/// What all sessions of a graph have in common.
pub struct SessionOptions {
    /// The graph's name.
    pub graph: String,
    /// How long a run may take before its process is ended.
    pub limit: Duration,
    /// Bytes of all outputs of a run.
    pub max_output: usize,
    /// The types of the graph's outputs.
    pub outputs: Vec<DType>,
    /// What regions and copies are charged to.
    pub ledger: Arc<Ledger>,
}

/// A session in a child. Dropped, it ends there too.
pub struct ChildSession {
    link: Arc<Link>,
    options: Arc<SessionOptions>,
    session: u32,
    socket: UnixStream,
    /// The same socket, watched by the runtime on which the last run was waited for.
    watched: Option<(Id, Watched)>,
    incoming: Incoming,
    /// For answers.
    spin: Spin,
    /// Runs so far.
    runs: u64,
    inputs: Option<InputRegion>,
    outputs: Option<OutputRegion>,
    copies: Copies,
    /// When the last run ended.
    rests: Instant,
}

/// What goes to the child at once.
#[derive(Default)]
struct Parcel {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Parcel {
    fn add(&mut self, message: &ToSession) -> Result<(), RunEnd> {
        self.bytes.extend(frame(message).map_err(|e| failed(&e))?);
        Ok(())
    }
}

fn not_watched() -> io::Error {
    io::Error::other("the socket is not watched")
}

impl From<NoRegion> for RunEnd {
    fn from(error: NoRegion) -> Self {
        match error {
            NoRegion::NoRoom(no_room) => Self::Failed(no_room.into()),
            NoRegion::System(e) => failed(&e),
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> RunEnd {
    RunEnd::Failed(NnError::Runtime(format!("the run cannot be handed over: {error}")))
}

impl ChildSession {
    pub fn new(
        link: Arc<Link>,
        session: u32,
        socket: UnixStream,
        options: Arc<SessionOptions>,
    ) -> Self {
        let copies = Copies::new(&options.ledger);
        Self {
            link,
            options,
            session,
            socket,
            watched: None,
            incoming: Incoming::default(),
            spin: Spin::default(),
            runs: 0,
            inputs: None,
            outputs: None,
            copies,
            rests: Instant::now(),
        }
    }

    async fn go(&mut self, run: Run<'_>) -> Result<Vec<Tensor>, RunEnd> {
        let link = self.link.clone();
        let _running = link.running();
        self.runs += 1;
        let (session, number) = (self.session, self.runs);
        let stop: Stop = {
            let link = link.clone();
            Arc::new(move || link.stop(session, number))
        };
        let stoppable = run.cancel.running(&stop)?;
        let parcel = match self.parcel(&run).await {
            Ok(parcel) => parcel,
            Err(error) => {
                // The child never hears of regions that were to go with it.
                self.inputs = None;
                self.outputs = None;
                return Err(error);
            }
        };
        let limit = Instant::now() + self.options.limit;
        let answer = match timeout_at(limit.into(), self.answer(parcel)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => return Err(self.lost(&e)),
            Err(_) => {
                link.child().kill(Killed::Overrun);
                let SessionOptions { graph, limit, .. } = &*self.options;
                return Err(RunEnd::Overrun(NnError::Ended(format!(
                    "a run of graph `{graph}` went on for {limit:.0?}, its model's limit, and its \
                     process was ended"
                ))));
            }
        };
        drop(stoppable);
        let result = self.outputs(&run, answer, limit).await;
        self.rests = Instant::now();
        match result {
            // What a run gives that was stopped is an error of some kind.
            Err(RunEnd::Failed(_)) if run.cancel.is_cancelled() => {
                Err(RunEnd::Failed(NnError::Cancelled))
            }
            result => result,
        }
    }

    /// The number of a tensor that this child has.
    fn kept(&self, tensor: &Tensor) -> Option<u64> {
        tensor.away()?.keeper().downcast_ref::<Kept>()?.number_at(&self.link)
    }

    /// A run, with its inputs in the region, but for those that the child has.
    async fn parcel(&mut self, run: &Run<'_>) -> Result<Parcel, RunEnd> {
        let mut parcel = Parcel::default();
        let mut kept = Vec::with_capacity(run.inputs.len());
        for (_, tensor) in run.inputs {
            let number = self.kept(tensor);
            if number.is_none() {
                tensor.fetch().await?;
            }
            kept.push(number);
        }
        let lengths = run.inputs.iter().zip(&kept).map(|((_, tensor), kept)| match kept {
            Some(_) => 0,
            None => tensor.byte_length(),
        });
        let laid_out = lay_out(lengths);
        let (offsets, bytes) = laid_out.ok_or_else(|| failed(&"its inputs are too large"))?;
        if self.inputs.as_ref().is_none_or(|region| region.length() < bytes) {
            // Before there is another one: there may be room for one only.
            self.inputs = None;
            let (region, descriptor) = InputRegion::new(bytes, &self.options.ledger)?;
            self.inputs = Some(region);
            parcel.add(&ToSession::Inputs { here: true })?;
            parcel.descriptors.push(descriptor);
        }
        if self.outputs.is_none() {
            self.new_outputs(0, &mut parcel)?;
        }
        let mut inputs = Vec::with_capacity(run.inputs.len());
        for (((position, tensor), offset), kept) in run.inputs.iter().zip(offsets).zip(kept) {
            let place = match kept {
                Some(number) => Place::Kept { number },
                None => {
                    let region = self.inputs.as_mut();
                    if !region.is_some_and(|region| region.write(offset, tensor.data())) {
                        return Err(failed(&"an input has no room"));
                    }
                    Place::Region { offset: offset as u64 }
                }
            };
            let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
            let length = tensor.byte_length() as u64;
            let tensor = Placed { dtype, shape, length, place };
            inputs.push(Input { position: *position as u32, tensor });
        }
        let outputs = run.outputs.iter().map(|at| *at as u32).collect();
        let may_stay = run.may_stay;
        parcel.add(&ToSession::Run { run: self.runs, inputs, outputs, may_stay })?;
        Ok(parcel)
    }

    fn new_outputs(&mut self, bytes: usize, parcel: &mut Parcel) -> Result<(), RunEnd> {
        self.outputs = None;
        let (region, descriptor) = OutputRegion::new(bytes, &self.options.ledger)?;
        self.outputs = Some(region);
        parcel.add(&ToSession::Outputs { here: true })?;
        parcel.descriptors.push(descriptor);
        Ok(())
    }

    /// Sends a parcel and waits for the answer, on this thread's own runtime.
    async fn answer(&mut self, parcel: Parcel) -> io::Result<FromSession> {
        let here = Handle::current().id();
        if self.watched.as_ref().is_none_or(|(runtime, _)| *runtime != here) {
            self.watched = None;
            self.watched = Some((here, Watched::from_std(self.socket.try_clone()?)?));
        }
        self.send(parcel).await?;
        let Self { watched: Some((_, socket)), incoming, spin, .. } = self else {
            return Err(not_watched());
        };
        let mut begins = true;
        loop {
            if let Some(answer) = incoming.message()? {
                return Ok(answer);
            }
            // Its beginning is waited for awake: what is left of it comes at once.
            let soon = match std::mem::take(&mut begins) {
                true => spin.wait_between(|| receive_now(socket, incoming).transpose()).await,
                false => None,
            };
            let read = match soon {
                Some(read) => read?,
                None => receive(socket, incoming).await?,
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// What an answer comes to: tensors, once they are copied and checked.
    async fn outputs(
        &mut self,
        run: &Run<'_>,
        mut answer: FromSession,
        limit: Instant,
    ) -> Result<Vec<Tensor>, RunEnd> {
        if let FromSession::TooLarge { bytes } = answer {
            let most = self.options.max_output;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let mut parcel = Parcel::default();
            if bytes > most {
                parcel.add(&ToSession::Forget)?;
                let sent = self.send(parcel).await;
                sent.map_err(|e| self.lost(&e))?;
                return Err(RunEnd::Failed(NnError::Memory(format!(
                    "the graph's outputs take {bytes} bytes, the limit is {most} (memory)"
                ))));
            }
            self.new_outputs(bytes, &mut parcel)?;
            parcel.add(&ToSession::Again)?;
            answer = match timeout_at(limit.into(), self.answer(parcel)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(e)) => return Err(self.lost(&e)),
                Err(_) => return Err(self.nonsense()),
            };
        }
        match answer {
            FromSession::Outputs(placed) => {
                self.read(run, placed).map_err(|not_taken| match not_taken {
                    NotTaken::Nonsense => self.nonsense(),
                    NotTaken::NoRoom(no_room) => RunEnd::Failed(no_room.into()),
                })
            }
            FromSession::Failed(e) => Err(RunEnd::Failed(e)),
            FromSession::TooLarge { .. } => Err(self.nonsense()),
        }
    }

    async fn send(&mut self, parcel: Parcel) -> io::Result<()> {
        let (_, socket) = self.watched.as_ref().ok_or_else(not_watched)?;
        let descriptors: Vec<_> = parcel.descriptors.iter().map(AsFd::as_fd).collect();
        send_all(socket, &parcel.bytes, &descriptors).await
    }

    /// Copies outputs out of the region.
    fn read(&self, run: &Run<'_>, placed: Vec<Placed>) -> Result<Vec<Tensor>, NotTaken> {
        let SessionOptions { outputs, max_output, .. } = &*self.options;
        let dtypes: Vec<DType> =
            run.outputs.iter().filter_map(|at| outputs.get(*at).copied()).collect();
        let expected = Expected {
            dtypes: &dtypes,
            region: self.outputs.as_ref(),
            copies: &self.copies,
            may_stay: run.may_stay,
            most: *max_output,
        };
        answer::outputs(placed, &expected, |number, length| {
            Arc::new(Kept::new(self.link.clone(), number, length))
        })
    }

    fn nonsense(&self) -> RunEnd {
        self.link.nonsense();
        RunEnd::Lost
    }

    /// The socket ended, mostly with the child: who keeps the graph sees to one that goes on.
    fn lost(&self, error: &io::Error) -> RunEnd {
        tracing::debug!(graph = self.options.graph, "a session is lost: {error}");
        match error.kind() {
            io::ErrorKind::InvalidData => self.nonsense(),
            _ => RunEnd::Lost,
        }
    }
}

impl Runner for ChildSession {
    fn run<'a>(&'a mut self, run: Run<'a>) -> Going<'a, Result<Vec<Tensor>, RunEnd>> {
        Box::pin(self.go(run))
    }

    fn rest(&mut self, since: Duration) {
        if self.rests.elapsed() < since {
            return;
        }
        self.copies.clear();
        let mut parcel = Parcel::default();
        if self.inputs.as_ref().is_some_and(|region| region.length() > KEPT)
            && parcel.add(&ToSession::Inputs { here: false }).is_ok()
        {
            self.inputs = None;
        }
        if self.outputs.as_ref().is_some_and(|region| region.length() > KEPT)
            && parcel.add(&ToSession::Outputs { here: false }).is_ok()
        {
            self.outputs = None;
        }
        if parcel.bytes.is_empty() {
            return;
        }
        use std::io::Write;
        // An idle session's socket has room; if not, the child has ended, or is not right.
        if (&self.socket).write_all(&parcel.bytes).is_err() {
            self.link.nonsense();
        }
    }
}
