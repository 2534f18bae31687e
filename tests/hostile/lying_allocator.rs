//! Has the host put a request outside its memory: stopped by a check, INTERNAL.

use super::*;

#[tokio::test]
async fn lying_allocator() {
    let puts = |body: &str| world::Core { realloc: body.into(), ..world::Core::default() };
    for address in ["i32.const 65535", "i32.const -1", "i32.const 33333", "unreachable"] {
        under_attack(puts(address).setup(""), async |server| {
            let answer = attack(server, "some text", &json!({})).await;
            assert_stopped(answer, Code::Internal, "the model trapped: ");
        })
        .await;
    }
    under_attack(puts("i32.const 32768").setup(""), async |server| {
        assert_eq!(attack(server, "some text", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
