//! The network, and the state that it gets back with the next chunk.

use tms_guest::{Error, Graph, Result, Tensor};

use crate::recording::{Recording, WINDOW};

/// The network's own memory of what it heard: [2, 1, 128].
const STATE: [usize; 3] = [2, 1, 128];
/// Samples a second.
const RATE: i64 = 16_000;

/// What a recording left, so that the next samples are heard as its continuation.
#[derive(Default)]
pub struct Heard {
    recording: Recording,
    /// None before the first chunk. Only the network reads it: it goes from output to input by its
    /// handle, without a copy in the sandbox.
    state: Option<Tensor>,
}

impl Heard {
    /// A second one of the same.
    pub fn share(&self) -> Self {
        let state = self.state.as_ref().map(Tensor::share);
        Self { recording: self.recording.clone(), state }
    }
}

/// The network.
pub struct Network(Graph);

impl Network {
    /// Opens the graph beside the component.
    pub fn load() -> Result<Self> {
        Ok(Self(Graph::load("model")?))
    }

    /// How likely speech is in each chunk that becomes whole with these samples.
    pub fn listen(&self, heard: &mut Heard, samples: &[f32]) -> Result<Vec<f32>> {
        let Heard { recording, state } = heard;
        recording.add(samples);
        let rate = Tensor::new(&[], &[RATE])?;
        let mut probabilities = Vec::new();
        for window in recording.windows() {
            let window = Tensor::new(&[1, WINDOW], window)?;
            let before = match state.take() {
                Some(state) => state,
                None => Tensor::new(&STATE, &[0.0f32; STATE[0] * STATE[1] * STATE[2]])?,
            };
            let inputs = [("input", window), ("state", before), ("sr", rate.share())];
            let outputs = self.0.compute(inputs)?;
            let probability = outputs.get("output")?.to_vec::<f32>()?;
            let missing = || Error::model("the network gave no probability");
            probabilities.push(*probability.first().ok_or_else(missing)?);
            *state = Some(outputs.get("stateN")?.share());
        }
        recording.forget();
        Ok(probabilities)
    }
}
