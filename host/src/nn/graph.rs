//! A loaded graph, and a call to it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tokio_util::sync::DropGuard;

use super::{
    NnError, Tensor, TensorInfo,
    cancel::Cancel,
    dispatch::Dispatch,
    job::{Answer, Job},
    library::About,
    queue::{Place, Queue, QueueStats},
};
use crate::fair::Flow;

/// A graph that is ready to compute. Clones share it; with the last one its sessions end.
#[derive(Clone)]
pub struct Graph(Arc<Inner>);

struct Inner {
    about: About,
    /// Elements of all inputs of one run.
    max_elements: usize,
    dispatch: Arc<Dispatch>,
    /// Ends what keeps it in a child.
    _keeper: Option<DropGuard>,
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
        about: About,
        max_elements: usize,
        dispatch: Arc<Dispatch>,
        keeper: Option<DropGuard>,
    ) -> Graph {
        Graph(Arc::new(Inner { about, max_elements, dispatch, _keeper: keeper }))
    }

    pub(super) fn about(&self) -> &About {
        &self.0.about
    }

    pub fn name(&self) -> &str {
        &self.0.dispatch.name
    }

    /// The inputs that a call must give, in the graph's order. Those with a default value are not
    /// listed; a call may give them too.
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.0.about.signature.inputs
    }

    /// The outputs in the graph's order, without those that are no tensors.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.0.about.signature.outputs
    }

    /// The inference library that serves the graph.
    pub fn backend(&self) -> &str {
        &self.0.about.backend
    }

    /// What goes on now, for metrics.
    pub fn stats(&self) -> QueueStats {
        self.0.dispatch.queue.stats()
    }

    /// Whether calls are refused for a while, as runs ended its process too often.
    pub fn is_refusing(&self) -> bool {
        self.0.dispatch.source.refuses().is_some()
    }

    /// The device it runs on, such as `cpu` or `cuda:0`.
    pub fn device(&self) -> &str {
        &self.0.about.device
    }

    /// Runs the graph on one of its sessions, when it is the call's turn.
    ///
    /// Dropping the future takes the call back, and its owner should do so at the deadline: a
    /// waiting one never runs, a run that is under way is stopped where the backend can, and where no
    /// other call is in it.
    pub async fn compute(&self, request: ComputeRequest<'_>) -> Result<Computed, NnError> {
        let Inner { about, max_elements, dispatch, .. } = &*self.0;
        let (signature, queue) = (&about.signature, &dispatch.queue);
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
        let place = dispatch.push(job)?;
        let mut guard = CallGuard { queue, place, cancel, waiting: true };
        let result = answer.await;
        guard.waiting = false;
        let Answer { tensors, batch_size } = result.unwrap_or_else(|_| {
            let name = self.name();
            Err(NnError::Runtime(format!("the session of graph `{name}` ended before it replied")))
        })?;
        let batch_size = (queue.batching().rows > 1).then_some(batch_size);
        Ok(Computed { tensors: names.into_iter().zip(tensors).collect(), batch_size })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.dispatch.queue.close(NnError::Cancelled);
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
