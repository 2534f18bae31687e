//! One instance of a component: a store of its own, one call at a time.

use std::{slice, sync::Arc, time::Instant};

use wasmtime::Store;

use crate::{
    data::{Description, Input, Meaning, Output},
    details::Details,
    ledger::NoRoom,
    nn::{DType, MAX_RANK, Tensor, TensorInfo},
    text,
};

use super::{
    account::Load,
    clock::{CallClock, Late},
    error::{CallError, cause, copies_too_much, failure, one_line},
    exchange::media_type,
    exports::Exports,
    host::bindings::{
        tensors,
        types::{self, AcceptedKinds, Fault},
    },
    store::StoreData,
};

pub struct Instance {
    store: Store<StoreData>,
    exports: Exports,
    /// The model's name.
    name: Arc<str>,
    /// The store's own: calls are timed while the store is lent to them.
    clock: Arc<CallClock>,
    /// It answers one call only.
    fresh: bool,
    /// Calls that it has answered.
    uses: usize,
    /// wasmtime ended a call half way: nothing can be called any more.
    broken: bool,
    /// Bytes that it used as it was made.
    at_first: usize,
}

/// Calls into the guest within a deadline: `guest!(self, deadline, details, run(input, &args))`.
macro_rules! guest {
    ($self:ident, $deadline:expr, $details:expr, $call:ident($($arg:expr),*)) => {{
        let started = Instant::now();
        let state = $self.store.data_mut();
        let (cpu, longest) = (state.limits.cpu, state.limits.timeout);
        let deadline = $deadline.min(started + longest);
        state.begin(deadline, $details);
        $self.store.set_epoch_deadline(1);
        let call = $self.exports.$call(&mut $self.store $(, $arg)*);
        let ended = $self.clock.run(deadline, call).await;
        $self.store.data_mut().end();
        $self.broken = !matches!(ended, Ok(Ok(_)));
        match ended {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => {
                let error = cause(error, $self.store.data().no_room);
                Err(failure(&$self.name, error, deadline - started, cpu))
            }
            Err(Late) => Err(CallError::Timeout(deadline - started)),
        }
    }};
}

impl Instance {
    pub(super) fn new(
        store: Store<StoreData>,
        exports: Exports,
        name: Arc<str>,
        fresh: bool,
    ) -> Self {
        let at_first = store.data().account.used();
        Self {
            clock: store.data().clock.clone(),
            store,
            exports,
            name,
            fresh,
            uses: 0,
            broken: false,
            at_first,
        }
    }

    /// Bytes that its calls have left it with and a new one does not take, where they are many.
    pub fn grown_by(&self) -> Option<usize> {
        const MANY: usize = 16 << 20;
        let more = self.store.data().account.used().checked_sub(self.at_first)?;
        Some(more).filter(|more| *more > MANY)
    }

    /// To be asked before a call: whether there is room for what calls of this model take.
    pub fn begin(&self, load: Load) -> Result<(), NoRoom> {
        self.store.data().account.begin(load)
    }

    /// To be asked after a call of a sequence: whether the next one of it can be answered.
    pub fn may_go_on(&mut self) -> bool {
        self.store.data().account.end();
        !self.broken
    }

    /// To be asked after a call: whether the next one may have it too, as it is not worn out, and keeps little
    /// for itself.
    pub fn reusable(&mut self) -> bool {
        /// Counting handles walks their table: now and then is enough.
        const COUNT_EVERY: usize = 64;
        self.uses += 1;
        let state = self.store.data_mut();
        state.account.end();
        let limits = &state.limits;
        if self.broken
            || self.fresh
            || self.uses >= limits.max_uses
            || state.account.used() > limits.max_retained
        {
            return false;
        }
        !self.uses.is_multiple_of(COUNT_EVERY)
            || state.table.iter_mut().count() <= limits.handles / 2
    }

    /// What the model takes and gives.
    pub async fn describe(&mut self, deadline: Instant) -> Result<Description, CallError> {
        let said = guest!(self, deadline, None, describe())?;
        Ok(Description {
            text: said.accepts.contains(AcceptedKinds::TEXT),
            image: said.accepts.contains(AcceptedKinds::IMAGE),
            tensors: said.accepts.contains(AcceptedKinds::TENSORS),
            encoded: said.accepts.contains(AcceptedKinds::ENCODED),
            media_types: media_types(said.media_types)?,
            input_shape: input_shape(said.input_shape)?,
            inputs: infos("inputs", said.inputs)?,
            outputs: infos("outputs", said.outputs)?,
            streams: said.streams,
            sequences: said.sequences,
            meaning: meaning(said.meaning)?,
        })
    }

