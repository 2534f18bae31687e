//! What a graph takes and gives, and whether a call fits it. Native code sees only calls that fit.

use serde::{Deserialize, Serialize};

use super::{NnError, Tensor, TensorInfo};
use crate::text::{Shape, bounded};

/// Bytes of a name that are shown. Callers choose names, too.
const NAME: usize = 100;
/// Bytes of a list after which what follows is only counted.
const LIST: usize = 500;

/// The names, types and shapes of a graph.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Signature {
    pub inputs: Vec<TensorInfo>,
    /// Inputs with a default value. Positions continue after `inputs`.
    pub optional: Vec<TensorInfo>,
    pub outputs: Vec<TensorInfo>,
    /// Outputs that are no tensors: their names and what they are.
    pub unusable: Vec<(String, String)>,
}

impl Signature {
    /// The inputs by position, if there is each required one, once, and all fit.
    pub fn check_inputs(
        &self,
        given: Vec<(String, Tensor)>,
    ) -> Result<Vec<(usize, Tensor)>, NnError> {
        let mut found: Vec<(usize, Tensor)> = Vec::with_capacity(given.len());
        for (name, tensor) in given {
            let Some(position) = self.all_inputs().position(|info| info.name == name) else {
                return invalid(format!(
                    "the graph has no input {}; it takes {}",
                    quoted(&name),
                    names(self.all_inputs())
                ));
            };
            if found.iter().any(|(p, _)| *p == position) {
                return invalid(format!("input {} is given twice", quoted(&name)));
            }
            if let Some(info) = self.all_inputs().nth(position) {
                fits(info, &tensor)?;
            }
            found.push((position, tensor));
        }
        for (position, info) in self.inputs.iter().enumerate() {
            if !found.iter().any(|(p, _)| *p == position) {
                return invalid(format!(
                    "input {} is missing; the graph takes {}",
                    quoted(&info.name),
                    names(self.all_inputs())
                ));
            }
        }
        Ok(found)
    }

    /// The wanted outputs by position; all of them where none is named.
    pub fn check_outputs(&self, wanted: &[String]) -> Result<Vec<usize>, NnError> {
        if wanted.is_empty() {
            return Ok((0..self.outputs.len()).collect());
        }
        let mut found = Vec::with_capacity(wanted.len());
        for name in wanted {
            if let Some((_, kind)) = self.unusable.iter().find(|(n, _)| n == name) {
                return invalid(unusable(name, kind));
            }
            let Some(position) = self.outputs.iter().position(|info| info.name == *name) else {
                return invalid(format!(
                    "the graph has no output {}; it gives {}",
                    quoted(name),
                    names(self.outputs.iter())
                ));
            };
            if found.contains(&position) {
                return invalid(format!("output {} is named twice", quoted(name)));
            }
            found.push(position);
        }
        Ok(found)
    }

    fn all_inputs(&self) -> impl Iterator<Item = &TensorInfo> {
        self.inputs.iter().chain(&self.optional)
    }
}

fn fits(info: &TensorInfo, tensor: &Tensor) -> Result<(), NnError> {
    let TensorInfo { name, dtype, shape } = info;
    let (name, wanted) = (quoted(name), Shape(shape));
    let (given, given_shape) = (tensor.dtype(), Shape(tensor.shape()));
    if given != *dtype {
        return invalid(format!(
            "input {name} is {given} {given_shape}, but the graph takes {dtype} {wanted}"
        ));
    }
    if !info.takes(tensor.shape()) {
        return invalid(format!(
            "input {name} has shape {given_shape}, but the graph takes {dtype} {wanted}"
        ));
    }
    Ok(())
}

fn invalid<T>(message: String) -> Result<T, NnError> {
    Err(NnError::InvalidInput(message))
}

/// Why an output that is no tensor is not there.
pub fn unusable(name: &str, kind: &str) -> String {
    format!(
        "output {} is a {kind}, which cannot be served: export the model without it \
         (for scikit-learn, with zipmap=False)",
        quoted(name)
    )
}

/// A name in a message, bounded: `x`.
pub fn quoted(name: &str) -> String {
    format!("`{}`", bounded(name, NAME))
}

/// Names in a message: `a`, `b`.
fn names<'a>(infos: impl Iterator<Item = &'a TensorInfo>) -> String {
    list(infos.map(|info| quoted(&info.name)))
}

/// Inputs or outputs for the log: `x` fp32 [-1, 30].
pub fn describe(infos: &[TensorInfo]) -> String {
    let each =
        |info: &TensorInfo| format!("{} {} {}", quoted(&info.name), info.dtype, Shape(&info.shape));
    list(infos.iter().map(each))
}

/// Items in a row; of very many the first ones, and how many more there are.
fn list(mut items: impl Iterator<Item = String>) -> String {
    let Some(mut text) = items.next() else { return "none".into() };
    while let Some(item) = items.next() {
        if text.len() + item.len() > LIST {
            text.push_str(&format!(" and {} more", 1 + items.count()));
            break;
        }
        text.push_str(", ");
        text.push_str(&item);
    }
    text
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
