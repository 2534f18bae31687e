//! The networks: one reads a word's letters into a state, the other makes the next sound and the next
//! state of the last ones.

use tms_guest::{Error, Graph, Result, Tensor, scores};

use crate::symbols::Symbols;

/// The most sounds of a word, as the networks' authors have it: they may find no end.
const MOST: usize = 20;

/// The networks, and what their numbers mean.
pub struct Voice {
    encoder: Graph,
    decoder: Graph,
    graphemes: Symbols,
    phonemes: Symbols,
}

impl Voice {
    /// Opens the graphs beside the component.
    pub fn load() -> Result<Self> {
        let (encoder, decoder) = (Graph::load("encoder")?, Graph::load("decoder_step")?);
        let (graphemes, phonemes) = (Symbols::graphemes(), Symbols::phonemes());
        Ok(Self { encoder, decoder, graphemes, phonemes })
    }

    /// The sounds of a word, each as soon as it is known.
    pub fn say(&self, word: &str) -> Result<Saying<'_>> {
        let letters = letters(&self.graphemes, word)?;
        let letters = Tensor::new(&[1, letters.len()], &letters)?;
        let outputs = self.encoder.compute([("letters", letters)])?;
        Ok(Saying {
            voice: self,
            last: self.phonemes.number("<s>")?,
            end: self.phonemes.number("</s>")?,
            state: outputs.get("h")?.share(),
            left: MOST,
        })
    }
}

/// The numbers of a word's letters, and of its end.
pub fn letters(graphemes: &Symbols, word: &str) -> Result<Vec<i64>> {
    let mut buffer = [0; 4];
    let mut letters = Vec::with_capacity(word.len() + 1);
    for letter in word.chars() {
        letters.push(graphemes.number(letter.encode_utf8(&mut buffer))?);
    }
    letters.push(graphemes.number("</s>")?);
    Ok(letters)
}

/// A word that is being said.
pub struct Saying<'a> {
    voice: &'a Voice,
    /// The last sound, and the one that stands for the end.
    last: i64,
    end: i64,
    /// What the word and its sounds so far come to. Only the network reads it: it goes from output to
    /// input by its handle, without a copy in the sandbox.
    state: Tensor,
    left: usize,
}

impl Saying<'_> {
    /// One step: the next sound, or none at the word's end.
    fn step(&mut self) -> Result<Option<&'static str>> {
        let Self { voice, last, .. } = *self;
        let inputs = [("token", Tensor::new(&[1], &[last])?), ("h", self.state.share())];
        let outputs = voice.decoder.compute(inputs)?;
        let best = scores::top_k(&outputs.get("logits")?.to_vec::<f32>()?, 1);
        let &(best, _) = best.first().ok_or_else(|| Error::model("the network gave no scores"))?;
        self.last = i64::try_from(best)?;
        self.state = outputs.get("h_next")?.share();
        if self.last == self.end {
            return Ok(None);
        }
        voice.phonemes.name(self.last).map(Some)
    }
}

impl Iterator for Saying<'_> {
    type Item = Result<&'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let step = self.step().transpose();
        // Behind the end, and behind a failure, there is nothing.
        if !matches!(step, Some(Ok(_))) {
            self.left = 0;
        }
        step
    }
}
