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
    let written = async |server: &Server| {
        let answer = attack(server, "stdout_flood", &json!({"pieces": 280})).await;
        assert_eq!(answer.unwrap(), "done", "only its lines are lost");
        assert_serves(server).await;
        server.log().lines().filter(|line| line.contains("flood flood")).map(str::len).sum()
    };
    under_attack(hostile(""), async |server| {
        let bytes: usize = written(server).await;
        assert!((1 << 10..80 << 10).contains(&bytes), "{bytes} bytes");
    })
    .await;
    let raised = hostile("log_lines = 100_000\nlog_bytes = '100 MB'");
    under_attack(raised, async |server| {
        let bytes: usize = written(server).await;
        assert!(bytes > 8 << 20, "{bytes} bytes");
    })
    .await;
}
