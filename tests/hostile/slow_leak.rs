//! Keeps 40 MiB of tensors more with every call: stopped by `max_retained`, OK.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(_request: Request) -> Answer {
    HELD.with_borrow_mut(|held| {
        held.push(bytes(40 << 20));
        answer(&json!(held.len()))
    })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn slow_leak() {
    // At the default an instance is replaced, silently, when it keeps more than 256 MiB, of which
    // some is linear memory.
    let raised = "max_retained = '2 GiB'\nmemory = '2 GiB'";
    for (limits, expected) in [("", 5..=7), (raised, 20..=20)] {
        under_attack(hostile(limits), async |server| {
            let mut kept = 0;
            for _ in 0..20 {
                let answer = attack(server, "slow_leak", &json!({})).await;
                kept = kept.max(answer.unwrap().as_u64().unwrap());
            }
            assert!(expected.contains(&kept), "{kept} calls' tensors were there together");
        })
        .await;
    }
}
