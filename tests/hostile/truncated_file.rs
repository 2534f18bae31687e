//! Is half a component: stopped by not being served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn truncated_file() {
    let setup = hostile("");
    let Ok(whole) = fs::read(setup.path("hostile/model.wasm")) else { return };
    // Within the header, within a section, and at the last byte.
    for length in [0, 5, whole.len() / 2, whole.len() - 1] {
        under_attack(world::component(&whole[..length], ""), async |server| {
            assert_not_served(server, "model.wasm is ").await;
        })
        .await;
    }
    under_attack(setup, async |server| assert_serves(server).await).await;
}
