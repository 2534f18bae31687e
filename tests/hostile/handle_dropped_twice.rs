//! Drops a handle twice: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let tensor = bytes(1);
    if !request.has("once") {
        // SAFETY: none; that is the attack.
        drop(unsafe { Tensor::from_handle(tensor.handle()) });
    }
    drop(tensor);
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn handle_dropped_twice() {
    Attack {
        name: "handle_dropped_twice",
        status: (Code::Internal, "the model trapped: unknown handle index"),
        legitimate: Some(json!({"once": true})),
        ..Attack::default()
    }
    .run()
    .await;
}
