//! Sleeps, which is waiting inside the host: stopped by `timeout`, DEADLINE_EXCEEDED.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    std::thread::sleep(std::time::Duration::from_millis(request.number("ms")));
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn sleep() {
    Attack {
        name: "sleep",
        tries: vec![json!({"ms": 1500})],
        limits: "timeout = '300ms'",
        status: (Code::DeadlineExceeded, "did not answer within"),
        ..Attack::default()
    }
    .run()
    .await;
}
