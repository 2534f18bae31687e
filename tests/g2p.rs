//! Two networks in a loop: a word's sounds, each as soon as it is known.

use serde_json::{Value, json};
use tms::grpc::proto::server::{Response, RunArgs, run_args::Input};
use tokio_stream::iter;
use tonic::{Code, Streaming};

use crate::harness::{Caller, Setup, assert_refused, repository};

const MODEL: &str = "g2p";

fn setup() -> Setup {
    Setup::new().onnxruntime().example(MODEL)
}

fn args(text: &str) -> RunArgs {
    let input = Some(Input::Text(text.into()));
    RunArgs { input, model: MODEL.into(), ..RunArgs::default() }
}

/// A part as JSON, and whether another one follows.
fn said(part: &Response) -> (Value, bool) {
    (serde_json::from_str(&part.data).unwrap(), part.more)
}

async fn all(mut parts: Streaming<Response>) -> Vec<(Value, bool)> {
    let mut taken = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        taken.push(said(&part));
    }
    taken
}

async fn stream(caller: &Caller, text: &str) -> Vec<(Value, bool)> {
    all(caller.server().run_stream(args(text)).await.unwrap().into_inner()).await
}

/// The parts that a stream gives for what a single call answers.
fn parts(answer: &Value) -> Vec<(Value, bool)> {
    let mut parts = Vec::new();
    for (index, entry) in answer.as_array().unwrap().iter().enumerate() {
        for phoneme in entry["phonemes"].as_array().unwrap() {
            let part = json!({"phoneme": phoneme, "word": entry["word"], "index": index});
            parts.push((part, true));
        }
    }
    parts.push((answer.clone(), false));
    parts
}

/// Words, each with its sounds.
fn reference() -> Vec<Value> {
    let file = repository().join("models/g2p/tests/reference.json");
    let reference: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    reference.as_array().unwrap().clone()
}

#[tokio::test]
async fn sounds_are_the_references_in_parts_and_at_once() {
    let server = start!(setup());
    let caller = server.caller().await;
    let reference = reference();
    assert_eq!(reference.len(), 15);
    for entry in &reference {
        let word = entry["word"].as_str().unwrap();
        let answer = json!([entry]);
        assert_eq!(caller.text(MODEL, word, "").await.unwrap(), answer);
        assert_eq!(stream(&caller, word).await, parts(&answer));
    }
}

#[tokio::test]
async fn the_same_on_tract() {
    let setup = Setup::new().example(MODEL).config("[model.g2p.graph]\nbackend = 'tract'");
    let server = start!(setup);
    let caller = server.caller().await;
    for entry in reference() {
        let word = entry["word"].as_str().unwrap();
        assert_eq!(caller.text(MODEL, word, "").await.unwrap(), json!([entry]));
    }
}

#[tokio::test]
async fn several_words_and_texts() {
    let server = start!(setup());
    let caller = server.caller().await;
    let said = json!([
        {"word": "hello", "phonemes": ["HH", "EH1", "L", "OW0"]},
        {"word": "a", "phonemes": ["AA1"]},
        {"word": "a", "phonemes": ["AA1"]},
    ]);
    let text = " Hello, 42 a — A!";
    assert_eq!(caller.text(MODEL, text, "").await.unwrap(), said);
    assert_eq!(stream(&caller, text).await, parts(&said));
    let batch = caller.texts(MODEL, &["x", text], "").await.unwrap();
    assert_eq!(batch, json!([[{"word": "x", "phonemes": ["EH1", "K", "S"]}], said]));
    let messages = iter([args("x"), args(text)]);
    let answers = caller.server().run_session(messages).await.unwrap().into_inner();
    assert_eq!(all(answers).await, [parts(&batch[0]), parts(&said)].concat());
}

#[tokio::test]
async fn texts_without_letters_and_too_long_ones_are_refused() {
    let server = start!(setup());
    let caller = server.caller().await;
    let long = "a".repeat(100) + " ";
    for (text, words) in [
        ("", "the text has no letters from a to z"),
        ("42 — ё!", "the text has no letters from a to z"),
        (&("b".to_owned() + &long), "a word has more than 100 letters"),
        (&(long.repeat(10) + "b"), "the text has more than 1000 letters"),
    ] {
        let words = format!("model `g2p`: {words}");
        assert_refused(caller.text(MODEL, text, "").await, Code::InvalidArgument, &words);
        let refused = caller.server().run_stream(args(text)).await.map(drop);
        assert_refused(refused, Code::InvalidArgument, &words);
    }
    // The longest that is taken; a word has 20 sounds at most.
    let answer = caller.text(MODEL, &long.repeat(10), "").await.unwrap();
    let words = answer.as_array().unwrap();
    assert_eq!(words.len(), 10);
    assert!(words.iter().all(|word| word["phonemes"].as_array().unwrap().len() <= 20), "{answer}");
}
