//! Letters and sounds, and the numbers that the networks have for them.

use tms_guest::{Error, Result};

/// A list of symbols; a symbol's place is its number.
pub struct Symbols(Vec<&'static str>);

impl Symbols {
    /// What words are written with.
    pub fn graphemes() -> Self {
        Self(include_str!("../graphemes.txt").lines().collect())
    }

    /// What words sound like, in ARPAbet: vowels have their stress, 0 to 2.
    pub fn phonemes() -> Self {
        Self(include_str!("../phonemes.txt").lines().collect())
    }

    /// The number of a symbol that must be there.
    pub fn number(&self, symbol: &str) -> Result<i64> {
        let place = self.0.iter().position(|known| *known == symbol);
        let place = place.ok_or_else(|| Error::model(format!("there is no symbol {symbol}")))?;
        Ok(i64::try_from(place)?)
    }

    /// The symbol of a number that a network gave.
    pub fn name(&self, number: i64) -> Result<&'static str> {
        let place = usize::try_from(number)?;
        let name = self.0.get(place).copied();
        name.ok_or_else(|| Error::model(format!("there is no symbol of number {number}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbols_place_is_its_number() {
        let (graphemes, phonemes) = (Symbols::graphemes(), Symbols::phonemes());
        assert_eq!((graphemes.number("</s>"), graphemes.number("a")), (Ok(2), Ok(3)));
        assert_eq!((phonemes.number("<s>"), phonemes.number("</s>")), (Ok(2), Ok(3)));
        assert_eq!((phonemes.name(4), phonemes.name(73)), (Ok("AA0"), Ok("ZH")));
        assert!(graphemes.number("é").is_err());
        assert!(phonemes.name(74).is_err() && phonemes.name(-1).is_err());
    }
}
