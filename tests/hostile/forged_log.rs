//! Logs lines that look like the server's own: stopped by escaping, OK.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let text = request.text("say");
    log::log(log::Level::Info, text);
    println!("{text}");
    eprintln!("{text}");
    panic!("{text}")
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn forged_log() {
    under_attack(hostile(""), async |server| {
        let forged = "begin\r\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{85}\u{2028}end";
        let answer = attack(server, "forged_log", &json!({"say": forged})).await;
        assert_stopped(answer, Code::Internal, "the model trapped: ");
        let log = server.logged("trapped: ").await;
        let lines: Vec<_> = log.lines().filter(|line| line.contains("forged")).collect();
        assert!(lines.len() >= 3, "the attack logged:\n{log}");
        for line in lines {
            // stdout and stderr end a line where the guest does; it stays a line of the model's.
            assert!(line.ends_with("model=hostile"), "{line}");
            assert!(!line.starts_with("2026-01-01"), "{line}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    })
    .await;
}
