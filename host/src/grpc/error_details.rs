//! What an error tells programs beside its text (`google.rpc.Status` in `grpc-status-details-bin`): which field is
//! wrong, which limit was met, when to try again, what became of the run.

use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt, pb};

use crate::text;

/// Bytes of a text that comes with details. They repeat it, and peers drop a reply whose headers are too long.
const LONGEST: usize = 1 << 10;
/// Bytes of what is said again of a field or a limit.
const SHORT: usize = 200;
/// Whose reasons these are.
const DOMAIN: &str = "tms";
/// The limit of messages, as settings name it.
const MAX_MESSAGE: &str = "max_message";

/// A field of the request is wrong. It is written as its place in the message: `image.dtype`, `inputs[2]`.
pub fn field(field: impl Into<String>, text: impl Into<String>) -> Status {
    let text = text.into();
    let said = text::bounded(&text, SHORT);
    let details = ErrorDetails::with_bad_request_violation(field, said);
    detailed(Code::InvalidArgument, text, details)
}

/// What is larger than messages may be, and how to change that.
pub fn too_large(what: &str, limit: usize) -> Status {
    let text = format!(
        "the {what} is larger than the limit of {limit} bytes: raise it with --max-message, \
         TMS_MAX_MESSAGE or max_message in tms.toml"
    );
    Limit { name: MAX_MESSAGE, retry: None }.status(Code::ResourceExhausted, text)
}

/// A limit that was met.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// As settings name it.
    pub name: &'static str,
    /// When it may be met no longer.
    pub retry: Option<Duration>,
}

impl Limit {
    pub fn status(self, code: Code, text: String) -> Status {
        let mut details = ErrorDetails::new();
        self.add_to(&mut details, &text);
        detailed(code, text, details)
    }

    fn add_to(self, details: &mut ErrorDetails, text: &str) {
        details.add_quota_failure_violation(self.name, text::bounded(text, SHORT));
        if let Some(retry) = self.retry {
            details.set_retry_info(Some(retry));
        }
    }
}

/// A run that failed.
pub struct Failed<'a> {
    pub model: &'a str,
    /// What became of it, as metrics name it.
    pub outcome: &'static str,
    pub limit: Option<Limit>,
    /// Where no limit was met.
    pub retry: Option<Duration>,
}

impl Failed<'_> {
    pub fn status(self, code: Code, text: String) -> Status {
        let mut details = ErrorDetails::new();
        let model = ("model".to_owned(), self.model.to_owned());
        details.set_error_info(self.outcome.to_uppercase(), DOMAIN, [model]);
        match self.limit {
            Some(limit) => limit.add_to(&mut details, &text),
            None => {
                if let Some(retry) = self.retry {
                    details.set_retry_info(Some(retry));
                }
            }
        }
        detailed(code, text, details)
    }
}

/// A long text comes alone.
fn detailed(code: Code, text: String, details: ErrorDetails) -> Status {
    match text.len() {
        ..=LONGEST => Status::with_error_details(code, text, details),
        _ => Status::new(code, text),
    }
}

/// The details of an error, each with its type's name and its bytes.
pub fn of(status: &Status) -> Vec<(String, Vec<u8>)> {
    let Ok(status) = pb::Status::decode(status.details()) else { return Vec::new() };
    let name = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
    status.details.into_iter().map(|any| (name(&any.type_url), any.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_fits_its_headers() {
        let text = "é\"".repeat(LONGEST / 3);
        let failed = Failed {
            model: &"m".repeat(100),
            outcome: "full",
            limit: Some(Limit { name: "max_queue", retry: Some(Duration::from_millis(100)) }),
            retry: None,
        };
        let headers = failed.status(Code::ResourceExhausted, text).into_http::<()>();
        let bytes: usize = headers.headers().values().map(|value| value.len()).sum();
        // What gRPC's C core takes in all.
        assert!(bytes < 6 << 10, "{bytes}");
    }

    #[test]
    fn a_long_text_comes_alone() {
        assert!(of(&field("a", "x".repeat(LONGEST + 1))).is_empty());
        let status = field("a", "x".repeat(LONGEST));
        let details = status.get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!((violation.field.as_str(), status.message().len()), ("a", LONGEST));
        assert!(violation.description.len() <= SHORT);
        assert_eq!(of(&status)[0].0, "google.rpc.BadRequest");
    }
}
