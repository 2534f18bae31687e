//! Errors as gRPC statuses, all in one place: whose fault it is decides the code.

use tonic::{Code, Status};

use crate::{
    models::{RunError, Unready},
    nn::NnError,
    sandbox::CallError,
};

pub fn unready(name: &str, unready: Unready) -> Status {
    let name: String = name
        .chars()
        .take(100)
        .flat_map(char::escape_debug)
        .collect();
    match unready {
        Unready::Unknown => Status::not_found(format!("there is no model `{name}`")),
        Unready::Failed => Status::unavailable(format!(
            "the model `{name}` did not load: the server's log says why"
        )),
    }
}

pub fn run(model: &str, error: RunError) -> Status {
    let code = match &error {
        RunError::Unaccepted { .. } => Code::InvalidArgument,
        RunError::Full(_) => Code::ResourceExhausted,
        RunError::Late | RunError::GraphLate => Code::DeadlineExceeded,
        RunError::Guest(error) => match error {
            CallError::Caller(_) => Code::InvalidArgument,
            CallError::Model(_) | CallError::Trap(_) => Code::Internal,
            CallError::Server(_) => Code::Unavailable,
            CallError::Timeout(_) => Code::DeadlineExceeded,
            CallError::PoolFull => Code::ResourceExhausted,
        },
        RunError::Graph(error) => match error {
            NnError::InvalidInput(_) => Code::InvalidArgument,
            NnError::Runtime(_) => Code::Internal,
            NnError::Busy(_) => Code::ResourceExhausted,
            NnError::Cancelled => Code::Cancelled,
        },
    };
    Status::new(code, shorten(&format!("model `{model}`: {error}")))
}

/// A message travels in an HTTP header; peers refuse headers of more than some kilobytes.
fn shorten(message: &str) -> String {
    const MAX: usize = 2000;
    match message.char_indices().nth(MAX) {
        Some((end, _)) => format!("{} …", &message[..end]),
        None => message.to_owned(),
    }
}
