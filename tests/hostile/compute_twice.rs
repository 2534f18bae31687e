//! Runs a graph with an input given twice: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    compute(match request.has("right") {
        true => vec![("b", floats(&[1, 3])), ("a", floats(&[1, 3]))],
        false => vec![("a", floats(&[1, 3])), ("b", floats(&[1, 3])), ("a", floats(&[1, 3]))],
    })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn compute_twice() {
    Attack {
        name: "compute_twice",
        status: (Code::Internal, "input `a` is given twice"),
        legitimate: Some(json!({"right": true})),
        with: |setup| setup.graph("two_inputs", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