    /// Answers one request. After an error other than `Caller`, `Model` and `Server` the instance
    /// must be thrown away; [`Self::reusable`] says whether it is of use after one of these.
    pub async fn run(
        &mut self,
        input: Input,
        args: &str,
        details: Option<Box<Details>>,
        deadline: Instant,
    ) -> Result<Output, CallError> {
        let size = self.check_request(slice::from_ref(&input), args)?;
        let input = self.store.data_mut().give_input(input)?;
        let output = guest!(self, deadline, details, run(input, args));
        let output = self.answered(output, size)?;
        self.take(output, WORTH_CHARGING).await
    }

    /// Answers the requests of one batch call, one output for each.
    pub async fn run_batch(
        &mut self,
        inputs: Vec<Input>,
        args: &str,
        details: Option<Box<Details>>,
        deadline: Instant,
    ) -> Result<Vec<Output>, CallError> {
        let count = inputs.len();
        let size = self.check_request(&inputs, args)?;
        let inputs = self.store.data_mut().give_inputs(inputs)?;
        let outputs = guest!(self, deadline, details, run_batch(inputs, args));
        let outputs = self.answered(outputs, size)?;
        if outputs.len() != count {
            return Err(CallError::Model(format!(
                "the model gave {} results for {count} requests",
                outputs.len()
            )));
        }
        let mut taken = Vec::with_capacity(count);
        for output in outputs {
            // Many small ones are large together.
            taken.push(self.take(output, WORTH_CHARGING / count).await?);
        }
        Ok(taken)
    }

    /// A guest's result.
    async fn take(
        &mut self,
        output: types::Output,
        worth_charging: usize,
    ) -> Result<Output, CallError> {
        let data = self.store.data_mut();
        let (output, _) = data.take_output(output, data.deadline, worth_charging).await?;
        Ok(output)
    }

    /// Refuses a request that the model cannot hold, whoever wrote it: its guest would run out of
    /// memory or of handles, which is the caller's doing. Gives the bytes that a guest takes which
    /// reads all of it.
    fn check_request(&self, inputs: &[Input], args: &str) -> Result<usize, CallError> {
        let limits = &self.store.data().limits;
        let mut tensors = 0usize;
        // What is written into the guest before it runs, and what it reads if it likes.
        let (mut written, mut read) = (args.len(), 0usize);
        for input in inputs {
            written = written.saturating_add(MEMBER);
            match input {
                Input::Text(text) => written = written.saturating_add(text.len()),
                Input::Image(image) => {
                    tensors += 1;
                    read = read.saturating_add(size_in_guest(image));
                }
                Input::Encoded(encoded) => {
                    tensors += 1;
                    written = written.saturating_add(encoded.media_type.len());
                    read = read.saturating_add(size_in_guest(&encoded.bytes));
                }
                Input::Tensors(named) => {
                    tensors += named.len();
                    for (name, tensor) in named {
                        written = written.saturating_add(NAMED + name.len());
                        read = read.saturating_add(size_in_guest(tensor));
                    }
                }
            }
        }
        if written > limits.memory {
            return Err(CallError::Caller(format!(
                "the request is too large: with its results it takes about {written} bytes in the \
                 model, which has {} (limit `memory`)",
                limits.memory
            )));
        }
        // The other half is the model's own: see `reusable`.
        if tensors > limits.handles / 2 {
            return Err(CallError::Caller(format!(
                "the request is too large: it has {tensors} tensors, and the model takes at most {} \
                 at once (half of its limit `handles`)",
                limits.handles / 2
            )));
        }
        Ok(written.saturating_add(read))
    }

