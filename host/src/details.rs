//! What a call has beside its data and its arguments: what a model may know of it, the way for parts of its
//! result, and other models that may be called from it. Most calls have none of it.

use std::{sync::Arc, time::Instant};

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::data::{Input, Output};

/// What a call has beside its data and its arguments.
#[derive(Default)]
pub struct Details {
    pub info: CallInfo,
    pub sequence: Option<SequencePlace>,
    /// Where parts of the result go, of a caller who takes parts.
    pub parts: Option<Parts>,
    /// The models that may be called from this call, where the model may call any.
    pub others: Option<Arc<dyn OtherModels>>,
}

/// What a model may know of a call.
#[derive(Clone, Debug, Default)]
pub struct CallInfo {
    /// Of the caller's choice; empty where it chose none.
    pub request_id: String,
    /// The Open Inference Protocol's parameters, a JSON object.
    pub parameters: Option<String>,
    /// What the operator lets through of the call's metadata.
    pub metadata: Vec<(String, String)>,
    pub trace: Option<Trace>,
}

/// The caller's place in a trace: the headers of W3C Trace Context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub parent: String,
    /// May be empty.
    pub state: String,
}

/// The place of a call in a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencePlace {
    /// Of the caller's choice.
    pub id: String,
    /// It is the first call, or the last.
    pub start: bool,
    pub end: bool,
}

/// Calls other models, on behalf of a call.
pub trait OtherModels: Send + Sync {
    /// Those that may be called.
    fn names(&self) -> &[String];

    /// Has a model answer one request, or several at once.
    fn run(&self, call: InnerCall) -> BoxFuture<'static, Result<Vec<Output>, InnerError>>;
}

/// A call of another model.
pub struct InnerCall {
    pub model: String,
    pub inputs: InnerInputs,
    /// JSON.
    pub args: String,
    /// When the outer call must have ended.
    pub deadline: Instant,
}

pub enum InnerInputs {
    One(Input),
    Several(Vec<Input>),
}

/// Why a call of another model failed, in words for the caller, and whose fault it is.
#[derive(Debug)]
pub struct InnerError {
    pub fault: InnerFault,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InnerFault {
    Caller,
    Model,
    Server,
}

/// Parts of a result that wait for a slow caller, at most.
const PARTS: usize = 16;
/// Bytes of them, at most, unless one alone has more.
const BYTES: usize = 4 << 20;

/// The way of a result's parts to a caller. The model waits where the caller is slow.
#[derive(Clone)]
pub struct Parts {
    sender: mpsc::Sender<Part>,
    /// One permit a byte of the parts that wait.
    room: Arc<Semaphore>,
    /// When the result must have come to its end, whatever its parts.
    pub until: Instant,
}

/// A part of a result on its way.
pub struct Part {
    pub output: Output,
    _room: OwnedSemaphorePermit,
}

/// The caller has left.
#[derive(Debug, thiserror::Error)]
#[error("the caller has left")]
pub struct Left;

impl Parts {
    /// The way, and its end at the caller.
    pub fn new(until: Instant) -> (Self, mpsc::Receiver<Part>) {
        let (sender, receiver) = mpsc::channel(PARTS);
        (Self { sender, room: Arc::new(Semaphore::new(BYTES)), until }, receiver)
    }

    /// Sends a part of `bytes` as soon as there is room for it.
    pub async fn send(&self, output: Output, bytes: usize) -> Result<(), Left> {
        let bytes = u32::try_from(bytes.min(BYTES)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(bytes);
        let room = tokio::select! {
            room = room => room.map_err(|_| Left)?,
            () = self.sender.closed() => return Err(Left),
        };
        self.sender.send(Part { output, _room: room }).await.map_err(|_| Left)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    fn parts() -> (Parts, mpsc::Receiver<Part>) {
        Parts::new(Instant::now() + Duration::from_secs(60))
    }

    #[tokio::test]
    async fn parts_wait_for_room() {
        let (parts, mut caller) = parts();
        for _ in 0..PARTS {
            parts.send(Output::default(), 10).await.unwrap();
        }
        assert!(parts.send(Output::default(), 10).now_or_never().is_none(), "too many");
        drop(caller.recv().await.unwrap());
        parts.send(Output::default(), 10).await.unwrap();
    }

    #[tokio::test]
    async fn large_parts_wait_for_each_other() {
        let (parts, mut caller) = parts();
        parts.send(Output::default(), 10 * BYTES).await.unwrap();
        assert!(parts.send(Output::default(), 1).now_or_never().is_none(), "too large");
        drop(caller.recv().await.unwrap());
        parts.send(Output::default(), 1).await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_who_leaves_is_not_waited_for() {
        let (parts, caller) = parts();
        parts.send(Output::default(), BYTES).await.unwrap();
        drop(caller);
        assert!(parts.send(Output::default(), BYTES).await.is_err());
    }
}
