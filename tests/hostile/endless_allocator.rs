//! Never says where the host may put a request: stopped by `cpu`, DEADLINE_EXCEEDED.

use super::*;

#[tokio::test]
async fn endless_allocator() {
    let after = |rounds: u64| world::Core {
        realloc: format!(
            "(local $left i64)
             (local.set $left (i64.const {rounds}))
             (loop $again
               (local.set $left (i64.sub (local.get $left) (i64.const 1)))
               (br_if $again (i64.gt_u (local.get $left) (i64.const 0))))
             i32.const 32768"
        ),
        ..world::Core::default()
    };
    under_attack(after(u64::MAX).setup("cpu = '300ms'"), async |server| {
        let answer = attack(server, "some text", &json!({})).await;
        assert_stopped(answer, Code::DeadlineExceeded, "CPU time");
    })
    .await;
    under_attack(after(100_000_000).setup(""), async |server| {
        assert_eq!(attack(server, "some text", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