    /// What a guest answered to a request of `size` bytes.
    fn answered<T>(
        &self,
        answer: Result<Result<T, types::Error>, CallError>,
        size: usize,
    ) -> Result<T, CallError> {
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(said)) => Err(CallError::from(said).or_no_room(self.store.data().no_room)),
            Err(error) => Err(self.too_large(error, size)),
        }
    }

    /// A guest that ran out of memory over a request which is a good part of it did not fail by
    /// itself: who sent so much is told so, and nobody else is refused for it.
    fn too_large(&self, error: CallError, size: usize) -> CallError {
        /// Of its memory; less is no excuse. JSON, once it is read, takes thirty times its bytes.
        const SHARE: usize = 32;
        let data = self.store.data();
        let large = size >= data.limits.memory / SHARE;
        match error {
            CallError::Trap(why) if large && (data.out_of_memory || copies_too_much(&why)) => {
                CallError::Caller(format!(
                    "the request is too large: the model ran out of memory over its {size} bytes \
                     (limit `memory`: {})",
                    data.limits.memory
                ))
            }
            error => error,
        }
    }
}

/// Bytes of a result that are charged between the instance and the reply: fewer are gone before they matter.
const WORTH_CHARGING: usize = 64 << 10;

/// What a member of a batch takes besides its text: its record in the guest, and its result's on the way
/// back, which one call of the host copies out of a quarter of the memory (see `Maker::store`).
const MEMBER: usize = 4 * (size_of::<types::Output>() + 8);

/// What a named tensor takes besides its name and its data: the record, and what a guest makes of it.
const NAMED: usize = 64;

/// The memory of a guest that reads a tensor.
fn size_in_guest(tensor: &Tensor) -> usize {
    // A string is a pointer and a length there.
    let strings = if tensor.dtype() == DType::Bytes { tensor.elements() } else { 0 };
    tensor.byte_length().saturating_add(strings.saturating_mul(8))
}

/// What a model says of its inputs or outputs, within bounds: it goes to callers and into the log.
fn infos(what: &str, infos: Vec<tensors::TensorInfo>) -> Result<Vec<TensorInfo>, CallError> {
    const MOST: usize = 1000;
    const NAME: usize = 1000;
    let refused = |why: String| Err(CallError::Model(why));
    if infos.len() > MOST {
        return refused(format!("it has {} {what}: there may be at most {MOST}", infos.len()));
    }
    for info in &infos {
        let (name, rank) = (info.name.len(), info.shape.len());
        if name > NAME {
            return refused(format!(
                "one of its {what} has a name of {name} bytes: there may be at most {NAME}"
            ));
        }
        if rank > MAX_RANK {
            return refused(format!(
                "one of its {what} has {rank} dimensions: there may be at most {MAX_RANK}"
            ));
        }
    }
    Ok(infos.into_iter().map(TensorInfo::from).collect())
}

/// The media types that a model says that it takes.
fn media_types(said: Vec<String>) -> Result<Vec<String>, CallError> {
    const MOST: usize = 100;
    if said.len() > MOST {
        return Err(CallError::Model(format!(
            "it names {} media types: there may be at most {MOST}",
            said.len()
        )));
    }
    said.iter()
        .map(|said| {
            media_type(said).ok_or_else(|| {
                let said = text::bounded(said, 100).escape_debug().to_string();
                CallError::Model(format!("`{said}` is not a media type, such as image/jpeg"))
            })
        })
        .collect()
}

/// The image size that suits a model.
fn input_shape(said: Option<Vec<u32>>) -> Result<Option<Vec<u32>>, CallError> {
    match said {
        Some(shape) if shape.len() > MAX_RANK => Err(CallError::Model(format!(
            "its input shape has {} dimensions: there may be at most {MAX_RANK}",
            shape.len()
        ))),
        shape => Ok(shape),
    }
}

/// What a model says of its data, for people: a line each.
fn meaning(said: types::Meaning) -> Result<Meaning, CallError> {
    const MOST: usize = 2000;
    if said.tensors.len() > MOST {
        return Err(CallError::Model(format!(
            "it says what {} tensors mean: there may be at most {MOST}",
            said.tensors.len()
        )));
    }
    let tensors = said.tensors.into_iter();
    Ok(Meaning {
        model: one_line(said.model),
        text: one_line(said.text),
        args: one_line(said.args),
        json: one_line(said.json),
        tensors: tensors.map(|(name, means)| (one_line(name), one_line(means))).collect(),
    })
}

impl From<types::Error> for CallError {
    fn from(error: types::Error) -> Self {
        // It ends in logs and on terminals, and is to be one sentence.
        let message = one_line(error.message);
        match error.fault {
            Fault::Caller => Self::Caller(message),
            Fault::Model => Self::Model(message),
            Fault::Server => Self::Server(message),
        }
    }
}
