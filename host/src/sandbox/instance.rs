//! One instance of a component: a store of its own, one call at a time.

use std::{sync::Arc, time::Instant};

use wasmtime::Store;

use crate::{
    data::{Description, IMAGE, Input, Kind, Output, check_json},
    nn::TensorInfo,
};

use super::{
    clock::{CallClock, Late},
    error::{CallError, failure},
    host::bindings::{
        GuestExports,
        tms::model::types::{self, Fault, Kinds},
    },
    store::StoreData,
};

pub struct Instance {
    store: Store<StoreData>,
    exports: GuestExports,
    /// The model's name.
    name: Arc<str>,
    /// The store's own: calls are timed while the store is lent to them.
    clock: Arc<CallClock>,
    /// It answers one call only.
    fresh: bool,
    /// Calls that it has answered.
    uses: usize,
}

/// Calls into the guest within a deadline: `guest!(self, deadline, call_run(&input, args))`.
macro_rules! guest {
    ($self:ident, $deadline:expr, $call:ident($($arg:expr),*)) => {{
        let started = Instant::now();
        let state = $self.store.data_mut();
        let (cpu, longest) = (state.limits.cpu, state.limits.timeout);
        let deadline = $deadline.min(started + longest);
        state.begin(deadline);
        $self.store.set_epoch_deadline(1);
        let call = $self.exports.$call(&mut $self.store $(, $arg)*);
        match $self.clock.run(deadline, call).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => Err(failure(&$self.name, error, deadline - started, cpu)),
            Err(Late) => Err(CallError::Timeout(deadline - started)),
        }
    }};
}

impl Instance {
    pub(super) fn new(
        store: Store<StoreData>,
        exports: GuestExports,
        name: Arc<str>,
        fresh: bool,
    ) -> Self {
        Self { clock: store.data().clock.clone(), store, exports, name, fresh, uses: 0 }
    }

    /// Whether the next call may have it too: it is not worn out, and keeps little for itself.
    pub fn reusable(&mut self) -> bool {
        /// Counting handles walks their table: now and then is enough.
        const COUNT_EVERY: usize = 64;
        self.uses += 1;
        let state = self.store.data_mut();
        let limits = &state.limits;
        if self.fresh || self.uses >= limits.max_uses || state.account.used() > limits.max_retained
        {
            return false;
        }
        !self.uses.is_multiple_of(COUNT_EVERY)
            || state.table.iter_mut().count() <= limits.handles / 2
    }

    /// What the model takes and gives.
    pub async fn describe(&mut self, deadline: Instant) -> Result<Description, CallError> {
        let description = guest!(self, deadline, call_describe())?;
        let infos = |list: Vec<_>| list.into_iter().map(TensorInfo::from).collect();
        Ok(Description {
            text: description.accepts.contains(Kinds::TEXT),
            image: description.accepts.contains(Kinds::IMAGE),
            tensors: description.accepts.contains(Kinds::TENSORS),
            inputs: infos(description.inputs),
            outputs: infos(description.outputs),
        })
    }

    /// The image size that suits the model.
    pub async fn input_shape(&mut self, deadline: Instant) -> Result<Option<Vec<u32>>, CallError> {
        guest!(self, deadline, call_get_input_shape())
    }

    /// Answers one request. After an error other than `Caller`, `Model` and `Server` the instance
    /// must be thrown away.
    pub async fn run(
        &mut self,
        input: Input,
        args: &str,
        deadline: Instant,
    ) -> Result<Output, CallError> {
        let input = self.give(input)?;
        let output = guest!(self, deadline, call_run(&input, args))??;
        self.take(output)
    }

    /// Answers the requests of one batch call, one output for each.
    pub async fn run_batch(
        &mut self,
        inputs: Vec<Input>,
        args: &str,
        deadline: Instant,
    ) -> Result<Vec<Output>, CallError> {
        let count = inputs.len();
        let inputs: Vec<_> =
            inputs.into_iter().map(|input| self.give(input)).collect::<Result<_, _>>()?;
        let outputs = guest!(self, deadline, call_run_batch(&inputs, args))??;
        if outputs.len() != count {
            return Err(CallError::Model(format!(
                "the model gave {} results for {count} requests",
                outputs.len()
            )));
        }
        outputs.into_iter().map(|output| self.take(output)).collect()
    }

    /// A request's data as the guest sees it.
    fn give(&mut self, input: Input) -> Result<types::Input, CallError> {
        let kind = match input.kind() {
            Kind::Text => types::Kind::Text,
            Kind::Image => types::Kind::Image,
            Kind::Tensors => types::Kind::Tensors,
        };
        let (text, tensors) = match input {
            Input::Text(text) => (text, Vec::new()),
            Input::Image(image) => (String::new(), vec![(IMAGE.to_owned(), image)]),
            Input::Tensors(tensors) => (String::new(), tensors),
        };
        let tensors = self
            .store
            .data_mut()
            .give_tensors(tensors)
            .map_err(|e| CallError::Caller(format!("the request is too large: {e}")))?;
        Ok(types::Input { kind, text, tensors })
    }

    /// A guest's result, checked against what a result may be.
    fn take(&mut self, output: types::Output) -> Result<Output, CallError> {
        let state = self.store.data_mut();
        let tensors = state
            .take_tensors(output.tensors)
            .map_err(|e| CallError::Model(format!("a result's tensor is not there: {e}")))?;
        let bytes = tensors
            .iter()
            .map(|(_, tensor)| tensor.data().len())
            .chain(output.json.as_ref().map(String::len))
            .fold(0, usize::saturating_add);
        if bytes > state.limits.max_reply {
            return Err(CallError::Model(format!(
                "the model's result of {bytes} bytes exceeds the limit of {} (max_reply)",
                state.limits.max_reply
            )));
        }
        if let Some(json) = &output.json
            && let Err(e) = check_json(json)
        {
            return Err(CallError::Model(format!("the model's result is not JSON: {e}")));
        }
        Ok(Output { json: output.json, tensors, batch: state.batch })
    }
}

impl From<types::Error> for CallError {
    fn from(error: types::Error) -> Self {
        /// More than a caller is shown: what is longer is cut there.
        const MOST: usize = 2048;
        // It ends in logs and on terminals, and is to be one sentence.
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let message = error.message.chars().take(MOST).map(plain).collect();
        match error.fault {
            Fault::Caller => Self::Caller(message),
            Fault::Model => Self::Model(message),
            Fault::Server => Self::Server(message),
        }
    }
}
