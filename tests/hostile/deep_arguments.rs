//! A caller's arguments are 100 000 lists deep: stopped by a check, INVALID_ARGUMENT.

use super::*;

#[tokio::test]
async fn deep_arguments() {
    under_attack(hostile(""), async |server| {
        let caller = server.caller().await;
        let call = async |depth: usize| {
            let args = format!("{{\"deep\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
            caller.text(HOSTILE, "nothing", &args).await
        };
        for depth in [100, 100_000] {
            let words = "args is not JSON: nested more than 100 deep";
            assert_stopped(call(depth).await, Code::InvalidArgument, words);
        }
        assert_eq!(call(99).await.unwrap(), "done");
    })
    .await;
}
