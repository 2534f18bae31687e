//! Errors: one sentence for the caller, and whose fault it is. The fault decides the status that
//! the caller sees.

use std::fmt;

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is wrong: the caller sees INVALID_ARGUMENT.
    Caller,
    /// The model is wrong: the caller sees INTERNAL.
    Model,
    /// The server lacks something that it should have: the caller sees UNAVAILABLE.
    Server,
}

/// A failure. `?` turns any [`std::error::Error`] into one that is the model's fault.
///
/// It does not implement [`std::error::Error`] itself: only so can `?` accept all others.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    fault: Fault,
    message: String,
}

impl Error {
    /// The request is wrong. Also for `map_err`: `text.parse::<f32>().map_err(Error::caller)?`.
    pub fn caller(message: impl fmt::Display) -> Self {
        Self::new(Fault::Caller, message)
    }

    /// The model is wrong.
    pub fn model(message: impl fmt::Display) -> Self {
        Self::new(Fault::Model, message)
    }

    /// The server lacks something.
    pub fn server(message: impl fmt::Display) -> Self {
        Self::new(Fault::Server, message)
    }

    /// A failure of the given fault.
    pub fn new(fault: Fault, message: impl fmt::Display) -> Self {
        Self { fault, message: message.to_string() }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The sentence for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Puts `context` and a colon before the message.
    pub fn context(self, context: impl fmt::Display) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }

    /// The same message as somebody else's fault.
    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (fault: {:?})", self.message, self.fault)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self { fault: Fault::Model, message }
    }
}

/// Returns an [`Error`] that is the caller's fault; takes what `format!` takes.
#[macro_export]
macro_rules! bail_caller {
    ($($message:tt)+) => {
        return ::core::result::Result::Err($crate::Error::caller(::std::format!($($message)+)))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_mark_makes_a_model_fault() {
        fn parse() -> Result<i32> {
            Ok("x".parse()?)
        }
        let error = parse().unwrap_err();
        assert_eq!(error.fault(), Fault::Model);
        assert_eq!(error.message(), "invalid digit found in string");
    }

    #[test]
    fn bail_caller_formats() {
        fn refuse(n: i32) -> Result<()> {
            bail_caller!("{n} is too many")
        }
        assert_eq!(refuse(3), Err(Error::caller("3 is too many")));
    }
}
