//! Runs a graph with an input that it does not have: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    compute(match request.has("right") {
        true => vec![("b", floats(&[1, 3])), ("a", floats(&[1, 3]))],
        false => vec![("a", floats(&[1, 3])), ("b", floats(&[1, 3])), ("c", bytes(1))],
    })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn compute_extra() {
    Attack {
        name: "compute_extra",
        status: (Code::Internal, "the graph has no input `c`; it takes `a`, `b`"),
        legitimate: Some(json!({"right": true})),
        with: |setup| setup.graph("two_inputs", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
