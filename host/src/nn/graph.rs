//! A loaded graph, and a call to it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    NnError, Tensor, TensorInfo,
    backend::{LoadedGraph, SessionFactory},
    batch::Batching,
    cancel::Cancel,
    check::Signature,
    job::{Answer, Job},
    queue::{Place, Pushed, Queue, QueueStats},
    session,
};
use crate::fair::Flow;

/// A graph that is ready to compute. Clones share it; with the last one its sessions end.
#[derive(Clone)]
pub struct Graph(Arc<Inner>);

struct Inner {
    name: String,
    signature: Signature,
    backend: &'static str,
    device: String,
    /// Elements of all inputs of one run.
    max_elements: usize,
    batching: Batching,
    queue: Arc<Queue>,
    /// Makes further sessions.
    factory: Arc<dyn SessionFactory>,
    /// Threads of each of them.
    threads: usize,
}

/// What a call asks a graph for.
pub struct ComputeRequest<'a> {
    pub inputs: Vec<(String, Tensor)>,
    /// Those that are wanted, in the order wanted; none means all.
    pub outputs: &'a [String],
    /// Whose call it is: flows share a graph by their weights.
    pub flow: Flow,
    /// Orders the calls of one flow; a call whose deadline has passed does not run.
    pub deadline: Instant,
}

impl ComputeRequest<'_> {
    /// For all outputs, by somebody who shares with nobody, without a deadline.
    pub fn of(inputs: Vec<(String, Tensor)>) -> Self {
        /// Later than anybody waits.
        const FAR: Duration = Duration::from_secs(24 * 3600);
        Self { inputs, outputs: &[], flow: Flow::ALONE, deadline: Instant::now() + FAR }
    }
}

/// A call's outputs.
#[derive(Debug)]
pub struct Computed {
    pub tensors: Vec<(String, Tensor)>,
    /// Calls in the same native run, this one included; None where the graph is not batched.
    pub batch_size: Option<usize>,
}

impl Graph {
    pub(super) fn new(
        name: &str,
        loaded: LoadedGraph,
        backend: &'static str,
        max_elements: usize,
        batching: Batching,
        (queue, threads): (Arc<Queue>, usize),
    ) -> Graph {
        let LoadedGraph { signature, device, factory } = loaded;
        Graph(Arc::new(Inner {
            name: name.to_string(),
            signature,
            backend,
            device,
            max_elements,
            batching,
            queue,
            factory,
            threads,
        }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The inputs that a call must give, in the graph's order. Those with a default value are not
    /// listed; a call may give them too.
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.0.signature.inputs
    }

    /// The outputs in the graph's order, without those that are no tensors.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.0.signature.outputs
    }

    /// The inference library that serves the graph.
    pub fn backend(&self) -> &str {
        self.0.backend
    }

    /// What goes on now, for metrics.
    pub fn stats(&self) -> QueueStats {
        self.0.queue.stats()
    }

    /// The device it runs on, such as `cpu` or `cuda:0`.
    pub fn device(&self) -> &str {
        &self.0.device
    }

    /// Runs the graph on one of its session threads, when it is the call's turn.
    ///
    /// Dropping the future takes the call back, and its owner should do so at the deadline: a
    /// waiting one never runs, a run that is under way is stopped where the backend can, and where no
    /// other call is in it.
    pub async fn compute(&self, request: ComputeRequest<'_>) -> Result<Computed, NnError> {
        let Inner { signature, queue, max_elements, batching, .. } = &*self.0;
        let ComputeRequest { inputs, outputs, flow, deadline } = request;
        let elements = inputs.iter().fold(0usize, |n, (_, t)| n.saturating_add(t.elements()));
        if elements > *max_elements {
            return Err(NnError::InvalidInput(format!(
                "the inputs hold {elements} elements, the limit is {max_elements} (max_elements)"
            )));
        }
        let mut inputs = signature.check_inputs(inputs)?;
        inputs.sort_by_key(|(position, _)| *position);
        let outputs = signature.check_outputs(outputs)?;
        let names =
            outputs.iter().filter_map(|&i| signature.outputs.get(i)).map(|info| info.name.clone());
        let names: Vec<String> = names.collect();

        let (reply, answer) = oneshot::channel();
        let cancel = Arc::<Cancel>::default();
        let job = Job { flow, deadline, inputs, outputs, reply, cancel: cancel.clone() };
        let Pushed { place, grow } = queue.push(job)?;
        if grow {
            let Inner { factory, threads, .. } = &*self.0;
            session::grow(self.name(), factory.clone(), *threads, queue.clone(), *batching);
        }
        let mut guard = CallGuard { queue, place, cancel, waiting: true };
        let result = answer.await;
        guard.waiting = false;
        let Answer { tensors, batch_size } = result.unwrap_or_else(|_| {
            let name = self.name();
            Err(NnError::Runtime(format!("the session of graph `{name}` ended before it replied")))
        })?;
        let batch_size = (batching.rows > 1).then_some(batch_size);
        Ok(Computed { tensors: names.into_iter().zip(tensors).collect(), batch_size })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close(NnError::Cancelled);
    }
}

/// Takes the call back if its future is dropped before the reply.
struct CallGuard<'a> {
    queue: &'a Queue,
    place: Place,
    cancel: Arc<Cancel>,
    waiting: bool,
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if self.waiting {
            self.queue.forget(&self.place);
            self.cancel.cancel();
        }
    }
}
