//! Traps in every call: stopped by `max_failures`, UNAVAILABLE.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(_request: Request) -> Answer {
    panic!("asked to trap")
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn trap_in_every_call() {
    let trap = async |server: &Server| attack(server, "trap_in_every_call", &json!({})).await;
    under_attack(hostile(""), async |server| {
        for _ in 0..10 {
            assert_stopped(trap(server).await, Code::Internal, "the model trapped: ");
        }
        // From here on the model is not even asked.
        assert_stopped(trap(server).await, Code::Unavailable, "");
        let answer = attack(server, "nothing", &json!({})).await;
        assert_stopped(answer, Code::Unavailable, "");
        until("its health", async || health(server).await == ServingStatus::NotServing).await;
        let opened = calm::metric(server, "tms_breaker_opened_total", &[r#"model="hostile""#]);
        assert_eq!(opened, 1.0);
        // It recovers by itself.
        until("an answer", async || attack(server, "nothing", &json!({})).await.is_ok()).await;
        until("its health", async || health(server).await == ServingStatus::Serving).await;
    })
    .await;
    under_attack(hostile("max_failures = 100"), async |server| {
        for _ in 0..30 {
            assert_stopped(trap(server).await, Code::Internal, "the model trapped: ");
        }
        assert_serves(server).await;
    })
    .await;
}
