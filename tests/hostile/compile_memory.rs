//! Is a component of 48 KB that takes gigabytes to compile: stopped by `compile_memory`, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn compile_memory() {
    // The default would be a wait.
    let bomb = world::component(bombs::nested_loops(300, 5000), "compile_memory = '256 MiB'");
    under_attack(bomb, async |server| {
        let reason = "takes more than 256 MiB of memory (limit `compile_memory`)";
        assert_not_served(server, reason).await;
    })
    .await;
    // The same code, of a size that people write.
    let small = world::component(bombs::nested_loops(20, 200), "compile_memory = '256 MiB'");
    under_attack(small, async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
