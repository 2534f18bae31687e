//! A model's instances on all workers. A call takes a lease on its home worker, or on the least busy
//! one where home is at work; where all are taken it waits in the model's queue, earliest deadline
//! first. Instances are made on demand, kept for the next call, and dropped when they have long been
//! idle.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::oneshot;

use crate::{
    edf::{Edf, Ticket},
    fair::Flow,
};

use super::{
    WorkerId, Workers,
    workers::{IdleInstances, RunningCall},
};

/// Makes instances: the sandbox in the server, something simpler in tests.
pub trait Factory: Send + Sync + 'static {
    type Instance: Send;
    type Error;

    fn create(&self) -> impl Future<Output = Result<Self::Instance, Self::Error>> + Send;

    /// Whether an instance answers one call only: then the next one is made ahead of the next call.
    fn one_call_each(&self) -> bool {
        false
    }

    /// Bytes that an instance takes and a new one does not, where they are many.
    fn grown_by(_: &Self::Instance) -> Option<usize> {
        None
    }
}

/// How far a model may spread.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Instances, and so calls in flight, on each worker.
    pub instances: usize,
    /// Calls that wait for one of them; further ones are refused at once.
    pub queue: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("the model's queue is full: {0} calls wait (max_queue)")]
    Full(usize),
    #[error("the deadline passed while the call waited for an instance")]
    Late,
    #[error("the worker ended before it answered")]
    Lost,
}

pub struct Pool<F: Factory> {
    factory: F,
    limits: PoolLimits,
    workers: Arc<Workers>,
    state: Mutex<PoolState<F>>,
    /// Calls whose callers left while they waited.
    left: AtomicU64,
    /// Calls that have an instance of their own, beside the pool's.
    beside: AtomicUsize,
}

struct PoolState<F: Factory> {
    /// By the workers' ids.
    by_worker: Vec<WorkerInstances<F::Instance>>,
    /// Calls that found no lease.
    queue: Edf<Waiter<F>>,
}

/// A call that waits.
struct Waiter<F: Factory> {
    home: WorkerId,
    /// Where its lease is to come.
    sender: oneshot::Sender<Lease<F>>,
}

/// One worker's instances.
struct WorkerInstances<I> {
    /// Leases that calls hold.
    leased: usize,
    /// Used last in, first out, so that the ones at the front grow old.
    idle: Vec<I>,
    /// How many were never needed since the last sweep.
    unneeded: usize,
}

impl<I> WorkerInstances<I> {
    fn none() -> Self {
        Self { leased: 0, idle: Vec::new(), unneeded: 0 }
    }
}

impl<F: Factory> Pool<F> {
    pub fn new(factory: F, workers: Arc<Workers>, limits: PoolLimits) -> Arc<Self> {
        let limits = PoolLimits { instances: limits.instances.max(1), ..limits };
        let by_worker = workers.ids().map(|_| WorkerInstances::none()).collect();
        let pool = Arc::new(Self {
            factory,
            limits,
            workers,
            state: Mutex::new(PoolState { by_worker, queue: Edf::new(limits.queue) }),
            left: AtomicU64::new(0),
            beside: AtomicUsize::new(0),
        });
        let weak = Arc::downgrade(&pool);
        pool.workers.register(weak);
        pool
    }

    /// Runs a call of `flow` that came on worker `home`: waits for a lease, and runs `work` with it, in
    /// turn with other models, on the worker that the lease is for.
    pub async fn run<W>(
        self: &Arc<Self>,
        home: WorkerId,
        deadline: Instant,
        flow: Flow,
        work: impl FnOnce(Lease<F>) -> W,
    ) -> Result<W::Output, PoolError>
    where
        W: Future<Output: Send> + Send + 'static,
    {
        let lease = self.lease(home, deadline).await?;
        let worker = lease.worker();
        // Boxed at once: it may go on elsewhere, and is large to move.
        let work = Box::pin(work(lease));
        let output = self.workers.run(home, worker, flow, work).await;
        if self.factory.one_call_each() {
            let pool = self.clone();
            self.workers.spawn(worker, async move { pool.prepare(worker).await }).detach();
        }
        output.ok_or(PoolError::Lost)
    }

