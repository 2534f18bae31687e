//! Each operator with values at the edges of their types, on every backend, against what ONNX Runtime
//! answers: tests/data/operators.json.gz, which make_operators.py writes. Where a backend refuses a graph
//! or fails, that is no wrong answer.

// A test may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod nn_support;

use std::{collections::BTreeMap, io::Read, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use half::f16;
use nn_support::{compute, graph_file, runtimes_in};
use serde_json::Value;
use tms::nn::{DType, GraphOptions, Process, Runtime, Tensor};

/// Where tract is known to answer otherwise: docs/tract.md says so.
const OTHERWISE_ON_TRACT: &[&str] = &[
    "BitShift u8/u8 (left by all bits)",
    "BitShift u8/u8 (right by all bits)",
    "BitShift u32/u32 (left by all bits)",
    "BitShift u32/u32 (right by all bits)",
    "BitShift u64/u64 (left by all bits)",
    "BitShift u64/u64 (right by all bits)",
    "Div fp32 (by itself)",
    "DynamicQuantizeLinear fp32 (zeros)",
    "GRU fp32/fp32/fp32 (NaN)",
    "LSTM fp32/fp32/fp32 (NaN)",
    "MaxPool fp32 (-inf padded)",
    "Pow fp32/fp32 (to 0.5)",
    "RNN fp32/fp32/fp32 (NaN)",
    "ReduceMax fp32 (of nothing)",
    "ReduceMin fp32 (of nothing)",
];

/// Of the cases, those that tract may refuse: more would be operators that it has lost.
const REFUSED_BY_TRACT: usize = 45;

#[tokio::test]
async fn operators_answer_as_onnx_runtime_does() {
    let file = graph_file("x").with_file_name("../operators.json.gz");
    let mut text = String::new();
    let compressed = std::fs::File::open(&file).unwrap();
    flate2::read::GzDecoder::new(compressed).read_to_string(&mut text).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let cases = all["cases"].as_array().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // What an operator computes does not depend on the process, and to hand hundreds of graphs to
    // another takes a minute.
    for (backend, runtime) in runtimes_in(&[Process::None]) {
        let mut wrong = BTreeMap::new();
        let mut refused = Vec::new();
        for case in cases {
            let name = case["name"].as_str().unwrap();
            match run(&runtime, &all["tensors"], case, &folder.path().join("model.onnx")).await {
                Ok(None) => {}
                Ok(Some(difference)) => drop(wrong.insert(name, difference)),
                Err(reason) => refused.push(format!("{name}: {reason}")),
            }
        }
        let (known, may_refuse) = match backend {
            "tract" => (OTHERWISE_ON_TRACT, REFUSED_BY_TRACT),
            _ => (&[][..], 0),
        };
        for name in known {
            assert!(wrong.remove(name).is_some(), "{name} is right now: strike it off the list");
        }
        assert!(wrong.is_empty(), "{backend}: {wrong:#?}");
        assert!(refused.len() <= may_refuse, "{backend}: {refused:#?}");
    }
}

/// How the answer of one case differs from what is expected; the error is the backend's own.
async fn run(
    runtime: &Runtime,
    tensors: &Value,
    case: &Value,
    path: &Path,
) -> Result<Option<String>, String> {
    let named = |key: &str| -> Vec<(&str, Tensor)> {
        let named = case[key].as_object().unwrap().iter();
        named.map(|(name, at)| (name.as_str(), tensor(&tensors[at.as_str().unwrap()]))).collect()
    };
    std::fs::write(path, bytes(&case["graph"])).unwrap();
    let graph = runtime
        .load("operator", path, &GraphOptions::default())
        .map_err(|refused| refused.to_string())?;
    let inputs = named("inputs");
    let given = compute(&graph, &inputs).await.map_err(|failed| failed.to_string())?;
    Ok(named("outputs").iter().find_map(|(name, wanted)| {
        match given.iter().find(|(given, _)| given == name) {
            Some((_, got)) => difference(got, wanted, &inputs),
            None => Some(format!("no output {name}")),
        }
    }))
}

/// The first elements that differ, with what they were made of.
fn difference(got: &Tensor, wanted: &Tensor, inputs: &[(&str, Tensor)]) -> Option<String> {
    if (got.dtype(), got.shape()) != (wanted.dtype(), wanted.shape()) {
        let kind = |tensor: &Tensor| format!("{} {:?}", tensor.dtype(), tensor.shape());
        return Some(format!("{}, not {}", kind(got), kind(wanted)));
    }
    // Whole numbers are exact; some functions of floats are approximations on either side.
    let (absolute, relative) = match wanted.dtype() {
        DType::F16 => (1e-3, 2e-3),
        DType::F32 | DType::F64 => (2e-6, 2e-5),
        _ => (0.0, 0.0),
    };
    let differs = |g: f64, w: f64| {
        let same = g == w || g.is_nan() && w.is_nan();
        let close = w.is_finite() && (g - w).abs() <= absolute + relative * w.abs();
        !same && !close
    };
    let pairs = numbers(got).into_iter().zip(numbers(wanted)).enumerate();
    let different: Vec<_> = pairs.filter(|(_, (g, w))| differs(*g, *w)).collect();
    let told = different.iter().take(4).map(|(at, (g, w))| {
        let alike = inputs.iter().filter(|(_, input)| input.elements() == wanted.elements());
        let of: Vec<_> = alike.map(|(_, input)| numbers(input)[*at]).collect();
        format!("of {of:?} {g:e}, not {w:e}")
    });
    (!different.is_empty()).then(|| told.collect::<Vec<_>>().join("; "))
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let size = tensor.dtype().size().unwrap();
    let one = |b: &[u8]| match tensor.dtype() {
        DType::Bool | DType::U8 => b[0].into(),
        DType::I8 => f64::from(b[0] as i8),
        DType::U16 => u16::from_le_bytes(b.try_into().unwrap()).into(),
        DType::I16 => i16::from_le_bytes(b.try_into().unwrap()).into(),
        DType::U32 => u32::from_le_bytes(b.try_into().unwrap()).into(),
        DType::I32 => i32::from_le_bytes(b.try_into().unwrap()).into(),
        DType::U64 => u64::from_le_bytes(b.try_into().unwrap()) as f64,
        DType::I64 => i64::from_le_bytes(b.try_into().unwrap()) as f64,
        DType::F16 => f16::from_le_bytes(b.try_into().unwrap()).into(),
        DType::F32 => f32::from_le_bytes(b.try_into().unwrap()).into(),
        DType::F64 => f64::from_le_bytes(b.try_into().unwrap()),
        other => panic!("{other} in a reference"),
    };
    tensor.data().chunks_exact(size).map(one).collect()
}

fn tensor(value: &Value) -> Tensor {
    let name = value["dtype"].as_str().unwrap();
    let dtype = DType::all().find(|dtype| dtype.name() == name).unwrap();
    let shape = value["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap());
    Tensor::new(dtype, shape.collect::<Vec<_>>(), Bytes::from(bytes(&value["data"]))).unwrap()
}

fn bytes(text: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()
}
