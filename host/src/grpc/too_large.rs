//! tonic refuses requests over its limit without saying which setting that is. This says it.

use http::{HeaderMap, HeaderValue, header::HeaderName};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// OUT_OF_RANGE, which tonic gives.
const THEIRS: &str = "11";
/// RESOURCE_EXHAUSTED, which gRPC asks for.
const OURS: HeaderValue = HeaderValue::from_static("8");

/// What is too large, and how to change that.
pub fn message(what: &str, limit: usize) -> String {
    format!(
        "the {what} is larger than the limit of {limit} bytes: raise it with --max-message, \
         TMS_MAX_MESSAGE or max_message in tms.toml"
    )
}

/// Rewrites the refusal; leaves every other reply as it is.
pub fn name_setting(headers: &mut HeaderMap, limit: usize) {
    let text = |headers: &HeaderMap, name| {
        let value = headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    if text(headers, STATUS) != THEIRS {
        return;
    }
    // It travels percent-encoded.
    let said = text(headers, MESSAGE).replace("%20", " ");
    if !said.contains("decoded message length too large") {
        return;
    }
    if let Ok(message) = HeaderValue::try_from(message("request", limit)) {
        headers.insert(STATUS, OURS);
        headers.insert(MESSAGE, message);
    }
}
