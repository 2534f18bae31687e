//! A loop without an end: stopped by `cpu`, DEADLINE_EXCEEDED.

use super::*;

/// Computes for so many milliseconds.
#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let (started, ms) = (std::time::Instant::now(), request.number("ms"));
    let mut count = 0u64;
    while ms == u64::MAX || started.elapsed().as_millis() < ms.into() {
        for _ in 0..1_000_000 {
            count = black_box(count.wrapping_add(1));
        }
    }
    done()
}

/// The default itself, 10 s: no other test waits for it.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn infinite_loop() {
    Attack {
        name: "infinite_loop",
        limits: "timeout = '10m'",
        status: (Code::DeadlineExceeded, "CPU time"),
        raised: "cpu = '1m'",
        legitimate: Some(json!({"ms": 12_000})),
        ..Attack::default()
    }
    .run()
    .await;
}
