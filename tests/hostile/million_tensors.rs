//! Holds a million tensors of one byte: stopped by `handles`, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let held: Vec<_> = (0..request.number("tensors")).map(|_| bytes(1)).collect();
    drop(black_box(held));
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn million_tensors() {
    Attack {
        name: "million_tensors",
        tries: vec![json!({"tensors": 1_000_000})],
        status: (Code::Internal, "too many handles (limit `handles`)"),
        raised: "handles = 200_000",
        // A million would do too, but the allocator keeps some of what so many handles took.
        legitimate: Some(json!({"tensors": 150_000})),
        ..Attack::default()
    }
    .run()
    .await;
}
