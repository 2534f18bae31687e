//! The caller's arguments: a JSON document, parsed only where the model asks for it.

use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The arguments of one request; `{}` where the caller gave none.
#[derive(Debug, Clone)]
pub struct Args(String);

impl Args {
    /// Arguments from JSON text; what is wrong with it shows when they are read.
    pub fn new(json: impl Into<String>) -> Self {
        Self(json.into())
    }

    /// All arguments as one value. Give a struct `#[serde(default)]` to make its fields optional.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|error| Error::caller(error).context("args"))
    }

    /// One argument by name; none where the caller left it out or gave `null`.
    pub fn field<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let mut all: serde_json::Map<String, serde_json::Value> = self.get()?;
        let value = all.remove(name).unwrap_or_default();
        serde_json::from_value(value)
            .map_err(|error| Error::caller(error).context(format_args!("args: {name}")))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Args {
    fn default() -> Self {
        Self::new("{}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    #[test]
    fn fields_are_optional_and_typed() {
        let args = Args::new(r#"{"top": 3, "label": null}"#);
        assert_eq!(args.field::<usize>("top"), Ok(Some(3)));
        assert_eq!(args.field::<String>("label"), Ok(None));
        assert_eq!(args.field::<usize>("missing"), Ok(None));
        let error = args.field::<String>("top").unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        assert!(error.message().starts_with("args: top: invalid type"), "{error}");
    }

    #[test]
    fn broken_json_is_the_callers_fault() {
        let error = Args::new("{").get::<serde_json::Value>().unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
    }
}
