//! Takes 600 MiB of its own memory: stopped by `memory`, INTERNAL.

use super::*;

/// Writes to what it takes, so that it counts as used.
#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let held: Vec<_> = (0..request.number("mib")).map(|_| black_box(vec![1u8; 1 << 20])).collect();
    drop(black_box(held));
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn allocation_bomb() {
    Attack {
        name: "allocation_bomb",
        tries: vec![json!({"mib": 600})],
        status: (Code::Internal, "the model trapped: wasm `unreachable` instruction executed"),
        raised: "memory = '1 GiB'",
        ..Attack::default()
    }
    .run()
    .await;
}
