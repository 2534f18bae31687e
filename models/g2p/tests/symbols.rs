//! The networks are shown the numbers that they were trained with, and the reference's words (see
//! make_reference.py) are made of what this model knows.

use g2p::spelling::words;
use g2p::symbols::Symbols;
use g2p::voice::letters;
use tms_guest::serde_json::{Value, from_str};

#[test]
fn letters_have_the_networks_numbers() {
    let graphemes = Symbols::graphemes();
    assert_eq!(letters(&graphemes, "tensor").unwrap(), [22, 7, 16, 21, 17, 20, 2]);
    assert_eq!(letters(&graphemes, "az").unwrap(), [3, 28, 2]);
    assert!(letters(&graphemes, "é").is_err());
}

#[test]
fn the_references_words_and_sounds_are_known() {
    let reference: Vec<Value> = from_str(include_str!("reference.json")).unwrap();
    let (graphemes, phonemes) = (Symbols::graphemes(), Symbols::phonemes());
    assert_eq!(reference.len(), 15);
    for entry in &reference {
        let word = entry["word"].as_str().unwrap();
        assert_eq!(words(&word.to_uppercase()).unwrap(), [word]);
        assert_eq!(letters(&graphemes, word).unwrap().len(), word.len() + 1);
        for phoneme in entry["phonemes"].as_array().unwrap() {
            let phoneme = phoneme.as_str().unwrap();
            assert_eq!(phonemes.name(phonemes.number(phoneme).unwrap()).unwrap(), phoneme);
        }
    }
}
