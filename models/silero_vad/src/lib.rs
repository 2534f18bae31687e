//! Where somebody speaks: silero-vad, which hears 32 ms at a time and remembers what it heard.
//!
//! Takes samples at 16 kHz as named tensors, as they come in, and answers for each chunk of 512 how
//! likely it is that somebody speaks. Or takes a whole WAV file, and answers also from when to when.
//!
//! - [`samples`]: what a caller sends as samples
//! - [`wav`]: the samples of a WAV file
//! - [`recording`]: what is left of the samples from one call to the next
//! - [`network`]: the network, and the state that it gets back
//! - [`segments`]: probabilities to times

pub mod network;
pub mod recording;
pub mod samples;
pub mod segments;
pub mod wav;

use tms_guest::prelude::*;
use tms_guest::serde::Serialize;

use crate::network::{Heard, Network};
use crate::segments::{Segment, segments};

/// What is said of a whole file.
#[derive(Serialize)]
#[serde(crate = "tms_guest::serde")]
struct Speech {
    probabilities: Vec<f32>,
    segments: Vec<Segment>,
}

struct Detector {
    network: Network,
    /// What the calls before this one left.
    heard: Heard,
}

impl Model for Detector {
    fn init() -> Result<Self> {
        Ok(Self { network: Network::load()?, heard: Heard::default() })
    }

    fn describe(&self) -> Description {
        let samples = vec![
            TensorInfo::new("audio", DType::F32, [-1]),
            TensorInfo::new("pcm", DType::I16, [-1]),
        ];
        let probability = TensorInfo::new("probability", DType::F32, [-1]);
        Description::tensors(samples, vec![probability])
            .and_encoded(&wav::MEDIA_TYPES)
            .with_sequences()
            .about("Says where somebody speaks, for every 32 ms of sound.")
            .json_means(
                "Of a file: the probability of each chunk, and from when to when is speech.",
            )
            .tensor_means("audio", "Samples at 16 kHz, -1 to 1. Either these or pcm.")
            .tensor_means("pcm", "The same as 16-bit numbers.")
            .tensor_means("probability", "How likely each whole chunk of 512 samples has speech.")
    }

    fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
        match input {
            Input::Encoded(file) => Output::json(&self.speech(&file.to_vec()?)?),
            other => {
                let probability = self.listen(&samples::given(&other.tensors()?)?)?;
                let probability = Tensor::new(&[probability.len()], &probability)?;
                Ok(Output::tensors([("probability", probability)]))
            }
        }
    }
}

impl Detector {
    /// A file is a recording of its own: it neither hears what was before nor changes it.
    fn speech(&self, file: &[u8]) -> Result<Speech> {
        /// Samples that are floats at once: a long file has room.
        const PIECE: usize = 1 << 16;
        let (pcm, _) = wav::pcm(file)?.as_chunks();
        let mut heard = Heard::default();
        let mut probabilities = Vec::new();
        for piece in pcm.chunks(PIECE) {
            let samples = piece.iter().map(|&bytes| samples::from_pcm(i16::from_le_bytes(bytes)));
            probabilities.extend(self.network.listen(&mut heard, &samples.collect::<Vec<_>>())?);
        }
        let segments = segments(&probabilities);
        Ok(Speech { probabilities, segments })
    }

    /// Goes on where the call before it ended, in a sequence or a session. Any other call shares its
    /// instance with strangers: it hears nothing of them, and leaves nothing to them.
    fn listen(&mut self, samples: &[f32]) -> Result<Vec<f32>> {
        let sequence = context::sequence();
        let goes_on = sequence.is_some();
        if sequence.is_none_or(|place| place.start) {
            self.heard = Heard::default();
        }
        // A copy: a call that fails leaves all as it was, so that the caller can repeat it.
        let mut heard = self.heard.share();
        let probabilities = self.network.listen(&mut heard, samples)?;
        if goes_on {
            self.heard = heard;
        }
        Ok(probabilities)
    }
}

tms_guest::export!(Detector);
