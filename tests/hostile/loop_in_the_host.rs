//! Calls the host without an end: stopped by `cpu`, DEADLINE_EXCEEDED.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let (started, ms) = (std::time::Instant::now(), request.number("ms"));
    let tensor = bytes(1);
    while started.elapsed().as_millis() < ms.into() {
        for _ in 0..1000 {
            black_box(tensor.shape());
        }
    }
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn loop_in_the_host() {
    Attack {
        name: "loop_in_the_host",
        legitimate: Some(json!({"ms": 1500})),
        limits: "cpu = '300ms'",
        status: (Code::DeadlineExceeded, "CPU time"),
        ..Attack::default()
    }
    .run()
    .await;
}
