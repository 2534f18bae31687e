//! One model: what it takes and gives, and what answers for it.

use std::{sync::Arc, time::Duration};

use crate::{
    admin::metrics::Outcomes,
    breaker::Breaker,
    data::{Description, Kind},
    fair::Flow,
    nn::Graph,
    sandbox::{CallError, Guest, Instance},
    schedule::{Factory, Pool},
};

use super::RunError;

impl Factory for Guest {
    type Instance = Instance;
    type Error = CallError;

    async fn create(&self) -> Result<Instance, CallError> {
        self.instantiate().await
    }
}

pub struct Model {
    pub name: String,
    pub description: Description,
    /// [height, width, channels] that suits the model; None where any size does.
    pub input_shape: Option<Vec<u32>>,
    /// The longest that a call may take, waiting included.
    pub timeout: Duration,
    /// The model among those that share workers and graphs.
    pub flow: Flow,
    pub body: Body,
    pub breaker: Breaker,
    pub outcomes: Outcomes,
}

pub enum Body {
    Component(Arc<Pool<Guest>>),
    /// A graph without a component, served as it is.
    Graph(Graph),
}

impl Model {
    /// Refuses kinds of request that the model does not take.
    pub fn check(&self, kind: Kind) -> Result<(), RunError> {
        if self.description.accepts(kind) {
            return Ok(());
        }
        Err(RunError::Unaccepted { accepts: self.description.accepted(), got: kind.phrase() })
    }
}
