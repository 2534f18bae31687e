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
        raised: "handles = 50_000",
        // A million do too, but some 30 MB of what so many took come back only after a while.
        legitimate: Some(json!({"tensors": 40_000})),
        ..Attack::default()
    }
    .run()
    .await;
}
