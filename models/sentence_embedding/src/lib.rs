//! What a sentence means, as 384 numbers: all-MiniLM-L6-v2 in int8. Sentences that mean the same have
//! vectors that point the same way; all vectors have length 1, so a dot product compares two.
//!
//! - [`tokens`]: text to the numbers of its pieces
//! - [`batch`]: several texts as one input of the network
//! - [`pool`]: what the network says about each piece to one vector a text

pub mod batch;
pub mod pool;
pub mod tokens;

use tms_guest::ndarray::Array2;
use tms_guest::prelude::*;

use crate::batch::{Batch, batches};
use crate::pool::{SIZE, pool};
use crate::tokens::Tokens;

struct Embedder {
    tokens: Tokens,
    graph: Graph,
}

impl Model for Embedder {
    fn init() -> Result<Self> {
        let graph = Graph::load("model").map_err(|error| {
            error.context("the weights are missing (`scripts/weights.sh` puts model.onnx here)")
        })?;
        Ok(Self { tokens: Tokens::load()?, graph })
    }

    fn describe(&self) -> Description {
        let text = TensorInfo::new("text", DType::Bytes, [-1]);
        let embedding = TensorInfo::new("embedding", DType::F32, [-1, SIZE as i64]);
        Description::text().and_tensors(vec![text], vec![embedding])
    }

    fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
        match input {
            Input::Text(text) => Output::json(&self.embed(&[text])?.concat()),
            other => {
                let texts = other.tensors()?.array::<String>("text")?.into_raw_vec_and_offset().0;
                let vectors = self.embed(&texts)?;
                let vectors = Array2::from_shape_vec((texts.len(), SIZE), vectors.concat())?;
                Ok(Output::tensors([("embedding", vectors)]))
            }
        }
    }

    /// Texts together, so that the network runs once for all.
    fn run_batch(&mut self, inputs: Vec<Input>, args: &Args) -> Result<Vec<Output>> {
        if !inputs.iter().all(|input| matches!(input, Input::Text(_))) {
            return inputs.into_iter().map(|input| self.run(input, args)).collect();
        }
        let texts = inputs.into_iter().map(Input::text).collect::<Result<Vec<_>>>()?;
        self.embed(&texts)?.iter().map(Output::json).collect()
    }
}

impl Embedder {
    /// A vector of [`SIZE`] numbers for each text.
    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let mut pieces = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            pieces.push((place, self.tokens.of(text)?));
        }
        pieces.sort_by_key(|(_, pieces)| pieces.len());
        let (places, texts): (Vec<usize>, Vec<_>) = pieces.into_iter().unzip();
        let mut places = places.into_iter();
        let mut vectors = vec![Vec::new(); texts.len()];
        for texts in batches(&texts) {
            let batch = Batch::new(texts)?;
            let outputs = self.graph.compute(batch.inputs)?;
            let states = outputs.get("last_hidden_state")?;
            for ((row, text), place) in texts.iter().enumerate().zip(&mut places) {
                // Behind the text's own pieces there is only what was filled up: not read.
                let state = states.rows(row..row + 1)?;
                let state = state.reshape(&[batch.width, SIZE])?.rows(0..text.len())?;
                vectors[place] = pool(&state.to_vec()?);
            }
        }
        Ok(vectors)
    }
}

tms_guest::export!(Embedder);
