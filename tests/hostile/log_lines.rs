//! Logs 1000 lines in one call: stopped by `log_lines`, OK.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    for line in 0..request.number("lines") {
        log::log(log::Level::Info, &format!("flood {line}"));
    }
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn log_lines() {
    for (limits, lines) in [("", 100), ("log_lines = 2000", 1000)] {
        under_attack(hostile(limits), async |server| {
            let answer = attack(server, "log_lines", &json!({"lines": 1000})).await;
            assert_eq!(answer.unwrap(), "done", "only its lines are lost");
            assert_serves(server).await;
            if lines == 100 {
                server.logged("900 lines of the log were dropped: a call may write 100").await;
            }
            let logged = || server.log().matches("flood ").count();
            until("all lines", async || logged() >= lines).await;
            assert_eq!(logged(), lines);
        })
        .await;
    }
}
