//! Errors as gRPC statuses, all in one place: whose fault it is decides the code.

use tonic::{Code, Status};

use crate::{
    models::{Model, RunError, outcome::Outcome},
    repository::{Catalogue, Unready},
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

/// A failed call. What became of it decides the code.
pub fn run(model: &Model, error: &RunError) -> Status {
    let code = match error.outcome(model.timeout) {
        Outcome::Ok => Code::Ok,
        Outcome::Unfit | Outcome::Caller => Code::InvalidArgument,
        Outcome::Model | Outcome::Trap | Outcome::Start | Outcome::Graph => Code::Internal,
        Outcome::Server | Outcome::Lost | Outcome::Unavailable => Code::Unavailable,
        Outcome::Timeout
        | Outcome::Deadline
        | Outcome::Cpu
        | Outcome::StartLate
        | Outcome::Late => Code::DeadlineExceeded,
        Outcome::Full => Code::ResourceExhausted,
        Outcome::Cancelled => Code::Cancelled,
    };
    Status::new(code, fit(&format!("model `{}`: {error}", model.name)))
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