    /// Runs `work` that has an instance of its own, beside the pool's, on `worker`, in turn with other models.
    /// None where the worker has ended.
    pub async fn run_beside<W>(
        &self,
        home: WorkerId,
        worker: WorkerId,
        flow: Flow,
        work: W,
    ) -> Option<W::Output>
    where
        W: Future<Output: Send> + Send + 'static,
    {
        let _load = self.workers.enter(worker);
        let _beside = Beside::count(&self.beside);
        self.workers.run(home, worker, flow, Box::pin(work)).await
    }

    /// Drops the idle instances of all models on these workers, so that another one can be made.
    pub fn make_room(&self) {
        self.workers.clear_idle();
    }

    /// A lease for one call on one of the workers, as soon as there is one. To be used on that
    /// worker. Fails at once where the queue is full, and at the deadline.
    pub async fn lease(
        self: &Arc<Self>,
        home: WorkerId,
        deadline: Instant,
    ) -> Result<Lease<F>, PoolError> {
        let (lease, ticket) = {
            let mut state = self.state();
            if let Some(lease) = self.try_lease(&mut state, home) {
                return Ok(lease);
            }
            let (sender, lease) = oneshot::channel();
            let ticket = state.queue.push(deadline, Waiter { home, sender });
            (lease, ticket.map_err(|_| PoolError::Full(self.limits.queue))?)
        };
        let waiting = Waiting { pool: self, ticket: Some(ticket) };
        let lease = tokio::time::timeout_at(deadline.into(), lease).await;
        waiting.ended();
        match lease {
            Ok(Ok(lease)) => Ok(lease),
            // The sender is dropped with the pool only; a time-out is what is left.
            Ok(Err(_)) | Err(_) => Err(PoolError::Late),
        }
    }

    /// A lease on one of the workers, where there is room.
    fn try_lease(self: &Arc<Self>, state: &mut PoolState<F>, home: WorkerId) -> Option<Lease<F>> {
        let room = |worker: WorkerId| state.by_worker[worker.0].leased < self.limits.instances;
        let worker = self.workers.choose(home, room)?;
        let instances = &mut state.by_worker[worker.0];
        instances.leased += 1;
        let instance = instances.idle.pop();
        instances.unneeded = instances.unneeded.min(instances.idle.len());
        let load = self.workers.enter(worker);
        Some(Lease { pool: self.clone(), worker, instance, load: Some(load) })
    }

    /// A call has left `worker`: its lease goes to the next that waits.
    fn release(self: &Arc<Self>, worker: WorkerId, instance: Option<F::Instance>) {
        let mut state = self.state();
        let instances = &mut state.by_worker[worker.0];
        instances.leased -= 1;
        instances.idle.extend(instance);
        let next = match state.queue.is_empty() {
            true => None,
            false => state.queue.pop(Instant::now()),
        };
        let Some(waiter) = next else { return };
        let lease = self.try_lease(&mut state, waiter.home);
        drop(state);
        if let Some(lease) = lease {
            // One that has just left drops its lease here, which serves the next.
            let _ = waiter.sender.send(lease);
        }
    }

    /// Makes an instance for the next call, unless one is idle already: a model that never uses one
    /// twice has its fresh one ready.
    async fn prepare(&self, worker: WorkerId) {
        let ready =
            self.state().by_worker.get(worker.0).is_none_or(|instances| !instances.idle.is_empty());
        if !ready && let Ok(instance) = self.factory.create().await {
            self.stock(worker, instance);
        }
    }

    /// Puts an instance made elsewhere among a worker's idle ones.
    pub fn stock(&self, worker: WorkerId, instance: F::Instance) {
        let mut state = self.state();
        if let Some(instances) = state.by_worker.get_mut(worker.0) {
            instances.idle.push(instance);
        }
    }

