//! A text to words of letters that the networks know.

use tms_guest::{Result, bail_caller};

/// The most letters of a word and of a text: a bound for the time that a call takes.
const LONGEST_WORD: usize = 100;
const LONGEST_TEXT: usize = 1000;

/// The words of a text, each as its letters from a to z. What is none is left out, as it is from what
/// the networks were trained on; so is a word without letters.
pub fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut total = 0;
    for word in text.split_whitespace() {
        let letters = word.chars().filter(char::is_ascii_alphabetic);
        // One more than there may be: a word without end is not kept.
        let letters: String =
            letters.take(LONGEST_WORD + 1).map(|letter| letter.to_ascii_lowercase()).collect();
        if letters.len() > LONGEST_WORD {
            bail_caller!("a word has more than {LONGEST_WORD} letters");
        }
        total += letters.len();
        if total > LONGEST_TEXT {
            bail_caller!("the text has more than {LONGEST_TEXT} letters");
        }
        if !letters.is_empty() {
            words.push(letters);
        }
    }
    if words.is_empty() {
        bail_caller!("the text has no letters from a to z");
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tms_guest::Fault;

    #[test]
    fn only_letters_are_left() {
        assert_eq!(words("hello").unwrap(), ["hello"]);
        assert_eq!(words(" Hello,\n\u{a0}WORLD!\t").unwrap(), ["hello", "world"]);
        assert_eq!(words("don't — the 2 cafés").unwrap(), ["dont", "the", "cafs"]);
    }

    #[track_caller]
    fn assert_refused(text: &str, message: &str) {
        let error = words(text).unwrap_err();
        assert_eq!((error.fault(), error.message()), (Fault::Caller, message));
    }

    #[test]
    fn no_letters_and_too_many_are_the_callers_fault() {
        for text in ["", " \n", "42 — ё!"] {
            assert_refused(text, "the text has no letters from a to z");
        }
        assert_eq!(words(&"a".repeat(100)).unwrap()[0].len(), 100);
        assert_refused(&"a".repeat(101), "a word has more than 100 letters");
        let word = "a".repeat(100) + " ";
        assert_eq!(words(&word.repeat(10)).unwrap().len(), 10);
        assert_refused(&(word.repeat(10) + "a"), "the text has more than 1000 letters");
    }
}
