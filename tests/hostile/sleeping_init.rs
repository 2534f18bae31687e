//! Sleeps in `init`: stopped by `init`, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn sleeping_init() {
    // The guest's `init` sleeps as long as the variable says.
    let sleeps = |limits: &str| {
        hostile(limits)
            .env("HOSTILE_INIT", "1500")
            .file("hostile/model.toml", "[asks]\nenv = ['HOSTILE_INIT']")
            .config("[model.hostile.grants]\nenv = ['HOSTILE_INIT']")
    };
    under_attack(sleeps("init = '300ms'"), async |server| {
        assert_not_served(server, "its first instance failed: ").await;
    })
    .await;
    under_attack(sleeps(""), async |server| assert_serves(server).await).await;
}