    fn evict(&self, which: impl FnMut(&mut WorkerInstances<F::Instance>) -> Vec<F::Instance>) {
        let old: Vec<_> = self.state().by_worker.iter_mut().flat_map(which).collect();
        // Dropped here, after the lock.
        drop(old);
    }

    pub fn factory(&self) -> &F {
        &self.factory
    }

    /// Calls that wait for a lease.
    pub fn waiting(&self) -> usize {
        self.state().queue.len()
    }

    /// Calls whose callers left while they waited, so far.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Calls that have an instance: leases, on all workers, and instances of their own.
    pub fn busy(&self) -> usize {
        let leased: usize = self.state().by_worker.iter().map(|instances| instances.leased).sum();
        leased + self.beside.load(Ordering::Relaxed)
    }

    /// Instances kept for the next call, on all workers.
    pub fn idle(&self) -> usize {
        self.state().by_worker.iter().map(|instances| instances.idle.len()).sum()
    }

    fn state(&self) -> MutexGuard<'_, PoolState<F>> {
        // Nothing between lock and unlock can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Factory> IdleInstances for Pool<F> {
    /// Drops the instances that no call has needed since the last sweep; each worker keeps one, unless that
    /// has grown.
    fn sweep(&self) {
        self.evict(|instances| {
            let mut unused = instances.unneeded;
            let last = instances.idle.last();
            if unused == instances.idle.len() && last.is_none_or(|last| F::grown_by(last).is_none())
            {
                unused = unused.saturating_sub(1);
            }
            let old = instances.idle.drain(..unused).collect();
            instances.unneeded = instances.idle.len();
            old
        });
    }

    fn shed(&self, bytes: usize) -> usize {
        let mut free = 0usize;
        self.evict(|instances| {
            let goes = |instance: &mut F::Instance| {
                let grown = F::grown_by(instance).filter(|_| free < bytes);
                free = free.saturating_add(grown.unwrap_or_default());
                grown.is_some()
            };
            let grown = instances.idle.extract_if(.., goes).collect();
            instances.unneeded = instances.unneeded.min(instances.idle.len());
            grown
        });
        free
    }

    /// Drops all idle instances.
    fn clear(&self) {
        self.evict(|instances| {
            instances.unneeded = 0;
            std::mem::take(&mut instances.idle)
        });
    }
}

/// A call beside the pool's instances, counted until it ends, however it does.
struct Beside<'a>(&'a AtomicUsize);

impl<'a> Beside<'a> {
    fn count(calls: &'a AtomicUsize) -> Self {
        calls.fetch_add(1, Ordering::Relaxed);
        Self(calls)
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call in the queue. Its caller may leave before it is served.
struct Waiting<'a, F: Factory> {
    pool: &'a Pool<F>,
    ticket: Option<Ticket>,
}

impl<F: Factory> Waiting<'_, F> {
    /// It was served, or its deadline has passed.
    fn ended(mut self) {
        if let Some(ticket) = self.ticket.take() {
            let waiter = self.pool.state().queue.remove(&ticket);
            drop(waiter);
        }
    }
}

impl<F: Factory> Drop for Waiting<'_, F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.pool.left.fetch_add(1, Ordering::Relaxed);
            let waiter = self.pool.state().queue.remove(&ticket);
            drop(waiter);
        }
    }
}

/// The right of one call to one instance. Dropping it throws the instance away, which is right
/// for a call that failed or was given up; [`Lease::keep`] gives it back.
pub struct Lease<F: Factory> {
    pool: Arc<Pool<F>>,
    worker: WorkerId,
    /// None until the first use where no idle one was there.
    instance: Option<F::Instance>,
    /// None once it has been given back.
    load: Option<RunningCall>,
}

impl<F: Factory> Lease<F> {
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// The instance: an idle one, or a fresh one.
    pub async fn instance(&mut self) -> Result<&mut F::Instance, F::Error> {
        let instance = match self.instance.take() {
            Some(instance) => instance,
            // Seldom, and large: not a part of every call.
            None => Box::pin(self.pool.factory.create()).await?,
        };
        Ok(self.instance.insert(instance))
    }

