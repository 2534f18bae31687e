//! A call to a model, and how one can fail.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    details::Details,
    nn::NnError,
    sandbox::CallError,
    schedule::{PoolError, WorkerId},
};

use super::{others::Chain, outcome::Outcome, sequences::SequenceError};

/// Where and until when a call runs.
pub struct Call<'a> {
    /// The worker of the caller's connection.
    pub home: WorkerId,
    pub deadline: Instant,
    /// JSON; `{}` where the caller gave none.
    pub args: &'a str,
    /// What it has beside its data: mostly nothing.
    pub details: Option<Box<Details>>,
    /// The models that have it made, where it is one that a model makes.
    pub chain: Option<Arc<Chain>>,
}

/// Why a call failed; the message is for the caller.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the model takes {accepts}, not {got}")]
    Unaccepted { accepts: String, got: &'static str },
    /// A tensor that the model does not take, or an output that it does not give.
    #[error("{0}")]
    Unfit(String),
    #[error(transparent)]
    Guest(#[from] CallError),
    #[error("a fresh instance did not start: {0}")]
    Start(CallError),
    #[error("the model failed too often just before; calls are let through again in {0:.1?}")]
    Refused(Duration),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    #[error(transparent)]
    Graph(NnError),
    #[error("the deadline passed while the call waited for the graph, or while the graph ran")]
    GraphLate {
        /// The time that the call had.
        had: Duration,
    },
}

/// How a call ended, to a model whose limit of time is `limit`.
pub fn outcome<T>(answer: &Result<T, RunError>, limit: Duration) -> Outcome {
    match answer {
        Ok(_) => Outcome::Ok,
        Err(error) => error.outcome(limit),
    }
}

impl RunError {
    /// How the call ended, to a model whose limit of time is `limit`.
    pub fn outcome(&self, limit: Duration) -> Outcome {
        let late = |had: Duration| match had.saturating_mul(2) >= limit {
            true => Outcome::Timeout,
            false => Outcome::Deadline,
        };
        match self {
            Self::Unaccepted { .. } | Self::Unfit(_) => Outcome::Unfit,
            Self::Refused(_) => Outcome::Unavailable,
            Self::Sequence(SequenceError::Full(_) | SequenceError::Busy(_)) => Outcome::Full,
            Self::Sequence(SequenceError::Unknown(_)) => Outcome::Unfit,
            Self::Pool(PoolError::Full(_)) => Outcome::Full,
            Self::Pool(PoolError::Lost) => Outcome::Lost,
            Self::Pool(PoolError::Late) => Outcome::Late,
            Self::Guest(error) => match error {
                CallError::Caller(_) => Outcome::Caller,
                CallError::Model(_) => Outcome::Model,
                CallError::Server(_) => Outcome::Server,
                CallError::Trap(_) => Outcome::Trap,
                CallError::Timeout(had) => late(*had),
                CallError::Cpu(_) => Outcome::Cpu,
                CallError::Start(_) => Outcome::StartLate,
                CallError::PoolFull => Outcome::Full,
                CallError::NoRoom(_) => Outcome::NoRoom,
            },
            Self::Start(error) => match error {
                CallError::PoolFull => Outcome::Full,
                CallError::NoRoom(_) => Outcome::NoRoom,
                CallError::Start(_) | CallError::Timeout(_) | CallError::Cpu(_) => {
                    Outcome::StartLate
                }
                CallError::Caller(_)
                | CallError::Model(_)
                | CallError::Server(_)
                | CallError::Trap(_) => Outcome::Start,
            },
            Self::Graph(error) => match error {
                NnError::InvalidInput(_) => Outcome::Unfit,
                NnError::Busy(_) => Outcome::Full,
                NnError::Cancelled => Outcome::Cancelled,
                NnError::Runtime(_) | NnError::Broken(_) => Outcome::Graph,
                NnError::Ended(_) => Outcome::GraphEnded,
                NnError::Memory(_) => Outcome::GraphMemory,
                NnError::NoRoom(_) => Outcome::NoRoom,
                NnError::Refused(_) => Outcome::Unavailable,
            },
            Self::GraphLate { had } => late(*had),
        }
    }
}
