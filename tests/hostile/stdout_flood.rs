//! Writes 16 MiB to stdout without a line's end: stopped by `log_bytes`, OK.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    use std::io::Write;
    let piece = "flood ".repeat(10_000);
    for _ in 0..request.number("pieces") {
        std::io::stdout().write_all(piece.as_bytes()).map_err(refused)?;
        std::io::stdout().flush().map_err(refused)?;
    }
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn stdout_flood() {
    let flood = async |server: &Server| {
        let answer = attack(server, "stdout_flood", &json!({"pieces": 280})).await;
        assert_eq!(answer.unwrap(), "done", "only its lines are lost");
        assert_serves(server).await;
    };
    let logged = |server: &Server| -> usize {
        server.log().lines().filter(|line| line.contains("flood flood")).map(str::len).sum()
    };
    under_attack(hostile(""), async |server| {
        flood(server).await;
        server.logged("lines of the log were dropped: a call may write 100 lines").await;
        assert!((1 << 10..80 << 10).contains(&logged(server)), "{} bytes", logged(server));
    })
    .await;
    let raised = hostile("log_lines = 100_000\nlog_bytes = '100 MB'");
    under_attack(raised, async |server| {
        flood(server).await;
        // More than what waits for the log's reader, if the machine is busy, may be lost.
        until("its lines", async || logged(server) > 4 << 20).await;
    })
    .await;
}
