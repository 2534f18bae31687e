//! One model: what it takes and gives, and what answers for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    data::{Description, Input, Kind, NamedTensor, Output},
    details::SequencePlace,
    ledger::Tenant,
    nn::Graph,
    sandbox::{Asks, Guest},
    schedule::{Pool, WorkerId},
};

use super::{
    Call, RunError, accepts,
    bare_graph::BareGraph,
    call::outcome,
    component::Component,
    outcome::{Outcomes, Pending},
    sequences::Sequence,
};

/// A model that is ready to answer.
pub struct Model {
    pub name: String,
    /// One sentence for people, from its model.toml.
    pub about: Option<String>,
    pub description: Description,
    /// The longest that a call may take, waiting included; of a stream, each part.
    pub timeout: Duration,
    /// The longest that a stream or a session may take in all.
    pub max_stream: Duration,
    /// How long a sequence or a session may be without a call.
    pub sequence_idle: Duration,
    /// Names of the metadata that the operator lets it see of a call.
    pub metadata: Vec<String>,
    pub body: Body,
    /// Those that it uses.
    pub graphs: Vec<Graph>,
    /// How its calls ended, for as long as it is served.
    pub outcomes: Outcomes,
    /// The model among those that the server's memory is divided between.
    pub tenant: Arc<Tenant>,
}

/// What answers for a model.
pub enum Body {
    Component(Box<Component>),
    Graph(BareGraph),
}

impl Model {
    /// Answers a request of any kind.
    pub async fn answer(&self, input: Input, call: Call<'_>) -> Result<Output, RunError> {
        match input {
            Input::Tensors(tensors) => {
                let args = call.args.to_owned();
                self.infer(tensors, &[], || args, call).await
            }
            input => self.run(input, call).await,
        }
    }

    /// Answers several requests: one output for each.
    pub async fn answer_batch(
        &self,
        inputs: Vec<Input>,
        call: Call<'_>,
    ) -> Result<Vec<Output>, RunError> {
        let Some(first) = inputs.first() else { return Ok(Vec::new()) };
        let kind = first.kind();
        if let Some(other) = inputs.iter().find(|input| input.kind() != kind) {
            return Err(RunError::Unfit(format!(
                "the requests of a batch are of one kind: these have {} and {}",
                kind.phrase(),
                other.kind().phrase()
            )));
        }
        self.run_batch(kind, inputs, call).await
    }

    /// Answers a text, an image or a file.
    pub async fn run(&self, input: Input, call: Call<'_>) -> Result<Output, RunError> {
        let pending = self.outcomes.begin();
        let answer = async {
            accepts::input(&self.description, &input)?;
            match &self.body {
                Body::Component(component) => component.run(input, call).await,
                // It accepts no kind of request that comes this way.
                Body::Graph(_) => Err(accepts::refuse(&self.description, input.kind())),
            }
        }
        .await;
        self.count(pending, answer)
    }

    /// Answers the requests of one batch call, all of one kind: one output for each.
    pub async fn run_batch(
        &self,
        kind: Kind,
        inputs: Vec<Input>,
        call: Call<'_>,
    ) -> Result<Vec<Output>, RunError> {
        let pending = self.outcomes.begin();
        let answer = async {
            accepts::kind(&self.description, kind)?;
            for input in &inputs {
                accepts::input(&self.description, input)?;
            }
            match &self.body {
                // There is nothing to ask the model.
                Body::Component(_) if inputs.is_empty() => Ok(Vec::new()),
                Body::Component(component) => component.run_batch(inputs, call).await,
                Body::Graph(_) => Err(accepts::refuse(&self.description, kind)),
            }
        }
        .await;
        self.count(pending, answer)
    }

    /// Answers named tensors with those that are wanted, in that order; with all where `wanted` is empty.
    /// `args` gives the caller's JSON arguments: only a component takes any.
    pub async fn infer(
        &self,
        tensors: Vec<NamedTensor>,
        wanted: &[String],
        args: impl FnOnce() -> String,
        call: Call<'_>,
    ) -> Result<Output, RunError> {
        let pending = self.outcomes.begin();
        let answer = async {
            accepts::kind(&self.description, Kind::Tensors)?;
            match &self.body {
                Body::Component(component) => {
                    accepts::tensors(&self.description, &tensors)?;
                    let args = args();
                    let call = Call { args: &args, ..call };
                    let output = component.run(Input::Tensors(tensors), call).await?;
                    accepts::select(output, wanted)
                }
                Body::Graph(graph) => graph.run(tensors, wanted, call.deadline).await,
            }
        }
        .await;
        self.count(pending, answer)
    }

    /// A session of a caller on worker `home`: its calls meet one instance, in their order.
    pub fn session(self: &Arc<Self>, home: WorkerId) -> Result<Session, RunError> {
        let sequence = match &self.body {
            Body::Component(component) => Some(component.begin_session(home)?),
            Body::Graph(_) => None,
        };
        Ok(Session { model: self.clone(), sequence, begun: AtomicBool::new(false) })
    }

    /// The instances of its component, where it has one.
    pub fn pool(&self) -> Option<&Pool<Guest>> {
        match &self.body {
            Body::Component(component) => Some(component.pool()),
            Body::Graph(_) => None,
        }
    }

    /// How much longer its calls are refused after too many failures; None where they are let through.
    pub fn refuses(&self) -> Option<Duration> {
        match &self.body {
            Body::Component(component) => component.refuses(),
            Body::Graph(_) => None,
        }
    }

    /// Whether its calls are answered now, as far as that is known beforehand: neither it nor a graph that
    /// it uses is refused for a while.
    pub fn is_serving(&self) -> bool {
        self.refuses().is_none() && !self.graphs.iter().any(Graph::is_refusing)
    }

    /// Which details of a call it can ask for.
    pub fn asks(&self) -> Asks {
        match &self.body {
            Body::Component(component) => component.asks(),
            Body::Graph(_) => Asks { context: false, models: false },
        }
    }

    /// Counts what became of a call. One that nobody waits for any more counts, too.
    fn count<T>(&self, pending: Pending<'_>, answer: Result<T, RunError>) -> Result<T, RunError> {
        pending.end(outcome(&answer, self.timeout));
        answer
    }
}

/// Calls that meet one instance of a model, in their order; the instance goes with this.
pub struct Session {
    model: Arc<Model>,
    /// None for a graph, which keeps nothing.
    sequence: Option<Arc<Sequence>>,
    /// A call has begun.
    begun: AtomicBool,
}

impl Session {
    /// The next call's place in it, which is a sequence without an id.
    pub fn next(&self) -> SequencePlace {
        let start = !self.begun.swap(true, Ordering::Relaxed);
        SequencePlace { id: String::new(), start, end: false }
    }

    /// Answers a request of any kind.
    pub async fn answer(&self, input: Input, call: Call<'_>) -> Result<Output, RunError> {
        let model = &self.model;
        let (Body::Component(component), Some(sequence)) = (&model.body, &self.sequence) else {
            return model.answer(input, call).await;
        };
        let pending = model.outcomes.begin();
        let answer = async {
            accepts::input(&model.description, &input)?;
            component.run_in_session(sequence, input, call).await
        }
        .await;
        model.count(pending, answer)
    }
}
