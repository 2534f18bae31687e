//! Calls that belong together: those of one sequence meet one instance of the model, in their order, and no
//! other calls do. A fresh instance for each sequence, thrown away at its end, so that no caller inherits what
//! another one left.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex as TurnMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    time::timeout_at,
};

use crate::{
    details::SequencePlace,
    sandbox::Instance,
    schedule::{PoolError, WorkerId},
};

use super::RunError;

/// Why a call of a sequence is not answered.
#[derive(Debug, thiserror::Error)]
pub enum SequenceError {
    #[error(
        "there is no sequence `{0}`: its first call must say that it starts, and one that failed, \
         whose caller left, or that was idle for long has ended"
    )]
    Unknown(String),
    #[error("{0} sequences and sessions are open, the most there may be (max_sequences)")]
    Full(usize),
    #[error("{0} calls of the sequence wait already (max_queue)")]
    Busy(usize),
}

/// How many sequences a model may have.
#[derive(Clone, Copy, Debug)]
pub struct SequenceLimits {
    /// Sequences and sessions that are open at once.
    pub most: usize,
    /// A sequence without calls for so long ends.
    pub idle: Duration,
    /// Calls of one sequence that wait for those before them.
    pub queue: usize,
}

/// The open sequences of a model.
pub struct Sequences {
    limits: SequenceLimits,
    slots: Arc<Semaphore>,
    /// By id. Those that have ended stay until somebody looks for them, or for room.
    open: Mutex<HashMap<String, Arc<Sequence>>>,
}

/// One sequence, or one session, which is a sequence without an id.
pub struct Sequence {
    /// Where its instance is.
    pub worker: WorkerId,
    seat: Arc<TurnMutex<Seat>>,
    /// Calls that have it or wait for it.
    calls: AtomicUsize,
    last_call: Mutex<Instant>,
    _slot: OwnedSemaphorePermit,
}

/// What a call of a sequence has to itself.
pub struct Seat {
    /// None before the first call, and while a call has it.
    instance: Option<Instance>,
    /// Nothing can be called any more.
    ended: bool,
}

/// A call's turn.
pub struct Turn {
    seat: OwnedMutexGuard<Seat>,
    _counted: Counted,
}

/// A call of a sequence, counted until it has ended.
struct Counted(Arc<Sequence>);

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.last_call() = Instant::now();
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turn {
    /// The instance, for this call alone. Unless it is given back, the sequence has ended.
    pub fn take(&mut self) -> Option<Instance> {
        self.seat.ended = true;
        self.seat.instance.take()
    }

    /// Gives it back for the next call.
    pub fn keep(&mut self, instance: Instance) {
        self.seat.ended = false;
        self.seat.instance = Some(instance);
    }
}

impl Sequence {
    fn last_call(&self) -> MutexGuard<'_, Instant> {
        self.last_call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the calls before this one.
    pub async fn turn(
        self: &Arc<Self>,
        id: &str,
        queue: usize,
        deadline: Instant,
    ) -> Result<Turn, RunError> {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(self.clone());
        if before > queue {
            return Err(SequenceError::Busy(queue).into());
        }
        let seat = timeout_at(deadline.into(), self.seat.clone().lock_owned()).await;
        let seat = seat.map_err(|_| RunError::Pool(PoolError::Late))?;
        if seat.ended {
            return Err(SequenceError::Unknown(id.to_owned()).into());
        }
        Ok(Turn { seat, _counted: counted })
    }

    /// Whether no call can find it of use any more.
    fn is_over(&self, now: Instant, idle: Duration) -> bool {
        self.calls.load(Ordering::Relaxed) == 0
            && (*self.last_call() + idle <= now
                || self.seat.try_lock().is_ok_and(|seat| seat.ended))
    }
}

impl Sequences {
    pub fn new(limits: SequenceLimits) -> Self {
        let slots = Arc::new(Semaphore::new(limits.most.min(Semaphore::MAX_PERMITS)));
        Self { limits, slots, open: Mutex::default() }
    }

    pub fn limits(&self) -> SequenceLimits {
        self.limits
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.limits.most.saturating_sub(self.slots.available_permits())
    }

    /// The sequence of a call that came to worker `home`: a new one where the call starts it.
    pub fn find(
        &self,
        place: &SequencePlace,
        home: WorkerId,
    ) -> Result<Arc<Sequence>, SequenceError> {
        if place.start {
            // It may be there from before: what it holds makes room.
            drop(self.open().remove(&place.id));
            let sequence = self.begin(home)?;
            self.open().insert(place.id.clone(), sequence.clone());
            return Ok(sequence);
        }
        let found = self.open().get(&place.id).cloned();
        let found = found.filter(|sequence| !sequence.is_over(Instant::now(), self.limits.idle));
        found.ok_or_else(|| SequenceError::Unknown(place.id.clone()))
    }

    /// A sequence that nobody else can find.
    pub fn begin(&self, home: WorkerId) -> Result<Arc<Sequence>, SequenceError> {
        let slot = self.slots.clone().try_acquire_owned().or_else(|_| {
            self.sweep();
            self.slots.clone().try_acquire_owned()
        });
        let slot = slot.map_err(|_| SequenceError::Full(self.limits.most))?;
        Ok(Arc::new(Sequence {
            worker: home,
            seat: Arc::new(TurnMutex::new(Seat { instance: None, ended: false })),
            calls: AtomicUsize::new(0),
            last_call: Mutex::new(Instant::now()),
            _slot: slot,
        }))
    }

    /// Its last call has ended.
    pub fn end(&self, id: &str, ended: &Arc<Sequence>) {
        let mut open = self.open();
        if open.get(id).is_some_and(|sequence| Arc::ptr_eq(sequence, ended)) {
            let sequence = open.remove(id);
            drop(open);
            drop(sequence);
        }
    }

    /// Lets go of those that have ended or were idle for long.
    pub fn sweep(&self) {
        let now = Instant::now();
        let over: Vec<_> = {
            let mut open = self.open();
            open.extract_if(|_, sequence| sequence.is_over(now, self.limits.idle)).collect()
        };
        // After the lock.
        drop(over);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Sequence>>> {
        // Nothing between lock and unlock can leave it half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
