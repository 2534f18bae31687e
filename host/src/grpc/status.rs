//! Errors as gRPC statuses, all in one place: whose fault it is decides the code.

use std::{fmt::Display, time::Duration};

use tonic::{Code, Status};

use crate::{
    ledger::NoRoom,
    models::{Model, RunError, outcome::Outcome},
    repository::{Catalogue, Unready},
    text,
};

use super::{
    error_details::{Failed, Limit},
    error_text,
};

/// When a queue may have a place again, and memory room.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(1);

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
    text::bounded(text, 100).chars().flat_map(char::escape_debug).collect()
}

/// A failed call. What became of it decides the code.
pub fn run(model: &Model, error: &RunError) -> Status {
    let outcome = error.outcome(model.timeout);
    let code = match outcome {
        Outcome::Ok => Code::Ok,
        Outcome::Unfit | Outcome::Caller => Code::InvalidArgument,
        Outcome::Model | Outcome::Trap | Outcome::Start | Outcome::Graph | Outcome::GraphEnded => {
            Code::Internal
        }
        Outcome::Server | Outcome::Lost | Outcome::Unavailable => Code::Unavailable,
        Outcome::Timeout
        | Outcome::Deadline
        | Outcome::Cpu
        | Outcome::StartLate
        | Outcome::Late => Code::DeadlineExceeded,
        Outcome::Full | Outcome::NoRoom | Outcome::GraphMemory => Code::ResourceExhausted,
        Outcome::Cancelled => Code::Cancelled,
    };
    let text = fit(format_args!("model `{}`: {error}", model.name));
    if code == Code::Ok || code == Code::Cancelled {
        return Status::new(code, text);
    }
    let limit = limit(outcome);
    let failed =
        Failed { model: &model.name, outcome: outcome.label(), limit, retry: model.refuses() };
    failed.status(code, text)
}

/// The limit that a call has met, if its end names one.
fn limit(outcome: Outcome) -> Option<Limit> {
    let (name, retry) = match outcome {
        Outcome::Full => ("max_queue", Some(SOON)),
        Outcome::NoRoom => ("memory", Some(LATER)),
        Outcome::GraphMemory => ("native_memory", None),
        Outcome::Timeout => ("timeout", None),
        Outcome::Cpu => ("cpu", None),
        Outcome::StartLate => ("init", None),
        _ => return None,
    };
    Some(Limit { name, retry })
}

/// A request that there is no memory for.
pub fn no_room(error: NoRoom) -> Status {
    let limit = Limit { name: "memory", retry: Some(LATER) };
    limit.status(Code::ResourceExhausted, error.to_string())
}

/// A text that a model, a library or a caller may have had a part in: it may be huge, and ends on
/// terminals. How long it may be as it travels is seen to where all errors pass, in `error_text`.
pub fn fit(message: impl Display) -> String {
    text::bounded_display(message, error_text::MOST).replace(char::is_control, " ")
}
