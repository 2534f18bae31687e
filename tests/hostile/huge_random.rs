//! Asks for 2 MiB of random bytes at once: stopped by `max_random`, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    black_box(wasi::random::random::get_random_bytes(request.number("bytes")));
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn huge_random() {
    Attack {
        name: "huge_random",
        tries: [2 << 20, u64::MAX].map(|bytes| json!({"bytes": bytes})).into(),
        status: (Code::Internal, "the model trapped: "),
        raised: "max_random = '4 MiB'",
        ..Attack::default()
    }
    .run()
    .await;
}
