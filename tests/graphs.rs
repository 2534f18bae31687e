//! Bare graphs: a folder with a graph and no component, served as it is. Values against references,
//! and requests that do not fit.

use std::fs;

use serde_json::Value;
use tonic::Code;

use crate::harness::{
    Setup, assert_refused,
    oip::{Raw, floats, infer, input, raw, to_floats},
    repository,
};

/// A file of tests/data/expected.
pub fn expected(name: &str) -> Value {
    let file = repository().join(format!("tests/data/expected/{name}.json"));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Numbers of a JSON array; null stands for NaN.
pub fn numbers(values: &Value) -> Vec<f64> {
    let values = values.as_array().unwrap().iter();
    values.map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

/// Compares within the tolerance of the reference.
#[track_caller]
pub fn assert_close(got: &[f64], wanted: &[f64], reference: &Value) {
    let (rtol, atol) = (reference["rtol"].as_f64().unwrap(), reference["atol"].as_f64().unwrap());
    assert_eq!(got.len(), wanted.len());
    for (i, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!((got - wanted).abs() <= atol + rtol * wanted.abs(), "{i}: {got}, not {wanted}");
    }
}

fn shape(tensor: &Value) -> Vec<i64> {
    tensor["shape"].as_array().unwrap().iter().map(|d| d.as_i64().unwrap()).collect()
}

fn inputs(reference: &Value) -> Vec<Raw> {
    let inputs = reference["inputs"].as_object().unwrap().iter();
    inputs
        .map(|(name, tensor)| {
            let values: Vec<_> = numbers(&tensor["values"]).iter().map(|v| *v as f32).collect();
            floats(name, &shape(tensor), &values)
        })
        .collect()
}

#[tokio::test]
async fn references_on_onnx_runtime() {
    let setup = Setup::new()
        .onnxruntime()
        .example("digits_mlp")
        .example("digits_forest")
        .example("breast_cancer_xgb");
    check(start!(setup), &["digits_mlp", "digits_forest", "breast_cancer_xgb"]).await;
}

#[tokio::test]
async fn references_on_tract() {
    // The other two have operators that tract lacks.
    let setup = Setup::new()
        .example("digits_forest")
        .config("[model.digits_forest.graph]\nbackend = 'tract'");
    let server = start!(setup);
    assert!(server.log().contains("tract serves it on cpu"), "{}", server.log());
    check(server, &["digits_forest"]).await;
}

async fn check(server: crate::harness::Server, models: &[&str]) {
    let caller = server.caller().await;
    for case in ["digits_mlp", "digits_forest", "breast_cancer_xgb", "breast_cancer_xgb_missing"] {
        let reference = expected(case);
        let model = reference["model"].as_str().unwrap();
        if !models.contains(&model) {
            continue;
        }
        let reply = infer(&caller, raw(model, inputs(&reference))).await.unwrap();
        for (name, tensor) in reference["outputs"].as_object().unwrap() {
            let position = reply.outputs.iter().position(|o| o.name == *name).unwrap();
            assert_eq!(reply.outputs[position].shape, shape(tensor), "{case} {name}");
            let bytes = &reply.raw_output_contents[position];
            let got: Vec<f64> = match reply.outputs[position].datatype.as_str() {
                "FP32" => to_floats(&reply, name).into_iter().map(f64::from).collect(),
                "INT64" => {
                    let chunks = bytes.as_chunks().0.iter();
                    chunks.map(|b| i64::from_le_bytes(*b) as f64).collect()
                }
                other => panic!("{other}"),
            };
            assert_close(&got, &numbers(&tensor["values"]), &reference);
        }
    }
}

#[tokio::test]
async fn scalars_and_open_ranks() {
    let server = start!(Setup::new().graph("scalar", "scalar").graph("any_rank", "any"));
    let caller = server.caller().await;
    let reply = infer(&caller, raw("scalar", vec![floats("x", &[], &[21.0])])).await.unwrap();
    assert!(reply.outputs[0].shape.is_empty());
    assert_eq!(to_floats(&reply, "y"), [42.0]);
    for shape in [&[][..], &[4], &[2, 1, 2], &[0]] {
        let values = vec![1.5; shape.iter().product::<i64>() as usize];
        let request = raw("any", vec![floats("x", shape, &values)]);
        let reply = infer(&caller, request).await.unwrap();
        assert_eq!(reply.outputs[0].shape, shape);
        assert_eq!(to_floats(&reply, "y"), vec![-1.5; values.len()]);
    }
}

#[tokio::test]
async fn requests_that_do_not_fit_are_refused() {
    let server = start!(Setup::new().graph("two_inputs", "graph"));
    let caller = server.caller().await;
    let good = |name| floats(name, &[1, 3], &[1.0, 2.0, 3.0]);
    let wrong_type = (input("b", "FP64", &[1, 3]), vec![0; 24]);
    let cases = [
        (vec![], "input `a` is missing; the graph takes `a`, `b`"),
        (vec![good("a")], "input `b` is missing; the graph takes `a`, `b`"),
        (vec![good("a"), good("b"), good("c")], "the graph has no input `c`; it takes `a`, `b`"),
        (vec![good("a"), good("a")], "input `a` is given twice"),
        (vec![good("a"), wrong_type], "input `b` is fp64 [1, 3], but the graph takes fp32 [-1, 3]"),
        (
            vec![good("a"), floats("b", &[1, 4], &[0.0; 4])],
            "input `b` has shape [1, 4], but the graph takes fp32 [-1, 3]",
        ),
        (
            vec![good("a"), floats("b", &[3], &[0.0; 3])],
            "input `b` has shape [3], but the graph takes fp32 [-1, 3]",
        ),
    ];
    for (inputs, problem) in cases {
        let refused = infer(&caller, raw("graph", inputs)).await;
        assert_refused(refused, Code::InvalidArgument, &format!("model `graph`: {problem}"));
    }
    let reply = infer(&caller, raw("graph", vec![good("b"), good("a")])).await.unwrap();
    assert_eq!(to_floats(&reply, "product"), [1.0, 4.0, 9.0]);
}

#[tokio::test]
async fn a_misfit_that_only_the_run_finds_fails_alone() {
    let server = start!(Setup::new().graph("two_inputs", "graph"));
    let caller = server.caller().await;
    let request = |rows: usize| {
        let b = vec![1.0; rows * 3];
        let a = floats("a", &[2, 3], &[1.0; 6]);
        raw("graph", vec![a, floats("b", &[rows as i64, 3], &b)])
    };
    // Two and five rows do not add up, though each input alone fits.
    let refused = infer(&caller, request(5)).await.unwrap_err();
    assert!([Code::Internal, Code::InvalidArgument].contains(&refused.code()), "{refused}");
    assert!(!refused.message().contains('/'), "{refused}");
    assert_eq!(to_floats(&infer(&caller, request(2)).await.unwrap(), "sum"), [2.0; 6]);
}

#[tokio::test]
async fn texts_and_images_are_not_for_graphs() {
    let server = start!(Setup::new().graph("scalar", "graph"));
    let caller = server.caller().await;
    let message = "model `graph`: the model takes named tensors, not a text";
    assert_refused(caller.text("graph", "hi", "").await, Code::InvalidArgument, message);
    assert_refused(caller.texts("graph", &["hi"], "").await, Code::InvalidArgument, message);
    let message = "model `graph`: the model takes named tensors, not an image";
    let image = caller.image("graph", crate::harness::pixels(1, 1, 1)).await;
    assert_refused(image, Code::InvalidArgument, message);
}
