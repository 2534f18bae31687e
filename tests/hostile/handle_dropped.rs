//! Uses a handle that it has dropped: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let tensor = bytes(1);
    // SAFETY: none; that is the attack.
    let again = std::mem::ManuallyDrop::new(unsafe { Tensor::from_handle(tensor.handle()) });
    if !request.has("kept") {
        drop(tensor);
    }
    black_box(again.byte_length());
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn handle_dropped() {
    Attack {
        name: "handle_dropped",
        status: (Code::Internal, "the model trapped: unknown handle index"),
        legitimate: Some(json!({"kept": true})),
        ..Attack::default()
    }
    .run()
    .await;
}
