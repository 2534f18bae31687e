//! A call to a model: a permit and an instance first, then the model's answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    admin::metrics::Outcome,
    data::{Input, Kind, Output},
    fair::Flow,
    nn::{ComputeRequest, Computed, Graph, NnError},
    repository::Catalogue,
    sandbox::{CallError, Guest},
    schedule::{Lease, Pool, PoolError, WorkerId},
};

use super::{Model, model::Body};

/// Why a call failed. `grpc::status` maps each to a gRPC status.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the model takes {accepts}, not {got}")]
    Unaccepted { accepts: String, got: &'static str },
    #[error(transparent)]
    Guest(#[from] CallError),
    /// A fresh instance did not start.
    #[error("a fresh instance did not start: {0}")]
    Start(CallError),
    #[error("the model failed too often just before; calls are let through again in {0:.1?}")]
    Refused(Duration),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Graph(NnError),
    #[error("the deadline passed while the graph ran")]
    GraphLate,
    #[error("the worker ended before it answered")]
    Lost,
}

impl RunError {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Unaccepted { .. } | Self::Guest(CallError::Caller(_)) => Outcome::Caller,
            Self::Guest(CallError::Model(_)) => Outcome::Model,
            Self::Guest(CallError::Server(_)) | Self::Lost => Outcome::Server,
            Self::Guest(CallError::Trap(_)) => Outcome::Trap,
            Self::Guest(CallError::Timeout(_)) | Self::GraphLate => Outcome::Timeout,
            Self::Guest(CallError::Cpu(_)) => Outcome::Cpu,
            Self::Guest(CallError::PoolFull) | Self::Start(CallError::PoolFull) => Outcome::Full,
            Self::Guest(CallError::Start(_)) | Self::Start(_) => Outcome::Start,
            Self::Pool(PoolError::Full(_)) | Self::Graph(NnError::Busy(_)) => Outcome::Full,
            Self::Pool(PoolError::Late) => Outcome::Late,
            Self::Refused(_) => Outcome::Unavailable,
            Self::Graph(NnError::InvalidInput(_)) => Outcome::Caller,
            Self::Graph(NnError::Cancelled) => Outcome::Cancelled,
            Self::Graph(NnError::Runtime(_) | NnError::Broken(_)) => Outcome::Graph,
        }
    }
}

/// Where and until when a call runs.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The worker of the caller's connection.
    pub home: WorkerId,
    pub deadline: Instant,
    /// JSON; `{}` where the caller gave none.
    pub args: &'a str,
}

impl Catalogue {
    /// Answers one request. `outputs` names the graph outputs that are wanted of a bare graph, all
    /// where it is empty; a component decides itself.
    pub async fn run(
        self: &Arc<Self>,
        model: &Model,
        input: Input,
        outputs: &[String],
        call: Call<'_>,
    ) -> Result<Output, RunError> {
        let answer = async {
            model.check(input.kind())?;
            match &model.body {
                Body::Component(pool) => {
                    let answers = self.on_instance(model, pool, Job::One(input), call).await?;
                    Ok(answers.into_iter().next().unwrap_or_default())
                }
                Body::Graph(graph) => {
                    compute(graph, input, outputs, model.flow, call.deadline).await
                }
            }
        };
        counted(model, answer).await
    }

    /// Answers the requests of one batch call, all of one kind: one output for each.
    pub async fn run_batch(
        self: &Arc<Self>,
        model: &Model,
        kind: Kind,
        inputs: Vec<Input>,
        call: Call<'_>,
    ) -> Result<Vec<Output>, RunError> {
        let answers = async {
            model.check(kind)?;
            match &model.body {
                Body::Component(pool) if !inputs.is_empty() => {
                    self.on_instance(model, pool, Job::Batch(inputs), call).await
                }
                // Nothing to ask a model for; and no bare graph takes texts or images.
                _ => Ok(Vec::new()),
            }
        };
        counted(model, answers).await
    }

