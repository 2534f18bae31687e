//! Fails with a message of 10 MiB: stopped by being cut, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    match request.number("bytes") {
        0 => done(),
        bytes => Err(refused("x".repeat(bytes as usize))),
    }
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn huge_error() {
    Attack {
        name: "huge_error",
        tries: vec![json!({"bytes": 10 << 20})],
        status: (Code::Internal, "xxxxxxxx …"),
        legitimate: Some(json!({"bytes": 0})),
        ..Attack::default()
    }
    .run()
    .await;
}
