//! Is a component of 65 MiB: stopped by `max_component`, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn huge_component() {
    let mut bytes = world::assemble(&world::Core::default().text());
    // A custom section, whose length is in base 128: 64 MiB of nothing.
    bytes.extend([0, 0x80, 0x80, 0x80, 0x20]);
    bytes.resize(bytes.len() + (64 << 20), 0);
    under_attack(world::component(&bytes, ""), async |server| {
        assert_not_served(server, "max_component").await;
    })
    .await;
    under_attack(world::component(&bytes, "max_component = '80 MiB'"), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