    /// Runs a job on an instance as soon as there is one: here if it is on the caller's worker,
    /// else on the worker that it is on.
    async fn on_instance(
        self: &Arc<Self>,
        model: &Model,
        pool: &Arc<Pool<Guest>>,
        job: Job,
        call: Call<'_>,
    ) -> Result<Vec<Output>, RunError> {
        if let Some(left) = model.breaker.refuses(Instant::now()) {
            return Err(RunError::Refused(left));
        }
        let lease = pool.lease(call.home, call.deadline).await?;
        let worker = lease.worker();
        let (args, deadline) = (call.args.to_owned(), call.deadline);
        let work = work(self.clone(), lease, job, args, deadline);
        let workers = pool.workers();
        let result = workers.run(call.home, worker, model.flow, work).await;
        let result = result.unwrap_or(Err(RunError::Lost));
        if pool.factory().fresh() {
            let pool = pool.clone();
            workers.spawn(worker, async move { pool.prepare(worker).await }).detach();
        }
        if failed(&result, model.timeout) && model.breaker.failure(Instant::now()) {
            tracing::error!(model = %model.name, "refused for a while: too many calls failed in a row");
            model.outcomes.refusals.inc();
            self.tripped.notify_one();
        } else if answered(&result) {
            model.breaker.success();
        }
        result
    }
}

/// Waits for an answer and counts what became of the call, also where nobody waits any more.
async fn counted<T>(
    model: &Model,
    answer: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    let pending = model.outcomes.begin();
    let answer = answer.await;
    pending.end(answer.as_ref().map_or_else(RunError::outcome, |_| Outcome::Ok));
    answer
}

/// The instance did its work, though it may have said no.
fn answered<T>(result: &Result<T, RunError>) -> bool {
    use CallError::{Caller, Model, Server};
    matches!(result, Ok(_) | Err(RunError::Guest(Caller(_) | Model(_) | Server(_))))
}

/// The model's own failure. Running out of time is one where it had most of its limit: an impatient
/// caller is no reason to refuse others.
fn failed<T>(result: &Result<T, RunError>, limit: Duration) -> bool {
    match result {
        Err(RunError::Start(error)) => !matches!(error, CallError::PoolFull),
        Err(RunError::Guest(CallError::Timeout(had))) => had.saturating_mul(2) >= limit,
        Err(RunError::Guest(error)) => matches!(error, CallError::Trap(_) | CallError::Cpu(_)),
        _ => false,
    }
}

/// What an instance is asked for.
enum Job {
    One(Input),
    Batch(Vec<Input>),
}

/// Runs a job on its worker: one result for each input.
async fn work(
    catalogue: Arc<Catalogue>,
    mut lease: Lease<Guest>,
    job: Job,
    args: String,
    deadline: Instant,
) -> Result<Vec<Output>, RunError> {
    match lease.instance().await {
        // Other models' idle instances make room for a second try.
        Err(CallError::PoolFull) => catalogue.clear(),
        Err(error) => return Err(RunError::Start(error)),
        Ok(_) => {}
    }
    let instance = lease.instance().await.map_err(RunError::Start)?;
    let result: Result<_, RunError> = match job {
        Job::One(input) => {
            instance.run(input, &args, deadline).await.map(|o| vec![o]).map_err(Into::into)
        }
        Job::Batch(inputs) => instance.run_batch(inputs, &args, deadline).await.map_err(Into::into),
    };
    // After an answer, the model's own error included, the instance is kept; a trap or a time-out
    // may have left it half way, so it goes.
    if answered(&result) && instance.reusable() {
        lease.keep();
    }
    result
}

async fn compute(
    graph: &Graph,
    input: Input,
    outputs: &[String],
    flow: Flow,
    deadline: Instant,
) -> Result<Output, RunError> {
    let inputs = match input {
        Input::Tensors(tensors) => tensors,
        // `check` let only tensors through.
        Input::Text(_) | Input::Image(_) => Vec::new(),
    };
    let run = graph.compute(ComputeRequest { inputs, outputs, flow, deadline });
    match tokio::time::timeout_at(deadline.into(), run).await {
        Ok(Ok(Computed { tensors, batch_size })) => {
            Ok(Output { json: None, tensors, batch: batch_size })
        }
        Ok(Err(error)) => Err(RunError::Graph(error)),
        Err(_) => Err(RunError::GraphLate),
    }
}
