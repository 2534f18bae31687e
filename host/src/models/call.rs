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
}

impl From<PoolError<CallError>> for RunError {
    fn from(error: PoolError<CallError>) -> Self {
        match error {
            PoolError::Full(waiting) => Self::Full(waiting),
            PoolError::Late => Self::Late,
            PoolError::Create(error) => Self::Guest(error),
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
        &self,
        model: &Model,
        input: Input,
        outputs: &[String],
        call: Call<'_>,
    ) -> Result<Output, RunError> {
        model.check(input.kind())?;
        match &model.body {
            Body::Component(pool) => {
                let mut lease = self.lease(pool, call).await?;
                let result = match lease.instance() {
                    Some(instance) => instance.run(input, call.args, call.deadline).await,
                    None => Err(CallError::PoolFull),
                };
                settle(lease, result)
            }
            Body::Graph(graph) => compute(graph, input, outputs, call.deadline).await,
        }
    }

    /// Answers the requests of one batch call, all of one kind: one output for each.
    pub async fn run_batch(
        &self,
        model: &Model,
        kind: Kind,
        inputs: Vec<Input>,
        call: Call<'_>,
    ) -> Result<Vec<Output>, RunError> {
        model.check(kind)?;
        // Nothing to ask a model for; and no bare graph takes texts or images.
        let (Body::Component(pool), false) = (&model.body, inputs.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut lease = self.lease(pool, call).await?;
        let result = match lease.instance() {
            Some(instance) => instance.run_batch(inputs, call.args, call.deadline).await,
            None => Err(CallError::PoolFull),
        };
        settle(lease, result)
    }

    /// An instance; where the sandbox is full, other models' idle instances make room first.
    async fn lease(
        &self,
        pool: &Arc<Pool<Guest>>,
        call: Call<'_>,
    ) -> Result<Lease<Guest>, RunError> {
        let lease = match pool.lease(call.home, call.deadline).await {
            Err(PoolError::Create(CallError::PoolFull)) => {
                for pool in self.ready().filter_map(|model| model.pool()) {
                    pool.clear();
                }
                pool.lease(call.home, call.deadline).await
            }
            lease => lease,
        };
        Ok(lease?)
    }
}

/// Keeps the instance after an answer, the model's own error included; a trap or a time-out may
/// have left it half way, so it goes.
fn settle<T>(lease: Lease<Guest>, result: Result<T, CallError>) -> Result<T, RunError> {
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
        Ok(Ok(tensors)) => Ok(Output {
            json: None,
            tensors,
        }),
        Ok(Err(error)) => Err(RunError::Graph(error)),
        Err(_) => Err(RunError::GraphLate),
    }
}
