//! A component that answers for a model: a lease and an instance first, then the answer; and calls
//! refused for a while after too many failures.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    breaker::Breaker,
    data::{Input, Output},
    details::Details,
    fair::Flow,
    sandbox::{Asks, CallError, Guest, Instance, Load},
    schedule::{Factory, Lease, Pool, PoolError, WorkerId},
};

use super::{
    Call, RunError,
    call::outcome,
    others::{Callable, Others},
    outcome::Verdict,
    sequences::{Sequence, SequenceError, SequenceLimits, Sequences, Turn},
};

impl Factory for Guest {
    type Instance = Instance;
    type Error = CallError;

    async fn create(&self) -> Result<Instance, CallError> {
        self.instantiate().await
    }

    fn one_call_each(&self) -> bool {
        self.fresh()
    }

    fn grown_by(instance: &Instance) -> Option<usize> {
        instance.grown_by()
    }
}

/// What a component answers with.
pub struct ComponentOptions {
    /// The model's name, for the log.
    pub name: String,
    /// The model among those that share workers and graphs.
    pub flow: Flow,
    /// The longest that a call may take, waiting included.
    pub timeout: Duration,
    /// So many failures in a row, and calls are refused for a while.
    pub max_failures: usize,
    /// Told when the model begins to be refused: health follows it.
    pub refusing: Arc<Notify>,
    /// Whether calls with a sequence id meet one instance: as the model says.
    pub keeps_state: bool,
    pub sequences: SequenceLimits,
    /// The models that it may call.
    pub callable: Callable,
}

/// The instances of a component, and whether calls are let through to them.
pub struct Component {
    options: ComponentOptions,
    pool: Arc<Pool<Guest>>,
    /// Opened by failures in a row, so that a broken model costs its callers nothing.
    breaker: Breaker,
    /// How often it has opened.
    openings: AtomicU64,
    sequences: Sequences,
}

impl Component {
    pub fn new(pool: Arc<Pool<Guest>>, options: ComponentOptions) -> Self {
        let breaker = Breaker::new(options.max_failures);
        let sequences = Sequences::new(options.sequences);
        Self { options, pool, breaker, openings: AtomicU64::new(0), sequences }
    }

    /// Which details of a call its component can ask for.
    pub fn asks(&self) -> Asks {
        self.pool.factory().asks
    }

    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    pub fn pool(&self) -> &Pool<Guest> {
        &self.pool
    }

    /// How long calls are still refused; None where they are let through.
    pub fn refuses(&self) -> Option<Duration> {
        self.breaker.refuses(Instant::now())
    }

    /// How often it began to refuse calls.
    pub fn openings(&self) -> u64 {
        self.openings.load(Ordering::Relaxed)
    }

    pub(super) async fn run(&self, input: Input, call: Call<'_>) -> Result<Output, RunError> {
        let place = call.details.as_ref().and_then(|details| details.sequence.clone());
        let Some(place) = place.filter(|_| self.options.keeps_state) else {
            return self.on_instance(One(input), call).await;
        };
        let sequence = self.sequences.find(&place, call.home)?;
        let answer = self.in_sequence(&sequence, &place.id, One(input), call).await;
        if place.end || matches!(answer, Err(RunError::Sequence(SequenceError::Unknown(_)))) {
            self.sequences.end(&place.id, &sequence);
        }
        answer
    }

    pub(super) async fn run_batch(
        &self,
        inputs: Vec<Input>,
        call: Call<'_>,
    ) -> Result<Vec<Output>, RunError> {
        self.on_instance(Several(inputs), call).await
    }

    /// A sequence of calls that come in one session, on worker `home`.
    pub(super) fn begin_session(&self, home: WorkerId) -> Result<Arc<Sequence>, RunError> {
        Ok(self.sequences.begin(home)?)
    }

    /// Answers one request of a session.
    pub(super) async fn run_in_session(
        &self,
        session: &Arc<Sequence>,
        input: Input,
        call: Call<'_>,
    ) -> Result<Output, RunError> {
        self.in_sequence(session, "", One(input), call).await
    }

    /// Asks an instance as soon as there is one: here if it is on the caller's worker, else on the
    /// worker that it is on.
    async fn on_instance<Q: Question>(
        &self,
        question: Q,
        call: Call<'_>,
    ) -> Result<Q::Answer, RunError> {
        if let Some(left) = self.refuses() {
            return Err(RunError::Refused(left));
        }
        let Asking { home, deadline, args, details } = self.asking(call);
        let asked = |lease| ask_leased(lease, question, args, details, deadline);
        let answer = self.pool.run(home, deadline, self.options.flow, asked).await;
        let answer = answer.map_err(RunError::Pool).flatten();
        self.judge(outcome(&answer, self.options.timeout).verdict());
        answer
    }

    /// Asks the instance of a sequence, after the calls before this one.
    async fn in_sequence<Q: Question>(
        &self,
        sequence: &Arc<Sequence>,
        id: &str,
        question: Q,
        call: Call<'_>,
    ) -> Result<Q::Answer, RunError> {
        if let Some(left) = self.refuses() {
            return Err(RunError::Refused(left));
        }
        let Asking { home, deadline, args, details } = self.asking(call);
        let turn = sequence.turn(id, self.sequences.limits().queue, deadline).await?;
        let pool = self.pool.clone();
        let asked = ask_in_turn(pool, turn, question, args, details, deadline);
        let answer = self.pool.run_beside(home, sequence.worker, self.options.flow, asked).await;
        let answer = answer.ok_or(RunError::Pool(PoolError::Lost)).flatten();
        self.judge(outcome(&answer, self.options.timeout).verdict());
        answer
    }

