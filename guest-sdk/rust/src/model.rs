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
    ///
    /// A model that [streams](Description::streaming) gives parts of its result with
    /// [`emit`](crate::emit) before it returns; what it returns is the last part. A model that keeps
    /// [state](Description::with_sequences) from call to call has it in fields of its own: each
    /// sequence of calls has a value of its own.
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
    pub(crate) encoded: bool,
    pub(crate) media_types: Vec<String>,
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
    pub(crate) streams: bool,
    pub(crate) sequences: bool,
    pub(crate) about: String,
    pub(crate) text_means: String,
    pub(crate) args_mean: String,
    pub(crate) json_means: String,
    pub(crate) tensors_mean: Vec<(String, String)>,
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

    /// Takes files of these media types, such as `image/jpeg`; of any where there are none.
    pub fn encoded(media_types: &[&str]) -> Self {
        Self::default().and_encoded(media_types)
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

    /// Takes files of these media types too; of any where there are none.
    pub fn and_encoded(self, media_types: &[&str]) -> Self {
        let media_types = media_types.iter().map(|&media_type| media_type.into()).collect();
        Self { encoded: true, media_types, ..self }
    }

    /// Gives parts of its result before the end, with [`emit`](crate::emit).
    pub fn streaming(self) -> Self {
        Self { streams: true, ..self }
    }

    /// Keeps state from call to call: calls of one sequence meet the same value, in their order, and
    /// no other calls do.
    pub fn with_sequences(self) -> Self {
        Self { sequences: true, ..self }
    }

    /// Says in a sentence what the model does.
    pub fn about(self, sentence: impl Into<String>) -> Self {
        Self { about: sentence.into(), ..self }
    }

    /// Says in a sentence what a request's text is.
    pub fn text_means(self, sentence: impl Into<String>) -> Self {
        Self { text_means: sentence.into(), ..self }
    }

    /// Says in a sentence which arguments it knows.
    pub fn args_mean(self, sentence: impl Into<String>) -> Self {
        Self { args_mean: sentence.into(), ..self }
    }

    /// Says in a sentence what its JSON is.
    pub fn json_means(self, sentence: impl Into<String>) -> Self {
        Self { json_means: sentence.into(), ..self }
    }

    /// Says in a sentence what the input or output of this name is.
    pub fn tensor_means(mut self, name: impl Into<String>, sentence: impl Into<String>) -> Self {
        self.tensors_mean.push((name.into(), sentence.into()));
        self
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
