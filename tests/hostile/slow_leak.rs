//! Keeps 40 MiB of tensors more with every call: stopped by `max_retained`, OK.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    if request.has("end") {
        panic!("an end with everything");
    }
    HELD.with_borrow_mut(|held| {
        held.push(bytes(40 << 20));
        answer(&json!(held.len()))
    })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn slow_leak() {
    // At the default an instance is replaced, silently, when it keeps more than 256 MiB.
    for (limits, most) in [("", 7), ("max_retained = '2 GiB'\nmemory = '2 GiB'", 20)] {
        under_attack(hostile(limits), async |server| {
            let mut kept = 0;
            for _ in 0..20 {
                let answer = attack(server, "slow_leak", &json!({})).await;
                kept = kept.max(answer.unwrap().as_u64().unwrap());
            }
            assert_eq!(kept, most, "calls whose tensors were there together");
            // What the last instance keeps, it may keep: a trap ends it.
            let end = attack(server, "slow_leak", &json!({"end": true})).await;
            assert_stopped(end, Code::Internal, "the model trapped: ");
        })
        .await;
    }
}
