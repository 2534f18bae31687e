//! Whether a request fits what the model says that it takes: what does not is the caller's fault, and
//! never reaches the model. And the outputs that a caller wants of what the model gives.

use crate::{
    data::{Description, Input, Kind, NamedTensor, Output},
    nn::{Tensor, TensorInfo},
    text,
};

use super::RunError;

/// Bytes of a name that a caller chose, in a message.
const LONGEST_NAME: usize = 100;
/// Bytes of a list of the model's names, in a message.
const LONGEST_LIST: usize = 500;

/// Refuses kinds of request that the model does not take.
pub fn kind(description: &Description, kind: Kind) -> Result<(), RunError> {
    if description.accepts(kind) { Ok(()) } else { Err(refuse(description, kind)) }
}

/// Refuses a request of another kind, files of another type, and tensors that do not fit.
pub fn input(description: &Description, given: &Input) -> Result<(), RunError> {
    kind(description, given.kind())?;
    match given {
        Input::Tensors(given) => tensors(description, given),
        Input::Encoded(file) => media_type(description, &file.media_type),
        Input::Text(_) | Input::Image(_) => Ok(()),
    }
}

fn media_type(description: &Description, given: &str) -> Result<(), RunError> {
    let takes = &description.media_types;
    if takes.is_empty() || takes.iter().any(|one| one == given) {
        return Ok(());
    }
    Err(RunError::Unfit(format!(
        "the model takes {}, not {}",
        text::bounded(&takes.join(", "), LONGEST_LIST),
        quoted(given)
    )))
}

pub fn refuse(description: &Description, kind: Kind) -> RunError {
    RunError::Unaccepted { accepts: description.accepted(), got: kind.phrase() }
}

/// Refuses tensors whose names, types or shapes are not those of the description. A description without
/// inputs says nothing about them. One that is missing is for the model to judge: it may have a
/// default.
pub fn tensors(description: &Description, given: &[NamedTensor]) -> Result<(), RunError> {
    if description.inputs.is_empty() {
        return Ok(());
    }
    for (position, (name, tensor)) in given.iter().enumerate() {
        let Some(info) = description.inputs.iter().find(|info| info.name == *name) else {
            let names: Vec<_> =
                description.inputs.iter().map(|info| format!("`{}`", info.name)).collect();
            return Err(RunError::Unfit(format!(
                "the model has no input `{}`; it takes {}",
                quoted(name),
                text::bounded(&names.join(", "), LONGEST_LIST)
            )));
        };
        if given[..position].iter().any(|(earlier, _)| earlier == name) {
            return Err(RunError::Unfit(format!("input `{}` is given twice", quoted(name))));
        }
        fits(info, tensor)?;
    }
    Ok(())
}

/// The outputs that are wanted, in that order; all where none is named.
pub fn select(mut output: Output, wanted: &[String]) -> Result<Output, RunError> {
    if wanted.is_empty() {
        return Ok(output);
    }
    let mut selected = Vec::with_capacity(wanted.len().min(output.tensors.len()));
    for name in wanted {
        let Some(position) = output.tensors.iter().position(|(given, _)| given == name) else {
            return Err(RunError::Unfit(format!(
                "the model gives no output `{}`, or not twice",
                quoted(name)
            )));
        };
        selected.push(output.tensors.swap_remove(position));
    }
    output.tensors = selected;
    Ok(output)
}

fn fits(info: &TensorInfo, tensor: &Tensor) -> Result<(), RunError> {
    if tensor.dtype() == info.dtype && info.takes(tensor.shape()) {
        return Ok(());
    }
    Err(RunError::Unfit(format!(
        "input `{}` is {} {}, but the model takes {} {}",
        quoted(&info.name),
        tensor.dtype(),
        text::Shape(tensor.shape()),
        info.dtype,
        text::Shape(&info.shape),
    )))
}

/// A name that somebody chose, fit for a message.
fn quoted(name: &str) -> String {
    text::bounded(name, LONGEST_NAME).escape_debug().to_string()
}
