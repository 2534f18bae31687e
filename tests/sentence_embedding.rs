//! Texts to vectors: a tokenizer in the sandbox, a network in int8, batches that run once.

use serde_json::Value;

use crate::harness::{
    Caller, Setup,
    oip::{infer, input, raw, to_floats},
    repository, skip,
};

const MODEL: &str = "sentence_embedding";
const SIZE: usize = 384;

/// The model with its weights, which are not in the repository; none where they are missing.
fn setup() -> Option<Setup> {
    if !repository().join("models/sentence_embedding/model.onnx").is_file() {
        skip("the weights of models/sentence_embedding: scripts/weights.sh fetches them");
        return None;
    }
    // Long texts take seconds on a busy machine.
    let limits = "[model.sentence_embedding.limits]\ntimeout = '120s'";
    Some(Setup::new().onnxruntime().example(MODEL).config(limits))
}

macro_rules! start_model {
    () => {
        match setup() {
            Some(setup) => start!(setup),
            None => return,
        }
    };
}

/// Texts and what the reference made of them.
fn reference() -> (Vec<String>, Vec<Vec<f32>>) {
    let file = repository().join("models/sentence_embedding/tests/embeddings.json");
    let reference: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let texts = reference["texts"].as_array().unwrap().iter();
    let texts = texts.map(|text| text.as_str().unwrap().to_owned()).collect();
    (texts, vectors(&reference["embeddings"]))
}

fn vector(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn vectors(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().unwrap().iter().map(vector).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The same direction, and length 1. Kernels for int8 differ between processors, and a batch
/// shares its scale: elements are not compared.
#[track_caller]
fn assert_same(got: &[f32], wanted: &[f32]) {
    assert_eq!((got.len(), wanted.len()), (SIZE, SIZE));
    assert!((dot(got, got) - 1.0).abs() < 1e-4, "length {}", dot(got, got).sqrt());
    assert!(dot(got, wanted) >= 0.99, "cosine {}", dot(got, wanted));
}

async fn embed(caller: &Caller, text: &str) -> Vec<f32> {
    vector(&caller.text(MODEL, text, "").await.unwrap())
}

#[tokio::test]
async fn vectors_are_the_references() {
    let server = start_model!();
    let caller = server.caller().await;
    let (texts, wanted) = reference();
    for (text, wanted) in texts.iter().zip(&wanted) {
        assert_same(&embed(&caller, text).await, wanted);
    }
    // Two sentences about a cat are closer than a cat and a rocket.
    let got = [embed(&caller, &texts[0]).await, embed(&caller, &texts[1]).await];
    assert!(dot(&got[0], &got[1]) > 0.6);
    assert!(dot(&got[0], &embed(&caller, &texts[2]).await) < 0.2);
}

#[tokio::test]
async fn a_batch_gives_what_each_text_gives_alone() {
    let server = start_model!();
    let caller = server.caller().await;
    let (texts, wanted) = reference();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let batch = vectors(&caller.texts(MODEL, &texts, "").await.unwrap());
    assert_eq!(batch.len(), texts.len());
    for (got, wanted) in batch.iter().zip(&wanted) {
        assert_same(got, wanted);
    }
    // Of all lengths, and more than one run takes.
    let long = "a long story about a cat and its window ".repeat(60);
    let text = |i: usize| if i.is_multiple_of(10) { texts[i % 4] } else { long.as_str() };
    let many: Vec<&str> = (0..40).map(text).collect();
    let batch = vectors(&caller.texts(MODEL, &many, "").await.unwrap());
    let (long, empty) = (embed(&caller, &long).await, embed(&caller, "").await);
    assert_eq!(batch.len(), 40);
    for (i, got) in batch.iter().enumerate() {
        assert_same(got, if i % 10 == 0 { &wanted[i % 4] } else { &long });
    }
    assert_same(&vectors(&caller.texts(MODEL, &[""], "").await.unwrap())[0], &empty);
    assert_eq!(caller.texts(MODEL, &[], "").await.unwrap(), serde_json::json!([]));
}

#[tokio::test]
async fn named_tensors() {
    let server = start_model!();
    let caller = server.caller().await;
    let (texts, wanted) = reference();
    // Each text after its length.
    let bytes = texts.iter().flat_map(|text| {
        (text.len() as u32).to_le_bytes().into_iter().chain(text.bytes()).collect::<Vec<u8>>()
    });
    let input = input("text", "BYTES", &[texts.len() as i64]);
    let request = raw(MODEL, vec![(input, bytes.collect())]);
    let reply = infer(&caller, request).await.unwrap();
    assert_eq!(reply.outputs[0].shape, [texts.len() as i64, SIZE as i64]);
    let values = to_floats(&reply, "embedding");
    for (got, wanted) in values.chunks(SIZE).zip(&wanted) {
        assert_same(got, wanted);
    }
}

#[tokio::test]
async fn without_its_weights_it_is_reported_and_the_others_are_served() {
    let setup = Setup::new().example("example_text").component("models/sentence_embedding", MODEL);
    let server = start!(setup);
    assert!(server.ready.contains(", 1 models (1 failed, see the log), "), "{}", server.ready);
    let log = server.log();
    let reason = "the weights are missing (`scripts/weights.sh` puts model.onnx here)";
    assert!(log.contains(reason), "{log}");
    let caller = server.caller().await;
    assert_eq!(caller.list_models().await, serde_json::json!(["example_text"]));
}
