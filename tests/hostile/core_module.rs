//! Is a core module: stopped by not being served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn core_module() {
    let module = world::assemble(r#"(module (func (export "run")))"#);
    under_attack(world::component(module, ""), async |server| {
        assert_not_served(server, "model.wasm is a core module, not a component").await;
    })
    .await;
}
