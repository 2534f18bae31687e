//! Runs a graph with an input whose name is another: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    compute(match request.has("right") {
        true => vec![("b", floats(&[1, 3])), ("a", floats(&[1, 3]))],
        false => vec![("a", floats(&[1, 3])), ("b\0", floats(&[1, 3]))],
    })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn compute_misnamed() {
    Attack {
        name: "compute_misnamed",
        status: (Code::Internal, "the graph has no input `b"),
        legitimate: Some(json!({"right": true})),
        with: |setup| setup.graph("two_inputs", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
