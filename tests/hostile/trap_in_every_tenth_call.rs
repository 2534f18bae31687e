//! Traps in every tenth call: stopped by a fresh instance, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    assert!(!request.has("trap"), "asked to trap");
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn trap_in_every_tenth_call() {
    under_attack(hostile(""), async |server| {
        for call in 1..=150 {
            if call % 10 == 0 {
                let args = json!({"trap": true});
                let answer = attack(server, "trap_in_every_tenth_call", &args).await;
                assert_stopped(answer, Code::Internal, "the model trapped: ");
                // More than `max_failures` in all, never in a row.
                assert_eq!(health(server).await, ServingStatus::Serving);
            } else {
                let answer = attack(server, "trap_in_every_tenth_call", &json!({})).await;
                assert_eq!(answer.unwrap(), "done", "call {call}");
            }
        }
        let opened = calm::metric(server, "tms_breaker_opened_total", &[r#"model="hostile""#]);
        assert_eq!(opened, 0.0);
    })
    .await;
}
