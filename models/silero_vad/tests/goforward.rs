//! A recording (see make_reference.py) is cut as the network's definition says, and its speech is where
//! the reference has it.

use silero_vad::recording::{Recording, WINDOW};
use silero_vad::samples::from_pcm;
use silero_vad::segments::segments;
use silero_vad::wav::pcm;
use tms_guest::serde_json::{Value, from_str, json, to_value};

fn probabilities(reference: &Value) -> Vec<f32> {
    let probabilities = reference["probabilities"].as_array().unwrap().iter();
    probabilities.map(|probability| probability.as_f64().unwrap() as f32).collect()
}

fn samples() -> Vec<f32> {
    let file = include_bytes!("goforward_16k.wav");
    let (pcm, rest) = pcm(file).unwrap().as_chunks();
    assert!(rest.is_empty());
    pcm.iter().map(|&bytes| from_pcm(i16::from_le_bytes(bytes))).collect()
}

#[test]
fn as_many_chunks_as_the_reference_has() {
    let reference: Value = from_str(include_str!("reference.json")).unwrap();
    let samples = samples();
    assert_eq!(samples.len(), 44_580);
    let mut recording = Recording::default();
    recording.add(&samples);
    let windows: Vec<_> = recording.windows().collect();
    assert_eq!(windows.len(), probabilities(&reference).len());
    for (chunk, window) in windows.iter().enumerate().skip(1) {
        assert_eq!(*window, &samples[chunk * 512 - 64..][..WINDOW]);
    }
}

#[test]
fn speech_is_where_the_reference_has_it() {
    let reference: Value = from_str(include_str!("reference.json")).unwrap();
    let segments = to_value(segments(&probabilities(&reference))).unwrap();
    assert_eq!(segments, reference["segments"]);
    assert_eq!(segments, json!([{"start": 0.512, "end": 2.272}]));
}
