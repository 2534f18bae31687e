//! Five hundred callers give up as soon as they have called: stopped by leases that are given back,
//! OK.

use super::*;

#[tokio::test]
async fn call_flood() {
    under_attack(hostile("timeout = '10m'"), async |server| {
        for _ in 0..10 {
            let mut calls = Vec::new();
            for _ in 0..50 {
                let caller = server.caller().await;
                calls.push(tokio::spawn(async move {
                    caller.text(HOSTILE, "sleep", r#"{"ms": 600000}"#).await
                }));
            }
            // As many as there are leases, on the only worker.
            until("all leases are taken", async || {
                let flight = "tms_calls_in_flight";
                calm::metric(server, flight, &[r#"model="hostile""#]) == 16.0
            })
            .await;
            // With the only handle on a connection it closes.
            calls.iter().for_each(tokio::task::JoinHandle::abort);
        }
        assert_serves(server).await;
    })
    .await;
}
