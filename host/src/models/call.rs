//! A call to a model: a permit and an instance first, then the model's answer.

use std::{sync::Arc, time::Instant};

use crate::{
    data::{Input, Kind, Output},
    nn::{Graph, NnError},
    sandbox::{CallError, Guest},
    schedule::{Lease, Pool, PoolError, WorkerId},
};

use super::{Catalogue, Model, model::Body};

/// Why a call failed. `grpc::status` maps each to a gRPC status.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the model takes {accepts}, not {got}")]
    Unaccepted { accepts: String, got: &'static str },
    #[error(transparent)]
    Guest(#[from] CallError),
    #[error("the model's queue is full: {0} calls wait (max_queue)")]
    Full(usize),
    #[error("the deadline passed while the call waited for an instance")]
    Late,
    #[error(transparent)]
    Graph(NnError),
    #[error("the deadline passed while the graph ran")]
    GraphLate,
    #[error("the worker ended before it answered")]
    Lost,
}

impl From<PoolError> for RunError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Full(waiting) => Self::Full(waiting),
            PoolError::Late => Self::Late,
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
        model.check(input.kind())?;
        match &model.body {
            Body::Component(pool) => {
                let answers = self.on_instance(pool, Job::One(input), call).await?;
                Ok(answers.into_iter().next().unwrap_or_default())
            }
            Body::Graph(graph) => compute(graph, input, outputs, call.deadline).await,
        }
    }

    /// Answers the requests of one batch call, all of one kind: one output for each.
    pub async fn run_batch(
        self: &Arc<Self>,
        model: &Model,
        kind: Kind,
        inputs: Vec<Input>,
        call: Call<'_>,
    ) -> Result<Vec<Output>, RunError> {
        model.check(kind)?;
        match &model.body {
            Body::Component(pool) if !inputs.is_empty() => {
                self.on_instance(pool, Job::Batch(inputs), call).await
            }
            // Nothing to ask a model for; and no bare graph takes texts or images.
            _ => Ok(Vec::new()),
        }
    }

    /// Runs a job on an instance as soon as there is one: here if it is on the caller's worker,
    /// else on the worker that it is on.
    async fn on_instance(
        self: &Arc<Self>,
        pool: &Arc<Pool<Guest>>,
        job: Job,
        call: Call<'_>,
    ) -> Result<Vec<Output>, RunError> {
        let lease = pool.lease(call.home, call.deadline).await?;
        let worker = lease.worker();
        let (args, deadline) = (call.args.to_owned(), call.deadline);
        let work = work(self.clone(), lease, job, args, deadline);
        if worker == call.home {
            return work.await;
        }
        let elsewhere = pool.workers().spawn(worker, work);
        elsewhere.await.unwrap_or(Err(RunError::Lost))
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
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    let instance = lease.instance().await?;
    let result = match job {
        Job::One(input) => instance.run(input, &args, deadline).await.map(|o| vec![o]),
        Job::Batch(inputs) => instance.run_batch(inputs, &args, deadline).await,
    };
    // After an answer, the model's own error included, the instance is kept; a trap or a time-out
    // may have left it half way, so it goes.
    use CallError::{Caller, Model, Server};
    if matches!(&result, Ok(_) | Err(Caller(_) | Model(_) | Server(_))) {
        lease.keep();
    }
    Ok(result?)
}

async fn compute(
    graph: &Graph,
    input: Input,
    outputs: &[String],
    deadline: Instant,
) -> Result<Output, RunError> {
    let tensors = match input {
        Input::Tensors(tensors) => tensors,
        // `check` let only tensors through.
        Input::Text(_) | Input::Image(_) => Vec::new(),
    };
    let run = graph.compute(tensors, outputs);
    match tokio::time::timeout_at(deadline.into(), run).await {
        Ok(Ok(tensors)) => Ok(Output { json: None, tensors }),
        Ok(Err(error)) => Err(RunError::Graph(error)),
        Err(_) => Err(RunError::GraphLate),
    }
}
