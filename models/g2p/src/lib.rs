//! English spelling to sounds: a network that says one sound at a time, each from those before it.
//!
//! Takes a text of one or several words. A caller who takes parts gets each sound as soon as it is
//! known; all get the words with their sounds in the end.
//!
//! - [`symbols`]: letters and sounds, and the numbers that the networks have for them
//! - [`spelling`]: a text to words of letters that the networks know
//! - [`voice`]: the networks, from a word's letters to its sounds

pub mod spelling;
pub mod symbols;
pub mod voice;

use tms_guest::prelude::*;
use tms_guest::responses;
use tms_guest::serde::Serialize;

use crate::spelling::words;
use crate::voice::Voice;

/// A part of the result: one sound.
#[derive(Serialize)]
#[serde(crate = "tms_guest::serde")]
struct Sound<'a> {
    phoneme: &'a str,
    word: &'a str,
    /// Which of the text's words it is: the same one may come again.
    index: usize,
}

/// What a word sounds like.
#[derive(Serialize)]
#[serde(crate = "tms_guest::serde")]
struct Pronounced {
    word: String,
    phonemes: Vec<&'static str>,
}

struct Speller(Voice);

impl Model for Speller {
    fn init() -> Result<Self> {
        Ok(Self(Voice::load()?))
    }

    fn describe(&self) -> Description {
        Description::text()
            .streaming()
            .about("Says how English words are pronounced, one sound at a time.")
            .text_means("One or several English words with spaces between them, 1000 letters at most.")
            .args_mean("None.")
            .json_means(
                "A list of words, each with its phonemes in ARPAbet; in a stream, a phoneme with its \
                 word in each part before.",
            )
    }

    fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
        let in_parts = responses::streaming();
        let mut text = Vec::new();
        for (index, word) in words(&input.text()?)?.into_iter().enumerate() {
            let mut phonemes = Vec::new();
            for phoneme in self.0.say(&word)? {
                let phoneme = phoneme?;
                if in_parts {
                    emit(Output::json(&Sound { phoneme, word: &word, index })?)?;
                }
                phonemes.push(phoneme);
            }
            text.push(Pronounced { word, phonemes });
        }
        Output::json(&text)
    }
}

tms_guest::export!(Speller);
