//! Exports a `run` of another type: stopped by not being served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn wrong_exports() {
    let text = r#"(component
      (core module $m
        (memory (export "memory") 1)
        (func (export "run") (param i32) (result i32) local.get 0))
      (core instance $i (instantiate $m))
      (func (export "run") (param "input" u32) (result u32) (canon lift (core func $i "run"))))"#;
    under_attack(world::component(world::assemble(text), ""), async |server| {
        assert_not_served(server, "does not export what tms:model/model@0.1.0 asks for").await;
    })
    .await;
    under_attack(world::Core::default().setup(""), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
