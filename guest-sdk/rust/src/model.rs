//! The trait that a model implements, and what it says about itself.

use crate::{Args, Input, Output, Result, TensorInfo};

/// A model. One value lives in each instance of the component and serves one call at a time, so
/// `&mut self` needs no lock; other instances have values of their own.
pub trait Model: Sized + 'static {
    /// Called once in every new instance. A failure takes the model out of service.
    fn init() -> Result<Self>;

    /// What the model takes and gives; must not change over time.
    fn describe(&self) -> Description;

    /// Answers one request.
    fn run(&mut self, input: Input, args: &Args) -> Result<Output>;

    /// Answers the requests of one batch call, one output for each input in the same order.
    ///
    /// Unless overridden it calls [`run`](Self::run) for each. An error fails the whole call.
    fn run_batch(&mut self, inputs: Vec<Input>, args: &Args) -> Result<Vec<Output>> {
        let answer = |(index, input)| {
            self.run(input, args).map_err(|error| error.context(format_args!("input {index}")))
        };
        inputs.into_iter().enumerate().map(answer).collect()
    }

    /// The image size that suits the model best, `[height, width, channels]` or `[height, width]`.
    /// Callers may shrink images to it. None where any size does.
    fn input_shape(&self) -> Option<Vec<u32>> {
        None
    }
}

/// What a model takes and gives. Start with a kind and add others:
/// `Description::text().and_image()`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    pub(crate) text: bool,
    pub(crate) image: bool,
    pub(crate) tensors: bool,
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
}

impl Description {
    /// Takes text.
    pub fn text() -> Self {
        Self::default().and_text()
    }

    /// Takes images.
    pub fn image() -> Self {
        Self::default().and_image()
    }

    /// Takes and gives named tensors, by the Open Inference Protocol.
    pub fn tensors(inputs: Vec<TensorInfo>, outputs: Vec<TensorInfo>) -> Self {
        Self::default().and_tensors(inputs, outputs)
    }

    /// Takes text too.
    pub fn and_text(self) -> Self {
        Self { text: true, ..self }
    }

    /// Takes images too.
    pub fn and_image(self) -> Self {
        Self { image: true, ..self }
    }

    /// Takes named tensors too.
    pub fn and_tensors(self, inputs: Vec<TensorInfo>, outputs: Vec<TensorInfo>) -> Self {
        Self { tensors: true, inputs, outputs, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bail_caller;

    struct Length;

    impl Model for Length {
        fn init() -> Result<Self> {
            Ok(Self)
        }

        fn describe(&self) -> Description {
            Description::text()
        }

        fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
            let text = input.text()?;
            if text.is_empty() {
                bail_caller!("nothing to measure");
            }
            Output::json(&text.len())
        }
    }

    #[test]
    fn a_batch_runs_each_member() {
        let inputs = |texts: &[&str]| texts.iter().map(|&text| Input::Text(text.into())).collect();
        let outputs = Length.run_batch(inputs(&["a", "bcd"]), &Args::default()).unwrap();
        let replies: Vec<_> = outputs.iter().map(|output| output.as_json().unwrap()).collect();
        assert_eq!(replies, ["1", "3"]);
    }

    #[test]
    fn a_batch_names_the_member_that_failed() {
        let inputs = vec![Input::Text("a".into()), Input::Text(String::new())];
        let error = Length.run_batch(inputs, &Args::default()).unwrap_err();
        assert_eq!(error.message(), "input 1: nothing to measure");
    }
}
