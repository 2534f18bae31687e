//! Is a component with 20 000 memories, which an engine must make room for: stopped by not being
//! served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn many_memories() {
    let has = |memories: usize| {
        let module = r#"(core module (memory 0) (memory 0) (memory 0) (memory 0))"#;
        let modules = "(component ".to_owned() + &module.repeat(memories / 4);
        world::component(
            world::assemble(&world::Core::default().text().replacen("(component", &modules, 1)),
            "",
        )
    };
    under_attack(has(20_000), async |server| assert_not_served(server, "").await).await;
    under_attack(has(0), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
