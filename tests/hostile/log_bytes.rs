//! Logs a megabyte in 90 lines: stopped by `log_bytes`, OK.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let line = "flood ".repeat(2000);
    for _ in 0..request.number("lines") {
        log::log(log::Level::Info, &line);
    }
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn log_bytes() {
    for (limits, expected) in [("", 1..80 << 10), ("log_bytes = '1 MiB'", 90 * 4096..2 << 20)] {
        under_attack(hostile(limits), async |server| {
            let answer = attack(server, "log_bytes", &json!({"lines": 90})).await;
            assert_eq!(answer.unwrap(), "done", "only its lines are lost");
            assert_serves(server).await;
            if limits.is_empty() {
                server.logged("lines of the log were dropped: a call may write 100 lines").await;
            }
            let logged = || -> usize {
                let log = server.log();
                log.lines().filter(|line| line.contains("flood flood")).map(str::len).sum()
            };
            // 90 lines, each cut at 4 KiB, where there is no limit in the way.
            until("all lines", async || logged() >= expected.start).await;
            assert!(expected.contains(&logged()), "{} bytes", logged());
        })
        .await;
    }
}
