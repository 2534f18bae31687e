//! Runs a graph without one of its inputs: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    compute(match request.has("right") {
        true => vec![("b", floats(&[1, 3])), ("a", floats(&[1, 3]))],
        false => vec![("a", floats(&[1, 3]))],
    })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn compute_missing() {
    Attack {
        name: "compute_missing",
        status: (Code::Internal, "input `b` is missing; the graph takes `a`, `b`"),
        legitimate: Some(json!({"right": true})),
        with: |setup| setup.graph("two_inputs", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
