//! Is a component that takes minutes to compile: stopped by `compile_time`, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn compile_time() {
    // The default would be a wait.
    let limits = "compile_time = '1s'\ncompile_memory = '4 GiB'";
    for bomb in [
        bombs::nested_loops(300, 5000),
        bombs::many_results(300, 900),
        bombs::many_functions(2000),
        bombs::straight_line(600_000, "v128", "i32x4.mul"),
    ] {
        under_attack(world::component(bomb, limits), async |server| {
            assert_not_served(server, "takes more than 1s of CPU time").await;
        })
        .await;
    }
    // The same code, of a size that people write.
    for honest in [bombs::many_results(5, 20), bombs::many_functions(5)] {
        under_attack(world::component(honest, ""), async |server| {
            assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
        })
        .await;
    }
}
