//! Runs a graph with an input of another shape: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    compute(match request.has("right") {
        true => vec![("b", floats(&[1, 3])), ("a", floats(&[1, 3]))],
        false => vec![("a", floats(&[1, 3])), ("b", floats(&[1, 4]))],
    })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn compute_shape() {
    Attack {
        name: "compute_shape",
        status: (Code::Internal, "input `b` has shape [1, 4], but the graph takes fp32 [-1, 3]"),
        legitimate: Some(json!({"right": true})),
        with: |setup| setup.graph("two_inputs", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
