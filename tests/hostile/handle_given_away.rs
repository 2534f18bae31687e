//! Uses a handle that it has given to a graph: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let (a, b) = (floats(&[1, 3]), floats(&[1, 3]));
    let index = match request.has("shared") {
        true => a.share().take_handle(),
        false => a.handle(),
    };
    let given = compute(vec![("a", a), ("b", b)]);
    // SAFETY: none; that is the attack.
    black_box(unsafe { Tensor::from_handle(index) }.byte_length());
    given
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn handle_given_away() {
    Attack {
        name: "handle_given_away",
        status: (Code::Internal, "the model trapped: unknown handle index"),
        legitimate: Some(json!({"shared": true})),
        with: |setup| setup.graph("two_inputs", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
