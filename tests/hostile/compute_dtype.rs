//! Runs a graph with an input of another type: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    compute(match request.has("right") {
        true => vec![("b", floats(&[1, 3])), ("a", floats(&[1, 3]))],
        false => vec![("a", floats(&[1, 3])), ("b", Tensor::new(Dtype::U8, &[1, 3], &[0; 3]))],
    })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn compute_dtype() {
    Attack {
        name: "compute_dtype",
        status: (Code::Internal, "input `b` is u8 [1, 3], but the graph takes fp32 [-1, 3]"),
        legitimate: Some(json!({"right": true})),
        with: |setup| setup.graph("two_inputs", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
