//! A component that answers for a model: a lease and an instance first, then the answer; and calls
//! refused for a while after too many failures.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    breaker::Breaker,
    data::{Input, Output},
    sandbox::{CallError, Guest, Instance},
    schedule::{Factory, Lease, Pool},
};

use super::{Call, Model, RunError, model::call_outcome, outcome::Verdict};

impl Factory for Guest {
    type Instance = Instance;
    type Error = CallError;

    async fn create(&self) -> Result<Instance, CallError> {
        self.instantiate().await
    }
}

/// The instances of a component, and whether calls are let through to them.
pub struct Component {
    pool: Arc<Pool<Guest>>,
    /// Opened by failures in a row, so that a broken model costs its callers nothing.
    breaker: Breaker,
    /// Told when the breaker opens: health follows it.
    opened: Arc<Notify>,
    /// How often it has opened.
    openings: std::sync::atomic::AtomicU64,
}

impl Component {
    /// Opens its breaker after `max_failures` in a row, and tells `opened`.
    pub fn new(pool: Arc<Pool<Guest>>, max_failures: usize, opened: Arc<Notify>) -> Self {
        Self { pool, breaker: Breaker::new(max_failures), opened, openings: 0.into() }
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
        self.openings.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) async fn run(
        &self,
        model: &Model,
        input: Input,
        call: Call<'_>,
    ) -> Result<Output, RunError> {
        self.on_instance(model, One(input), call).await
    }

    pub(super) async fn run_batch(
        &self,
        model: &Model,
        inputs: Vec<Input>,
        call: Call<'_>,
    ) -> Result<Vec<Output>, RunError> {
        self.on_instance(model, Several(inputs), call).await
    }

    /// Asks an instance as soon as there is one: here if it is on the caller's worker, else on the
    /// worker that it is on.
    async fn on_instance<Q: Question>(
        &self,
        model: &Model,
        question: Q,
        call: Call<'_>,
    ) -> Result<Q::Answer, RunError> {
        if let Some(left) = self.refuses() {
            return Err(RunError::Refused(left));
        }
        let lease = self.pool.lease(call.home, call.deadline).await?;
        let worker = lease.worker();
        let (args, deadline) = (call.args.to_owned(), call.deadline);
        let asked = ask(lease, question, args, deadline);
        let workers = self.pool.workers();
        let answer = workers.run(call.home, worker, self.pool.member(), asked).await;
        let answer = answer.unwrap_or(Err(RunError::Lost));
        if self.pool.factory().fresh() {
            let pool = self.pool.clone();
            workers.spawn(worker, async move { pool.prepare(worker).await }).detach();
        }
        self.judge(model, call_outcome(&answer, model.timeout).verdict());
        answer
    }

    fn judge(&self, model: &Model, verdict: Verdict) {
        match verdict {
            Verdict::Healthy => self.breaker.success(),
            Verdict::Failing if self.breaker.failure(Instant::now()) => {
                tracing::error!(model = %model.name,
                    "refused for a while: too many calls failed in a row");
                self.openings.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                self.opened.notify_one();
            }
            Verdict::Failing | Verdict::Unknown => {}
        }
    }
}

/// What an instance is asked.
trait Question: Send + 'static {
    type Answer: Send + 'static;

    fn ask(
        self,
        instance: &mut Instance,
        args: &str,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;
}

/// One request.
struct One(Input);

/// The requests of one batch call.
struct Several(Vec<Input>);

impl Question for One {
    type Answer = Output;

    async fn ask(
        self,
        instance: &mut Instance,
        args: &str,
        deadline: Instant,
    ) -> Result<Output, CallError> {
        instance.run(self.0, args, deadline).await
    }
}

impl Question for Several {
    type Answer = Vec<Output>;

    async fn ask(
        self,
        instance: &mut Instance,
        args: &str,
        deadline: Instant,
    ) -> Result<Vec<Output>, CallError> {
        instance.run_batch(self.0, args, deadline).await
    }
}

/// Asks the leased instance, on its worker.
async fn ask<Q: Question>(
    mut lease: Lease<Guest>,
    question: Q,
    args: String,
    deadline: Instant,
) -> Result<Q::Answer, RunError> {
    match lease.instance().await {
        // Other models' idle instances make room for a second try.
        Err(CallError::PoolFull) => lease.make_room(),
        Err(error) => return Err(RunError::Start(error)),
        Ok(_) => {}
    }
    let instance = lease.instance().await.map_err(RunError::Start)?;
    let answer = question.ask(instance, &args, deadline).await.map_err(RunError::Guest);
    // After an answer, the model's own error included, the instance is kept; a trap or a time-out may
    // have left it half way, so it goes.
    let answered = call_outcome(&answer, Duration::MAX).verdict() == Verdict::Healthy;
    if answered && instance.reusable() {
        lease.keep();
    }
    answer
}
