//! Errors as gRPC statuses, all in one place: whose fault it is decides the code.

use tonic::{Code, Status};

use crate::{
    models::RunError,
    nn::NnError,
    repository::{Catalogue, Unready},
    sandbox::CallError,
    schedule::PoolError,
};

/// A name that cannot be called. An unknown one comes with those that are known.
pub fn unready(name: &str, unready: Unready, catalogue: &Catalogue) -> Status {
    const MOST: usize = 20;
    let name = escape(name);
    match unready {
        Unready::Unknown => {
            let served = |name: &&str| !matches!(catalogue.get(name), Err(Unready::Failed));
            let mut names: Vec<_> = catalogue.names().filter(served).collect();
            let more = if names.len() > MOST { ", …" } else { "" };
            names.truncate(MOST);
            let names = names.join(", ");
            Status::not_found(format!("there is no model `{name}`; there are: {names}{more}"))
        }
        Unready::Loading => {
            Status::deadline_exceeded(format!("the model `{name}` is still loading"))
        }
        Unready::Failed => Status::unavailable(format!(
            "the model `{name}` did not load: the server's log says why"
        )),
    }
}

/// What a caller sent, fit for a message: short, and without control characters.
pub fn escape(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

pub fn run(model: &str, error: RunError) -> Status {
    let code = match &error {
        RunError::Unaccepted { .. } => Code::InvalidArgument,
        RunError::Pool(PoolError::Full(_)) => Code::ResourceExhausted,
        RunError::Lost | RunError::Refused(_) => Code::Unavailable,
        RunError::Pool(PoolError::Late) | RunError::GraphLate => Code::DeadlineExceeded,
        RunError::Guest(error) | RunError::Start(error) => match error {
            CallError::Caller(_) => Code::InvalidArgument,
            CallError::Model(_) | CallError::Trap(_) => Code::Internal,
            CallError::Server(_) => Code::Unavailable,
            CallError::Timeout(_) | CallError::Cpu(_) | CallError::Start(_) => {
                Code::DeadlineExceeded
            }
            CallError::PoolFull => Code::ResourceExhausted,
        },
        RunError::Graph(error) => match error {
            NnError::InvalidInput(_) => Code::InvalidArgument,
            NnError::Runtime(_) | NnError::Broken(_) => Code::Internal,
            NnError::Busy(_) => Code::ResourceExhausted,
            NnError::Cancelled => Code::Cancelled,
        },
    };
    Status::new(code, fit(&format!("model `{model}`: {error}")))
}

/// A message travels in an HTTP header: peers refuse headers of more than some kilobytes. And it ends
/// on terminals, with the names that it quotes.
fn fit(message: &str) -> String {
    const MAX: usize = 2000;
    let message = message.replace(char::is_control, " ");
    match message.char_indices().nth(MAX) {
        Some((end, _)) => format!("{} …", &message[..end]),
        None => message,
    }
}
