//! Models that call other models, as far as the operator lets them: each call is a task of its own, with its
//! own turn and its own limits, and ends with the call that it is made for.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use futures_util::future::BoxFuture;
use tokio::time::timeout_at;

use crate::{
    data::Output,
    details::{InnerCall, InnerError, InnerFault, InnerInputs, OtherModels},
    schedule::{WorkerId, Workers},
};

use super::{Call, Model, RunError, outcome::Outcome};

/// How many models deep a call may go.
const DEEPEST: usize = 8;

/// Finds a model that is served.
pub trait FindModel: Send + Sync {
    /// Waits for one that still loads.
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Arc<Model>>>;
}

/// What a model may call.
#[derive(Clone)]
pub struct Callable {
    pub names: Arc<[String]>,
    /// All models, this one among them.
    pub models: Weak<dyn FindModel>,
    pub workers: Arc<Workers>,
}

/// The models that are under way to a call: who called whom.
pub struct Chain {
    model: String,
    outer: Option<Arc<Chain>>,
}

impl Chain {
    fn models(&self) -> Vec<&str> {
        let mut models = vec![self.model.as_str()];
        let mut outer = &self.outer;
        while let Some(chain) = outer {
            models.push(&chain.model);
            outer = &chain.outer;
        }
        models.reverse();
        models
    }
}

/// The models that may be called from one call of a model.
pub struct Others {
    callable: Callable,
    home: WorkerId,
    chain: Arc<Chain>,
}

impl Others {
    /// For a call of `model` on worker `home`, which `outer` has led to.
    pub fn new(
        callable: &Callable,
        home: WorkerId,
        model: &str,
        outer: Option<Arc<Chain>>,
    ) -> Arc<Self> {
        let chain = Arc::new(Chain { model: model.to_owned(), outer });
        Arc::new(Self { callable: callable.clone(), home, chain })
    }

    /// Whether a model may be called from here, or why not.
    fn check(&self, model: &str) -> Result<(), InnerError> {
        let models = self.chain.models();
        let refused = |why: String| Err(InnerError { fault: InnerFault::Model, message: why });
        if models.contains(&model) {
            let way = models.join(" -> ");
            return refused(format!("models call each other in a circle: {way} -> {model}"));
        }
        if models.len() >= DEEPEST {
            let way = models.join(" -> ");
            return refused(format!("models call each other more than {DEEPEST} deep: {way}"));
        }
        Ok(())
    }
}

impl OtherModels for Others {
    fn names(&self) -> &[String] {
        &self.callable.names
    }

    fn run(&self, call: InnerCall) -> BoxFuture<'static, Result<Vec<Output>, InnerError>> {
        let InnerCall { model: name, inputs, args, deadline } = call;
        if let Err(refused) = self.check(&name) {
            return Box::pin(async { Err(refused) });
        }
        let models = self.callable.models.clone();
        let (home, chain) = (self.home, Some(self.chain.clone()));
        let task = self.callable.workers.spawn(home, async move {
            let found = async { models.upgrade()?.find(&name).await };
            let found = timeout_at(deadline.into(), found).await;
            let Some(model) = found.ok().flatten() else {
                let message = format!("the model `{name}` is not served");
                return Err(InnerError { fault: InnerFault::Server, message });
            };
            let deadline = deadline.min(Instant::now() + model.timeout);
            let call = Call { home, deadline, args: &args, details: None, chain };
            let answer = match inputs {
                InnerInputs::One(input) => model.answer(input, call).await.map(|one| vec![one]),
                InnerInputs::Several(inputs) => model.answer_batch(inputs, call).await,
            };
            answer.map_err(|error| inner_error(&model, &error))
        });
        Box::pin(async move {
            let lost = |_| InnerError {
                fault: InnerFault::Server,
                message: "the worker ended before the other model answered".into(),
            };
            task.await.map_err(lost)?
        })
    }
}

/// A failed call as the model sees it that made it: as any other caller would.
fn inner_error(model: &Model, error: &RunError) -> InnerError {
    let fault = match error.outcome(model.timeout) {
        Outcome::Unfit | Outcome::Caller => InnerFault::Caller,
        Outcome::Model | Outcome::Trap | Outcome::Start | Outcome::Graph | Outcome::GraphEnded => {
            InnerFault::Model
        }
        _ => InnerFault::Server,
    };
    InnerError { fault, message: format!("model `{}`: {error}", model.name) }
}
