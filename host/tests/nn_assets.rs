//! Real graphs against reference outputs, on every backend that can run them. `TMS_TEST_ASSETS` names
//! the folder: one folder a model, each with `expected.json` and its tensors as `.npy` files.

// A test may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod nn_support;

use std::{collections::BTreeMap, fs, path::Path};

use nn_support::{compute, runtimes, skip_here};
use serde_json::Value;
use tms::nn::{DType, Graph, GraphOptions, Tensor};

/// What tract is known not to run: branches of different shapes (silero-vad), operators of
/// scikit-learn and XGBoost, quantised weights.
const NOT_ON_TRACT: &[&str] = &[
    "classical/skl_logreg_breast_cancer.onnx",
    "classical/skl_mlp_digits.onnx",
    "classical/skl_svc_iris.onnx",
    "classical/xgb_breast_cancer.onnx",
    "classical/xgb_diabetes.onnx",
    "efficientnet-lite0/model.int8.onnx",
    "silero-vad/silero_vad.onnx",
    "silero-vad/silero_vad_16k_op15.onnx",
    "silero-vad/silero_vad_half.onnx",
];

#[tokio::test]
async fn reference_outputs() {
    let folder = std::env::var("TMS_TEST_ASSETS").unwrap_or_default();
    let models = fs::read_dir(&folder).into_iter().flatten().flatten().map(|model| model.path());
    let models: Vec<_> = models.filter(|model| model.join("expected.json").is_file()).collect();
    if models.is_empty() {
        // They are large and lie beside the checkout, where somebody has put them there.
        return skip_here(&format!(
            "real graphs against reference outputs: no folder in TMS_TEST_ASSETS=`{folder}` has an \
             expected.json"
        ));
    }
    for (backend, runtime) in runtimes() {
        let mut checked = 0;
        for model in &models {
            let expected = fs::read_to_string(model.join("expected.json")).unwrap();
            let expected: Value = serde_json::from_str(&expected).unwrap();
            let mut graphs: BTreeMap<&str, Result<Graph, String>> = BTreeMap::new();
            for case in expected["cases"].as_array().unwrap() {
                let file = case["model"].as_str().unwrap();
                let name = format!("{}/{file}", model.file_name().unwrap().to_string_lossy());
                let graph = graphs.entry(file).or_insert_with(|| {
                    runtime
                        .load(&name, &model.join(file), &GraphOptions::default())
                        .map_err(|e| e.to_string())
                });
                let result = match graph {
                    Ok(graph) => check(graph, model, case).await,
                    Err(e) => Err(e.clone()),
                };
                let known = backend == "tract" && NOT_ON_TRACT.contains(&name.as_str());
                match result {
                    Ok(()) if known => panic!("tract runs {name} now: strike it off the list"),
                    Ok(()) => checked += 1,
                    Err(e) if known => skip_here(&format!("{name} on tract: {e}")),
                    Err(e) => panic!("{name}, case {}, on {backend}: {e}", case["case"]),
                }
            }
        }
        assert!(checked >= models.len(), "{backend}: only {checked} cases");
    }
}

/// Runs one case and compares its outputs within its tolerance.
async fn check(graph: &Graph, model: &Path, case: &Value) -> Result<(), String> {
    let tensors = |key: &str| {
        let named = case[key].as_object().unwrap().iter();
        named
            .map(|(name, t)| (name.clone(), npy(&model.join(t["npy"].as_str().unwrap()))))
            .collect::<Vec<_>>()
    };
    let inputs = tensors("inputs");
    let inputs: Vec<_> =
        inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let given = compute(graph, &inputs).await.map_err(|e| e.to_string())?;
    let (rtol, atol) = (case["rtol"].as_f64().unwrap(), case["atol"].as_f64().unwrap());
    for (name, wanted) in tensors("outputs") {
        let (_, got) = given.iter().find(|(n, _)| *n == name).ok_or(format!("no output {name}"))?;
        if (got.dtype(), got.shape()) != (wanted.dtype(), wanted.shape()) {
            return Err(format!(
                "{name} is {} {:?}, not {} {:?}",
                got.dtype(),
                got.shape(),
                wanted.dtype(),
                wanted.shape()
            ));
        }
        for (i, (g, w)) in numbers(got).zip(numbers(&wanted)).enumerate() {
            if (g - w).abs() > atol + rtol * w.abs() {
                return Err(format!("{name}[{i}] is {g}, not {w}"));
            }
        }
    }
    Ok(())
}

fn numbers(tensor: &Tensor) -> impl Iterator<Item = f64> {
    let (dtype, size) = (tensor.dtype(), tensor.dtype().size().unwrap());
    tensor.data().chunks_exact(size).map(move |b| match dtype {
        DType::F32 => f32::from_le_bytes(b.try_into().unwrap()).into(),
        DType::I64 => i64::from_le_bytes(b.try_into().unwrap()) as f64,
        other => panic!("{other} in a reference"),
    })
}

/// Reads a NumPy file: a header that is a Python dictionary, then the data.
fn npy(path: &Path) -> Tensor {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00", "{}", path.display());
    let data = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..data]).unwrap();
    assert!(header.contains("'fortran_order': False"));
    let dtype = if header.contains("'<f4'") { DType::F32 } else { DType::I64 };
    assert!(dtype == DType::F32 || header.contains("'<i8'"), "{header}");
    let shape = header.split(['(', ')']).nth(1).unwrap();
    let shape: Vec<u64> = shape.split(',').filter_map(|d| d.trim().parse().ok()).collect();
    Tensor::new(dtype, shape, bytes::Bytes::from(bytes).slice(data..)).unwrap()
}
