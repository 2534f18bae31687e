//! What runs a graph, as those see it who have runs to give: one session, on a thread of this process or
//! in a child.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{LoadError, NnError, Tensor, cancel::Cancel, job::Job};

/// Something that goes on and can be waited for.
pub type Going<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One session: it has one run at a time.
pub trait Runner: Send {
    /// Computes the outputs at the positions that the run wants, in that order.
    fn run<'a>(&'a mut self, run: Run<'a>) -> Going<'a, Result<Vec<Tensor>, RunEnd>>;

    /// Gives back what it keeps for its next run, if the last one ended `since` ago or earlier. It does not
    /// wait.
    fn rest(&mut self, _since: Duration) {}
}

/// What is to be run. Names, types and shapes have been checked.
pub struct Run<'a> {
    /// By position, in the order of positions.
    pub inputs: &'a [(usize, Tensor)],
    /// Positions of those that are wanted, in the order wanted.
    pub outputs: &'a [usize],
    /// Large outputs may stay where they are computed.
    pub may_stay: bool,
    /// Whether anybody still wants it.
    pub cancel: &'a Arc<Cancel>,
}

/// How a run ended without outputs.
#[derive(Debug)]
pub enum RunEnd {
    Failed(NnError),
    /// Its process ended: it can be run again elsewhere.
    Lost,
    /// It went on after its time, and its process was ended for that.
    Overrun(NnError),
}

impl From<NnError> for RunEnd {
    fn from(error: NnError) -> Self {
        Self::Failed(error)
    }
}

/// Where a graph's runners come from.
pub trait RunnerSource: Send + Sync {
    /// A further one, whose runs use `threads` threads of their own.
    fn runner(&self, threads: usize) -> Going<'_, Result<Box<dyn Runner>, LoadError>>;

    /// Why no call is taken now.
    fn refuses(&self) -> Option<NnError>;

    /// A run was answered.
    fn answered(&self);

    /// The process ended that these were run in. They are run again when there is one again.
    fn lost(&self, jobs: Vec<Job>);

    /// A run went on after its time.
    fn overran(&self);
}
