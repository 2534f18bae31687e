//! Fails with a message that would forge lines and move a terminal's cursor: stopped by escaping,
//! INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    match request.text("say") {
        "" => done(),
        text => Err(refused(text)),
    }
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn forged_message() {
    Attack {
        name: "forged_message",
        tries: vec![
            json!({"say": "no\r\ngrpc-status: 0\r\n\u{1b}]0;mine\u{7}\u{1b}[2J\0\u{85}end"}),
        ],
        // The frame checks that no status's message has a control character.
        status: (Code::Internal, "end"),
        legitimate: Some(json!({})),
        ..Attack::default()
    }
    .run()
    .await;
}
