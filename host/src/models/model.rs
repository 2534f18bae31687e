//! One model: what it takes and gives, and what answers for it.

use std::{sync::Arc, time::Duration};

use crate::{
    data::{Description, Input, Kind, NamedTensor, Output},
    ledger::Tenant,
    nn::Graph,
    sandbox::Guest,
    schedule::Pool,
};

use super::{
    Call, RunError, accepts,
    bare_graph::BareGraph,
    call::outcome,
    component::Component,
    outcome::{Outcomes, Pending},
};

/// A model that is ready to answer.
pub struct Model {
    pub name: String,
    /// One sentence for people, from its model.toml.
    pub about: Option<String>,
    pub description: Description,
    /// [height, width, channels] that suits the model; None where any size does.
    pub input_shape: Option<Vec<u32>>,
    /// The longest that a call may take, waiting included.
    pub timeout: Duration,
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
    Component(Component),
    Graph(BareGraph),
}

impl Model {
    /// Answers a text or an image.
    pub async fn run(&self, input: Input, call: Call<'_>) -> Result<Output, RunError> {
        let pending = self.outcomes.begin();
        let answer = async {
            accepts::kind(&self.description, input.kind())?;
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

    /// Counts what became of a call. One that nobody waits for any more counts, too.
    fn count<T>(&self, pending: Pending<'_>, answer: Result<T, RunError>) -> Result<T, RunError> {
        pending.end(outcome(&answer, self.timeout));
        answer
    }
}
