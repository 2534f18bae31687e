//! Traps as soon as it is instantiated: stopped by not being served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn trap_before_init() {
    let start = |body: &str| world::Core {
        fields: format!("(func $start {body}) (start $start)"),
        ..world::Core::default()
    };
    under_attack(start("unreachable").setup(""), async |server| {
        assert_not_served(server, "its first instance failed: the model trapped: ").await;
    })
    .await;
    under_attack(start("nop").setup(""), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
