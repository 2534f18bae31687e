//! Pieces are those of the tokenizer's own library (see make_reference.py).

use sentence_embedding::tokens::{MOST, Tokens};
use tms_guest::serde_json::{Value, from_str};

#[test]
fn pieces_are_the_references() {
    let tokens = Tokens::load().unwrap();
    let cases: Vec<Value> = from_str(include_str!("reference.json")).unwrap();
    assert_eq!(cases.len(), 14);
    let mut wrong = Vec::new();
    for case in &cases {
        let text = case["text"].as_str().unwrap();
        let wanted: Vec<u64> =
            case["pieces"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        let got: Vec<u64> = tokens.of(text).unwrap().into_iter().map(u64::from).collect();
        if got != wanted {
            wrong.push(format!("{text:?}: {got:?}, not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_long_text_is_cut() {
    let tokens = Tokens::load().unwrap();
    assert_eq!(tokens.of(&"word ".repeat(10_000)).unwrap().len(), MOST);
    assert_eq!(tokens.of("").unwrap(), [101, 102]);
}
