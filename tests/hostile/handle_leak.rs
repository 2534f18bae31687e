//! Keeps 40 handles more with every call: stopped by `max_uses`, OK.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    if request.has("end") {
        panic!("an end with everything");
    }
    HELD.with_borrow_mut(|held| {
        held.extend((0..40).map(|_| bytes(1)));
        answer(&json!(held.len()))
    })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn handle_leak() {
    // The default is too many calls to wait for. The last call is short of `handles`.
    for (limits, most) in [("max_uses = 50", 2000), ("", 8000)] {
        under_attack(hostile(limits), async |server| {
            let mut kept = 0;
            for _ in 0..200 {
                let answer = attack(server, "handle_leak", &json!({})).await;
                kept = kept.max(answer.unwrap().as_u64().unwrap());
            }
            // The frame's own call before the first was one of the first instance's.
            assert_eq!(kept, most, "handles that were there together");
            let end = attack(server, "handle_leak", &json!({"end": true})).await;
            assert_stopped(end, Code::Internal, "the model trapped: ");
        })
        .await;
    }
}
