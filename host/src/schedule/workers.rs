//! The workers: a thread each, with a runtime of its own that serves the connections homed on it
//! and runs their guests, and a second one where calls that compute for long go on. See
//! docs/decisions/002-worker-runtime.md for why.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    fair::{Flow, Flows},
    ledger::Spare,
};

use super::fair::{QueuedCall, RunQueue};

/// A call that has computed for so long goes on in the background, where short calls do not wait
/// for it.
const FOREGROUND: Duration = Duration::from_millis(5);
/// How far the background gives way to the workers (a thread's nice value, 0 to 19).
const NICE: i32 = 10;

/// Index of a worker, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(pub usize);

/// A fixed number of workers; connections are homed on them in turn.
pub struct Workers {
    workers: Vec<Worker>,
    /// The next connection's home.
    next: AtomicUsize,
    /// Of the models that compute on them, which share graphs, too.
    flows: Flows,
    /// The instances of every model, to make room when one more does not fit. A pool that is gone is
    /// forgotten when the next one comes.
    pools: Mutex<Vec<Weak<dyn IdleInstances>>>,
    /// Every thread ends with the first change, or when this is gone.
    running: watch::Sender<()>,
}

/// A model's idle instances, whatever they are instances of.
pub trait IdleInstances: Send + Sync {
    /// Drops those that no call has needed since the last sweep.
    fn sweep(&self);
    /// Drops those that have grown, as they hold memory that others want, until `bytes` are free. Gives
    /// the bytes that are.
    fn shed(&self, bytes: usize) -> usize;
    /// Drops all.
    fn clear(&self);
}

impl Spare for Workers {
    fn give_back(&self, bytes: usize) {
        let mut free = 0;
        for pool in self.pools() {
            if free >= bytes {
                return;
            }
            free += pool.shed(bytes - free);
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("workers", &self.workers).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Worker {
    /// Serves the connections, and runs each call at first.
    foreground: Thread,
    /// A thread of lower priority, for calls that compute for long.
    background: Thread,
    /// Calls on it, suspended ones included.
    load: AtomicUsize,
}

/// A thread with a runtime of its own, and the calls that are ready to compute on it.
#[derive(Debug)]
struct Thread {
    runtime: Handle,
    queue: Arc<RunQueue>,
}

impl Workers {
    /// Starts `count` workers, at least one.
    pub fn start(count: usize) -> io::Result<Arc<Self>> {
        let (running, stopped) = watch::channel(());
        let worker = |index| {
            let thread = |name: String, nice: i32| {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    // What is done beside the workers takes long.
                    .on_thread_start(|| give_way(NICE))
                    .build()?;
                let handle = runtime.handle().clone();
                let mut stopped = stopped.clone();
                thread::Builder::new().name(name).spawn(move || {
                    give_way(nice);
                    // A change or the sender's end: both mean stop. Tasks end with their runtime.
                    let _ = runtime.block_on(stopped.changed());
                })?;
                io::Result::Ok(Thread { runtime: handle, queue: Arc::default() })
            };
            Ok(Worker {
                foreground: thread(format!("tms-worker-{index}"), 0)?,
                background: thread(format!("tms-long-{index}"), NICE)?,
                load: AtomicUsize::new(0),
            })
        };
        let workers = (0..count.max(1)).map(worker).collect::<io::Result<_>>()?;
        Ok(Arc::new(Self {
            workers,
            next: AtomicUsize::new(0),
            flows: Flows::default(),
            pools: Mutex::default(),
            running,
        }))
    }

    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// All of them, from 0.
    pub fn ids(&self) -> impl Iterator<Item = WorkerId> {
        (0..self.count()).map(WorkerId)
    }

    /// A model joins those that share the workers.
    pub fn join(&self, weight: u32) -> Flow {
        self.flows.open(weight)
    }

    pub(super) fn register(&self, pool: Weak<dyn IdleInstances>) {
        // Nothing between lock and unlock can leave it half changed.
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(pool);
    }

    /// Drops the idle instances that nobody has needed for a while, of all models.
    pub fn sweep_idle(&self) {
        self.pools().iter().for_each(|pool| pool.sweep());
    }

    /// Drops all idle instances of all models.
    pub fn clear_idle(&self) {
        self.pools().iter().for_each(|pool| pool.clear());
    }

    /// Those that are there now; used without the lock, since dropping instances takes a while.
    fn pools(&self) -> Vec<Arc<dyn IdleInstances>> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).collect()
    }

    /// The home of a new connection: n connections in a row see n workers.
    pub fn next_home(&self) -> WorkerId {
        WorkerId(self.next.fetch_add(1, Ordering::Relaxed) % self.count())
    }

    /// The id that GetPID gives: different for every worker, and after a restart too.
    pub fn pid(&self, worker: WorkerId) -> u64 {
        u64::from(std::process::id()) * 10_000 + worker.0 as u64
    }

    /// Where a worker's tasks run.
    pub fn runtime(&self, worker: WorkerId) -> Handle {
        self.worker(worker).foreground.runtime.clone()
    }

    /// Runs a task on a worker. Dropping the handle ends it.
    pub fn spawn<F>(&self, worker: WorkerId, task: F) -> AbortOnDropHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        AbortOnDropHandle::new(self.worker(worker).foreground.runtime.spawn(task))
    }

