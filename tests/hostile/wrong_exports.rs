//! Exports a `run` of another type: stopped by not being served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn wrong_exports() {
    let older = r#"(component
      (core module $m
        (memory (export "memory") 1)
        (func (export "run") (param i32) (result i32) local.get 0))
      (core instance $i (instantiate $m))
      (func (export "run") (param "input" u32) (result u32) (canon lift (core func $i "run"))))"#;
    let today = r#"(component
      (core module $m
        (memory (export "memory") 1)
        (func (export "run") (param i32) (result i32) local.get 0))
      (core instance $i (instantiate $m))
      (func $run (param "input" u32) (result u32) (canon lift (core func $i "run")))
      (instance $guest (export "run" (func $run)))
      (export "tms:model/guest@0.2.0" (instance $guest)))"#;
    for text in [older, today] {
        under_attack(world::component(world::assemble(text), ""), async |server| {
            assert_not_served(server, "does not export what tms:model asks for").await;
        })
        .await;
    }
    under_attack(world::Core::default().setup(""), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
