//! Is a component with types nested 200 000 deep, which readers follow by recursion: stopped by not being
//! served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn deep_types() {
    under_attack(nested(200_000), async |server| {
        assert_not_served(server, "nests types: more than 100").await;
    })
    .await;
    under_attack(nested(50), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}

/// A model with a type section behind it: the type of a component that declares the type of a component,
/// and so on.
fn nested(depth: usize) -> Setup {
    const TYPES: u8 = 7;
    const ONE: u8 = 1;
    const COMPONENT: u8 = 0x41;
    const TYPE: u8 = 1;
    let types = [&[ONE][..], &[COMPONENT, ONE, TYPE].repeat(depth), &[COMPONENT, 0]].concat();
    let model = world::assemble(&world::Core::default().text());
    world::component([model, world::section(TYPES, &types)].concat(), "")
}
