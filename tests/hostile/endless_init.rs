//! Computes for long in `init`: stopped by `init`, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn endless_init() {
    let after = |rounds: u64| world::Core {
        init: format!(
            "(local $left i64)
             (local.set $left (i64.const {rounds}))
             (loop $again
               (local.set $left (i64.sub (local.get $left) (i64.const 1)))
               (br_if $again (i64.gt_u (local.get $left) (i64.const 0))))
             i32.const 0"
        ),
        ..world::Core::default()
    };
    under_attack(after(u64::MAX).setup("init = '500ms'"), async |server| {
        assert_not_served(server, "its first instance failed: ").await;
    })
    .await;
    under_attack(after(1_000_000_000).setup("init = '1m'"), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
