//! Other models, as far as the operator lets this one call them: `models = ["other"]` under `[model.NAME]` in
//! tms.toml.

use serde::Serialize;

use crate::{Input, Output, Result, host};

/// The names of those that may be called.
pub fn names() -> Vec<String> {
    host::other_models()
}

/// Lets another model answer a request. `args` is anything that serde can serialise: `&()` where there
/// is nothing to say.
///
/// The tensors are handed on without their bytes being copied. Fails as the other model's caller would
/// see it, and for a model that may not be called.
pub fn run(model: &str, input: Input, args: &impl Serialize) -> Result<Output> {
    host::run_other(model, input, &json(args)?)
}

/// The same for several requests at once: one output for each, in the same order.
pub fn run_batch(model: &str, inputs: Vec<Input>, args: &impl Serialize) -> Result<Vec<Output>> {
    host::run_other_batch(model, inputs, &json(args)?)
}

fn json(args: &impl Serialize) -> Result<String> {
    // What says nothing is an object without fields: `()` would be null.
    let json = serde_json::to_string(args)?;
    Ok(if json == "null" { "{}".into() } else { json })
}
