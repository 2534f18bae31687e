//! Keeps 40 handles more with every call: stopped by half of `handles` and by `max_uses`, OK.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(_request: Request) -> Answer {
    HELD.with_borrow_mut(|held| {
        held.extend((0..40).map(|_| bytes(1)));
        answer(&json!(held.len()))
    })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn handle_leak() {
    // An instance is replaced, silently. Its handles are counted now and then; the default of
    // `max_uses` is too many calls to wait for.
    for (limits, expected) in
        [("", 5000..=7600), ("max_uses = 50", 2000..=2000), ("handles = 40_000", 8000..=8000)]
    {
        under_attack(hostile(limits), async |server| {
            let mut kept = 0;
            for _ in 0..200 {
                let answer = attack(server, "handle_leak", &json!({})).await;
                kept = kept.max(answer.unwrap().as_u64().unwrap());
            }
            assert!(expected.contains(&kept), "{kept} handles were there together");
        })
        .await;
    }
}
