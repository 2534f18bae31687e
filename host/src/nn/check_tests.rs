//! Tests of the checks: the exact messages of calls that do not fit.

use super::*;
use crate::nn::DType;

fn signature() -> Signature {
    let info = |name: &str, dtype, shape: &[i64]| TensorInfo {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
    };
    Signature {
        inputs: vec![info("x", DType::F32, &[-1, 30]), info("n", DType::I64, &[])],
        optional: vec![info("scale", DType::F32, &[1])],
        outputs: vec![info("y", DType::F32, &[-1]), info("label", DType::I64, &[-1])],
        unusable: vec![("probabilities".into(), "sequence of maps".into())],
    }
}

fn zeros(dtype: DType, shape: &[u64]) -> Tensor {
    let bytes = shape.iter().product::<u64>() as usize * dtype.size().unwrap();
    Tensor::new(dtype, shape, vec![0; bytes].into()).unwrap()
}

fn refused(inputs: &[(&str, Tensor)]) -> String {
    let inputs = inputs.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
    signature().check_inputs(inputs).unwrap_err().to_string()
}

#[test]
fn a_call_that_fits_is_taken_by_position() {
    let (x, n, s) = (zeros(DType::F32, &[0, 30]), zeros(DType::I64, &[1]), zeros(DType::F32, &[1]));
    let found = signature()
        .check_inputs(vec![("scale".into(), s), ("n".into(), n), ("x".into(), x)])
        .unwrap();
    assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [2, 1, 0]);
}

#[test]
fn each_misfit_has_its_message() {
    let (x, n) = (zeros(DType::F32, &[2, 30]), zeros(DType::I64, &[]));
    assert_eq!(
        refused(&[("x", x.clone())]),
        "input `n` is missing; the graph takes `x`, `n`, `scale`"
    );
    assert_eq!(
        refused(&[("z", x.clone())]),
        "the graph has no input `z`; it takes `x`, `n`, `scale`"
    );
    assert_eq!(refused(&[("x", x.clone()), ("x", x)]), "input `x` is given twice");
    assert_eq!(refused(&[("x", n)]), "input `x` is i64 [], but the graph takes fp32 [-1, 30]");
    for (shape, text) in
        [(&[2, 3][..], "[2, 3]"), (&[30], "[30]"), (&[], "[]"), (&[1, 1, 30], "[1, 1, 30]")]
    {
        let message = refused(&[("x", zeros(DType::F32, shape))]);
        assert_eq!(
            message,
            format!("input `x` has shape {text}, but the graph takes fp32 [-1, 30]")
        );
    }
}

#[test]
fn outputs_are_chosen_by_name() {
    let wanted = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        signature().check_outputs(&names).map_err(|e| e.to_string())
    };
    assert_eq!(wanted(&[]), Ok(vec![0, 1]));
    assert_eq!(wanted(&["label", "y"]), Ok(vec![1, 0]));
    assert_eq!(wanted(&["z"]), Err("the graph has no output `z`; it gives `y`, `label`".into()));
    assert_eq!(wanted(&["y", "y"]), Err("output `y` is named twice".into()));
    assert_eq!(
        wanted(&["probabilities"]),
        Err("output `probabilities` is a sequence of maps, which cannot be served: export the model without it \
             (for scikit-learn, with zipmap=False)"
            .into())
    );
}
