//! What callers are told whose request or reply is too large: which setting that is.

/// What is too large, and how to change that.
pub fn message(what: &str, limit: usize) -> String {
    format!(
        "the {what} is larger than the limit of {limit} bytes: raise it with --max-message, \
         TMS_MAX_MESSAGE or max_message in tms.toml"
    )
}