    /// What of a call goes to the instance, wherever that is.
    fn asking(&self, call: Call<'_>) -> Asking {
        let Call { home, deadline, args, mut details, chain } = call;
        let Callable { names, .. } = &self.options.callable;
        if self.asks().models && !names.is_empty() {
            let others = Others::new(&self.options.callable, home, &self.options.name, chain);
            details.get_or_insert_default().others = Some(others);
        }
        Asking { home, deadline, args: args.to_owned(), details }
    }

    fn judge(&self, verdict: Verdict) {
        match verdict {
            Verdict::Healthy => self.breaker.success(),
            Verdict::Failing if self.breaker.failure(Instant::now()) => {
                tracing::error!(model = %self.options.name,
                    "refused for a while: too many calls failed in a row");
                self.openings.fetch_add(1, Ordering::Relaxed);
                self.options.refusing.notify_one();
            }
            Verdict::Failing | Verdict::Unknown => {}
        }
    }
}

/// What of a call goes to an instance.
struct Asking {
    home: WorkerId,
    deadline: Instant,
    args: String,
    details: Option<Box<Details>>,
}

/// What an instance is asked.
trait Question: Send + 'static {
    type Answer: Send + 'static;

    /// Bytes of its data.
    fn bytes(&self) -> usize;

    fn ask(
        self,
        instance: &mut Instance,
        args: &str,
        details: Option<Box<Details>>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;
}

/// One request.
struct One(Input);

/// The requests of one batch call.
struct Several(Vec<Input>);

impl Question for One {
    type Answer = Output;

    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    async fn ask(
        self,
        instance: &mut Instance,
        args: &str,
        details: Option<Box<Details>>,
        deadline: Instant,
    ) -> Result<Output, CallError> {
        instance.run(self.0, args, details, deadline).await
    }
}

impl Question for Several {
    type Answer = Vec<Output>;

    fn bytes(&self) -> usize {
        self.0.iter().map(Input::bytes).fold(0, usize::saturating_add)
    }

    async fn ask(
        self,
        instance: &mut Instance,
        args: &str,
        details: Option<Box<Details>>,
        deadline: Instant,
    ) -> Result<Vec<Output>, CallError> {
        instance.run_batch(self.0, args, details, deadline).await
    }
}

/// Sees that there is room for what a call takes.
async fn begin(lease: &mut Lease<Guest>, load: Load) -> Result<(), RunError> {
    let instance = lease.instance().await.map_err(RunError::Start)?;
    instance.begin(load).map_err(|no_room| RunError::Guest(no_room.into()))
}

/// Asks the leased instance, on its worker.
async fn ask_leased<Q: Question>(
    mut lease: Lease<Guest>,
    question: Q,
    args: String,
    details: Option<Box<Details>>,
    deadline: Instant,
) -> Result<Q::Answer, RunError> {
    match lease.instance().await {
        // Other models' idle instances make room for a second try.
        Err(CallError::PoolFull | CallError::NoRoom(_)) => lease.make_room(),
        Err(error) => return Err(RunError::Start(error)),
        Ok(_) => {}
    }
    let load = Load::of(question.bytes());
    if begin(&mut lease, load).await.is_err() {
        // Of the server's memory, too.
        lease.make_room();
        if let Err(error) = begin(&mut lease, load).await {
            // It has not been asked anything.
            lease.keep();
            return Err(error);
        }
    }
    let instance = lease.instance().await.map_err(RunError::Start)?;
    let answer = question.ask(instance, &args, details, deadline).await;
    let answer = answer.map_err(RunError::Guest);
    // After an answer, the model's own error included, the instance is kept; a trap or a time-out may
    // have left it half way, so it goes.
    let answered = outcome(&answer, Duration::MAX).verdict() == Verdict::Healthy;
    if answered && instance.reusable() {
        lease.keep();
    }
    answer
}

/// Asks the instance of a sequence, on its worker; makes it for the first call. An error that may have left it
/// half way ends the sequence, as a caller does who leaves.
async fn ask_in_turn<Q: Question>(
    pool: Arc<Pool<Guest>>,
    mut turn: Turn,
    question: Q,
    args: String,
    details: Option<Box<Details>>,
    deadline: Instant,
) -> Result<Q::Answer, RunError> {
    let mut instance = match turn.take() {
        Some(instance) => instance,
        None => match pool.factory().create().await {
            Ok(instance) => instance,
            Err(CallError::PoolFull | CallError::NoRoom(_)) => {
                // Other models' idle instances make room for a second try.
                pool.make_room();
                pool.factory().create().await.map_err(RunError::Start)?
            }
            Err(error) => return Err(RunError::Start(error)),
        },
    };
    let load = Load::of(question.bytes());
    if instance.begin(load).is_err() {
        pool.make_room();
        if let Err(no_room) = instance.begin(load) {
            // It has not been asked anything.
            turn.keep(instance);
            return Err(RunError::Guest(no_room.into()));
        }
    }
    let answer = question.ask(&mut instance, &args, details, deadline).await;
    let answer = answer.map_err(RunError::Guest);
    let answered = outcome(&answer, Duration::MAX).verdict() == Verdict::Healthy;
    if answered && instance.may_go_on() {
        turn.keep(instance);
    }
    answer
}
