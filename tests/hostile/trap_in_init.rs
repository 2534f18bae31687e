//! Traps in `init`: stopped by not being served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn trap_in_init() {
    let init = |body: &str| world::Core { init: body.into(), ..world::Core::default() };
    under_attack(init("unreachable").setup(""), async |server| {
        assert_not_served(server, "its first instance failed: the model trapped: ").await;
    })
    .await;
    under_attack(init("i32.const 0").setup(""), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
