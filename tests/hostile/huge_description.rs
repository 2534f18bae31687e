//! Describes itself with a name of 60 000 bytes: stopped by not being served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn huge_description() {
    let named = |length: u16| {
        let [low, high] = length.to_le_bytes();
        // One input, whose name lies behind it.
        let fields = format!(
            r#"(data (i32.const 1028) "\00\08\00\00\01\00\00\00")
               (data (i32.const 2048) "\00\10\00\00\{low:02x}\{high:02x}\00\00")"#
        );
        world::Core { fields, ..world::Core::default() }.setup("")
    };
    under_attack(named(60_000), async |server| {
        let reason = "one of its inputs has a name of 60000 bytes: there may be at most 1000";
        assert_not_served(server, reason).await;
    })
    .await;
    under_attack(named(1000), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