    /// Runs a call of `flow` that came on worker `home` on `worker`, in turn with other models; in
    /// the background of that one once it has computed for long. None where the worker has ended.
    pub async fn run<F>(
        &self,
        home: WorkerId,
        worker: WorkerId,
        flow: Flow,
        mut call: Pin<Box<F>>,
    ) -> Option<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let Worker { foreground, background, .. } = self.worker(worker);
        let queue = foreground.queue.clone();
        if worker == home {
            if let Some(output) = computing(&mut call, queue, flow, FOREGROUND).await {
                return Some(output);
            }
        } else {
            let there = self.spawn(worker, async move {
                let output = computing(&mut call, queue, flow, FOREGROUND).await;
                (call, output)
            });
            let output;
            (call, output) = there.await.ok()?;
            if output.is_some() {
                return output;
            }
        }
        let queue = background.queue.clone();
        let long = async move { computing(&mut call, queue, flow, Duration::MAX).await };
        AbortOnDropHandle::new(background.runtime.spawn(long)).await.ok()?
    }

    fn worker(&self, worker: WorkerId) -> &Worker {
        &self.workers[worker.0 % self.count()]
    }

    /// Where a call runs: at home if that has nothing to do, else on the least busy worker that
    /// has `room`, the nearest to home where several are. None where none has room.
    pub fn choose(&self, home: WorkerId, room: impl Fn(WorkerId) -> bool) -> Option<WorkerId> {
        if self.load(home) == 0 && room(home) {
            return Some(home);
        }
        let count = self.count();
        (0..count)
            .map(|step| WorkerId((home.0 + step) % count))
            .filter(|worker| room(*worker))
            .min_by_key(|worker| self.load(*worker))
    }

    fn load(&self, worker: WorkerId) -> usize {
        self.worker(worker).load.load(Ordering::Relaxed)
    }

    /// Counts a call on a worker until the value is dropped.
    pub fn enter(self: &Arc<Self>, worker: WorkerId) -> RunningCall {
        let workers = self.clone();
        workers.workers[worker.0].load.fetch_add(1, Ordering::Relaxed);
        RunningCall { workers, worker }
    }

    /// Ends the workers' threads and every task on them.
    pub fn stop(&self) {
        self.running.send_replace(());
    }
}

/// Sets this thread's nice value.
fn give_way(nice: i32) {
    // On Linux a thread has its own. Where it cannot be set, all are equal.
    let _ = rustix::process::setpriority_process(None, nice);
}

/// Runs a call, when it is its turn, until it ends or has computed for `most`: then None.
async fn computing<F: Future>(
    call: &mut Pin<Box<F>>,
    queue: Arc<RunQueue>,
    flow: Flow,
    most: Duration,
) -> Option<F::Output> {
    let mut queued = QueuedCall::new(queue, flow);
    let mut computed = Duration::ZERO;
    poll_fn(|context| {
        let (polled, spent) = queued.poll(context, |context| call.as_mut().poll(context));
        computed = computed.saturating_add(spent);
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if computed >= most => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A call on a worker.
pub struct RunningCall {
    workers: Arc<Workers>,
    worker: WorkerId,
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.workers.workers[self.worker.0].load.fetch_sub(1, Ordering::Relaxed);
    }
}
