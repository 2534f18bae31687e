//! What is known of the call that a model answers. Outside of a call, in `init`, there is nothing. Nothing here
//! says who the caller is, but for what the operator lets through.

use std::time::Duration;

use crate::{Args, host};

/// A place in a sequence of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Of the caller's choice; a number is written in decimal. Empty in a session (RunSession), which is a
    /// sequence without an id.
    pub id: String,
    /// It is the first call.
    pub start: bool,
    /// It is the last call. The last one of a session is not known as such.
    pub end: bool,
}

/// The caller's place in a trace, as W3C Trace Context writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The header `traceparent`.
    pub parent: String,
    /// The header `tracestate`; may be empty.
    pub state: String,
}

/// The id that the caller gave the request; empty where it gave none.
pub fn request_id() -> String {
    host::request_id()
}

/// The name under which the model is served.
pub fn model_name() -> String {
    host::model_name()
}

/// The version under which the model is served.
pub fn model_version() -> String {
    host::model_version()
}

/// How long until the call's deadline; in a stream, until the next part must have been emitted.
pub fn time_left() -> Duration {
    Duration::from_micros(host::time_left())
}

/// The sequence that the call is part of: where there is one, no other caller's calls meet this value of the
/// model.
pub fn sequence() -> Option<Sequence> {
    host::sequence()
}

/// The request's parameters in the Open Inference Protocol; none for other calls.
pub fn parameters() -> Args {
    Args::new(host::parameters())
}

/// The gRPC metadata that the operator lets through to this model: names in lower case, and values.
pub fn metadata() -> Vec<(String, String)> {
    host::metadata()
}

/// The caller's place in a trace.
pub fn trace() -> Option<Trace> {
    host::trace()
}
