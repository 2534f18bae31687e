//! Text to the numbers of its pieces: BERT's WordPiece, lower-cased, as tokenizer.json describes it.

use kitoken::Kitoken;
use kitoken::convert::convert_tokenizers;
use tms_guest::{Error, Result};

/// The network's input starts with this piece and ends with the other.
const START: u32 = 101;
const END: u32 = 102;

/// As many pieces of a text are looked at, start and end among them: what the network was made for.
pub const MOST: usize = 256;

/// The tokenizer.
pub struct Tokens(Kitoken);

impl Tokens {
    /// Reads the description that is part of the component.
    pub fn load() -> Result<Self> {
        let mut definition = convert_tokenizers(include_bytes!("../tokenizer.json"))?;
        // Cutting and filling up are done here, to what a batch needs.
        definition.config.processing.clear();
        Ok(Self(Kitoken::from_definition(definition)?))
    }

    /// The numbers of a text's pieces: two to [`MOST`].
    pub fn of(&self, text: &str) -> Result<Vec<u32>> {
        // `true`: a `[SEP]` in the text is that piece, as with the tokenizer this one stands for.
        let pieces = self.0.encode(text, true).map_err(Error::caller)?;
        let pieces = pieces.into_iter().take(MOST - 2);
        Ok([START].into_iter().chain(pieces).chain([END]).collect())
    }
}