    /// Drops the idle instances of all models on these workers, so that another one can be made.
    pub fn make_room(&self) {
        self.pool.make_room();
    }

    /// Gives the instance back for the next call.
    pub fn keep(mut self) {
        let instance = self.instance.take();
        self.load = None;
        self.pool.release(self.worker, instance);
    }
}

impl<F: Factory> Drop for Lease<F> {
    fn drop(&mut self) {
        // The instance goes first, so that whoever is next finds its room free.
        drop(self.instance.take());
        if self.load.take().is_some() {
            self.pool.release(self.worker, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use super::*;

    /// Numbers its instances.
    #[derive(Default)]
    struct Counter(AtomicUsize);

    /// From this number on they have grown.
    const GROWN: usize = 9;

    impl Factory for Counter {
        type Instance = usize;
        type Error = Infallible;

        fn grown_by(number: &usize) -> Option<usize> {
            number.checked_sub(GROWN).map(|_| 100)
        }

        async fn create(&self) -> Result<usize, Infallible> {
            Ok(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    const HOME: WorkerId = WorkerId(0);

    fn pool(workers: usize, instances: usize, queue: usize) -> Arc<Pool<Counter>> {
        let workers = Workers::start(workers).unwrap();
        let limits = PoolLimits { instances, queue };
        Pool::new(Counter::default(), workers, limits)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// A lease whose instance has been used, and the instance's number.
    async fn used(pool: &Arc<Pool<Counter>>) -> (Lease<Counter>, usize) {
        let mut lease = pool.lease(HOME, soon()).await.unwrap();
        let number = *lease.instance().await.unwrap();
        (lease, number)
    }

    #[tokio::test]
    async fn an_instance_is_reused_at_home() {
        let pool = pool(2, 2, 0);
        for _ in 0..3 {
            let (lease, number) = used(&pool).await;
            assert_eq!((lease.worker(), number), (HOME, 0));
            lease.keep();
        }
    }

    #[tokio::test]
    async fn a_busy_home_sends_calls_to_the_least_busy_worker() {
        let pool = pool(3, 2, 0);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(pool.lease(HOME, soon()).await.unwrap());
        }
        let workers: Vec<_> = held.iter().map(|lease| lease.worker().0).collect();
        assert_eq!(workers, [0, 1, 2, 0, 1, 2]);
    }

    #[tokio::test]
    async fn another_model_keeps_a_worker_busy_too() {
        let one = pool(2, 2, 0);
        let limits = one.limits;
        let other = Pool::new(Counter::default(), one.workers.clone(), limits);
        let _held = one.lease(HOME, soon()).await.unwrap();
        assert_eq!(other.lease(HOME, soon()).await.unwrap().worker(), WorkerId(1));
    }

    #[tokio::test]
    async fn a_dropped_lease_throws_its_instance_away() {
        let pool = pool(1, 1, 0);
        drop(used(&pool).await);
        let (lease, number) = used(&pool).await;
        assert_eq!(number, 1);
        drop(lease);
        assert_eq!((pool.busy(), pool.idle()), (0, 0));
    }

    #[tokio::test]
    async fn a_prepared_instance_is_the_next_and_the_only_one() {
        let pool = pool(1, 2, 0);
        pool.prepare(HOME).await;
        pool.prepare(HOME).await;
        assert_eq!(pool.idle(), 1);
        assert_eq!(used(&pool).await.1, 0);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let pool = pool(1, 1, 1);
        let (held, _) = used(&pool).await;
        let other = pool.clone();
        let waits = tokio::spawn(async move { other.lease(HOME, soon()).await.map(Lease::keep) });
        while pool.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = pool.lease(HOME, soon()).await;
        assert!(matches!(refused, Err(PoolError::Full(1))));
        held.keep();
        waits.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_call_that_waits_ends_at_its_deadline() {
        let pool = pool(1, 1, 1);
        let _held = pool.lease(HOME, soon()).await.unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        let late = pool.lease(HOME, deadline).await;
        assert!(matches!(late, Err(PoolError::Late)));
        assert!(Instant::now() >= deadline);
        assert_eq!(pool.waiting(), 0);
    }

    #[tokio::test]
    async fn the_earliest_deadline_is_served_first() {
        let pool = pool(1, 1, 3);
        let (held, _) = used(&pool).await;
        let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
        for minutes in [3, 1, 2] {
            let (pool, sender, before) = (pool.clone(), sender.clone(), pool.waiting());
            let deadline = Instant::now() + Duration::from_secs(60 * minutes);
            let waiting = pool.clone();
            tokio::spawn(async move {
                let lease = pool.lease(HOME, deadline).await.unwrap();
                sender.send(minutes).unwrap();
                lease.keep();
            });
            while waiting.waiting() == before {
                tokio::task::yield_now().await;
            }
        }
        held.keep();
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(served.recv().await.unwrap());
        }
        assert_eq!(order, [1, 2, 3]);
    }

    #[tokio::test]
    async fn callers_that_leave_are_passed_over_and_counted() {
        let pool = pool(1, 1, 2);
        let (held, number) = used(&pool).await;
        {
            let leaves = pool.lease(HOME, soon());
            let mut leaves = std::pin::pin!(leaves);
            assert!(futures_util::poll!(&mut leaves).is_pending());
            assert_eq!(pool.waiting(), 1);
        }
        assert_eq!((pool.waiting(), pool.left()), (0, 1));
        let stays = pool.lease(HOME, soon());
        let mut stays = std::pin::pin!(stays);
        assert!(futures_util::poll!(&mut stays).is_pending());
        held.keep();
        let mut lease = stays.await.unwrap();
        assert_eq!(*lease.instance().await.unwrap(), number);
        assert_eq!(pool.left(), 1);
    }

    #[tokio::test]
    async fn a_place_that_nobody_takes_goes_to_the_next() {
        let pool = pool(1, 1, 2);
        let (held, _) = used(&pool).await;
        let mut next = std::pin::pin!(pool.lease(HOME, soon() + Duration::from_secs(1)));
        {
            let leaves = pool.lease(HOME, soon());
            let mut leaves = std::pin::pin!(leaves);
            assert!(futures_util::poll!(&mut leaves).is_pending());
            assert!(futures_util::poll!(&mut next).is_pending());
            // Its lease is there, and it leaves without looking.
            held.keep();
        }
        assert!(next.await.is_ok());
        assert_eq!(pool.busy(), 0);
    }

    #[tokio::test]
    async fn a_sweep_drops_what_nobody_needed() {
        let pool = pool(1, 4, 0);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(used(&pool).await.0);
        }
        held.into_iter().for_each(Lease::keep);
        pool.sweep();
        assert_eq!(pool.idle(), 4, "all were needed since the pool was made");
        let two = (used(&pool).await.0, used(&pool).await.0);
        two.0.keep();
        two.1.keep();
        pool.sweep();
        assert_eq!(pool.idle(), 2);
        pool.sweep();
        assert_eq!(pool.idle(), 1, "each worker keeps one");
        pool.clear();
        assert_eq!(pool.idle(), 0);
    }

    #[tokio::test]
    async fn a_sweep_drops_the_last_one_where_it_has_grown() {
        let pool = pool(1, 1, 0);
        for number in 0..=GROWN {
            let (lease, used) = used(&pool).await;
            assert_eq!(used, number);
            if number == GROWN {
                lease.keep();
            }
        }
        pool.sweep();
        assert_eq!(pool.idle(), 1, "it was needed since the pool was made");
        pool.sweep();
        assert_eq!(pool.idle(), 0);
    }

    #[tokio::test]
    async fn those_that_have_grown_are_shed() {
        let pool = pool(1, 4, 0);
        for number in [1, GROWN, 2, GROWN + 1] {
            pool.stock(HOME, number);
        }
        assert_eq!(pool.shed(100), 100);
        assert_eq!(pool.idle(), 3, "that is enough");
        assert_eq!(pool.shed(500), 100);
        assert_eq!([used(&pool).await.1, used(&pool).await.1], [2, 1]);
    }
}
