//! Gives one handle away twice in one call: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let a = floats(&[1, 3]);
    let b = match request.has("shared") {
        true => a.share(),
        // SAFETY: none; that is the attack.
        false => unsafe { Tensor::from_handle(a.handle()) },
    };
    compute(vec![("a", a), ("b", b)])
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn handle_doubled() {
    Attack {
        name: "handle_doubled",
        status: (Code::Internal, "the model trapped: unknown handle index"),
        legitimate: Some(json!({"shared": true})),
        with: |setup| setup.graph("two_inputs", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
