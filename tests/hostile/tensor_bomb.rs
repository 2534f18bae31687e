//! Takes 600 MiB of the host's memory, as tensors: stopped by `memory`, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let held: Vec<_> = (0..request.number("mib")).map(|_| bytes(1 << 20)).collect();
    drop(black_box(held));
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn tensor_bomb() {
    Attack {
        name: "tensor_bomb",
        tries: vec![json!({"mib": 600})],
        status: (Code::Internal, "exceeds the memory limit of 536870912 bytes"),
        raised: "memory = '1 GiB'",
        ..Attack::default()
    }
    .run()
    .await;
}
