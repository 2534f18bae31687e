//! What became of a call: the one classification of its end. Its label in the metrics and what it means to
//! the breaker stand here; `grpc::status` has the status that the caller sees.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an ended call says about the model's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An instance did its work, though it may have said no.
    Healthy,
    /// The model's own failure.
    Failing,
    /// It says nothing: the caller left or was wrong, or the call never reached an instance.
    Unknown,
}

macro_rules! outcomes {
    ($($(#[$doc:meta])* $outcome:ident $label:literal $verdict:ident,)*) => {
        /// How a call ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Outcome { $($(#[$doc])* $outcome,)* }

        impl Outcome {
            pub const ALL: &[Self] = &[$(Self::$outcome,)*];

            /// Its name in the metrics.
            pub fn label(self) -> &'static str {
                match self { $(Self::$outcome => $label,)* }
            }

            pub fn verdict(self) -> Verdict {
                match self { $(Self::$outcome => Verdict::$verdict,)* }
            }
        }
    };
}

outcomes! {
    Ok "ok" Healthy,
    /// The request does not fit what the model says that it takes, or asks for an output that it does not
    /// give.
    Unfit "unfit" Unknown,
    /// The model says that the request is wrong.
    Caller "caller" Healthy,
    /// The model says that it failed, or broke a rule of its interface.
    Model "model" Healthy,
    /// The model says that the server lacks something.
    Server "server" Healthy,
    /// The worker ended before it answered.
    Lost "lost" Unknown,
    Trap "trap" Failing,
    /// No answer within the model's limit, or within at least half of it.
    Timeout "timeout" Failing,
    /// No answer within the caller's deadline, which left the model less than half of its limit: an
    /// impatient caller is no reason to refuse others.
    Deadline "deadline" Unknown,
    /// No answer within the model's limit of CPU time.
    Cpu "cpu" Failing,
    /// A fresh instance did not start.
    Start "start" Failing,
    /// A fresh instance did not start in time.
    StartLate "start_late" Failing,
    /// Refused: too many waited, or there was no room for an instance.
    Full "full" Unknown,
    /// The server's memory was taken.
    NoRoom "no_room" Unknown,
    /// The deadline passed in the queue.
    Late "late" Unknown,
    /// The caller left.
    Cancelled "cancelled" Unknown,
    /// Refused: the model failed too often just before.
    Unavailable "unavailable" Unknown,
    /// The native run failed.
    Graph "graph" Unknown,
    /// The native run ended its process, also when it was alone there; or it went on after the model's
    /// time.
    GraphEnded "graph_ended" Unknown,
    /// The native run needed more memory than it may take.
    GraphMemory "graph_memory" Unknown,
}

/// How many of one model's calls ended in each way.
#[derive(Debug)]
pub struct Outcomes(Vec<AtomicU64>);

impl Default for Outcomes {
    fn default() -> Self {
        Self(Outcome::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Outcomes {
    /// A call begins. It counts as cancelled unless [`Pending::end`] says otherwise.
    pub fn begin(&self) -> Pending<'_> {
        Pending { outcomes: self, outcome: Outcome::Cancelled }
    }

    /// Calls that ended like this so far.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }
}

/// A call that has not ended.
pub struct Pending<'a> {
    outcomes: &'a Outcomes,
    outcome: Outcome,
}

impl Pending<'_> {
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.outcomes.0[self.outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_counts_once() {
        let outcomes = Outcomes::default();
        outcomes.begin().end(Outcome::Trap);
        drop(outcomes.begin());
        let counts: Vec<_> = Outcome::ALL.iter().map(|outcome| outcomes.count(*outcome)).collect();
        assert_eq!(counts.iter().sum::<u64>(), 2);
        assert_eq!(outcomes.count(Outcome::Trap), 1);
        assert_eq!(outcomes.count(Outcome::Cancelled), 1);
    }

    #[test]
    fn labels_differ() {
        let mut labels: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Outcome::ALL.len());
    }
}
