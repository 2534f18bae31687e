//! Answers a string that is not UTF-8: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let bytes = match request.has("valid") {
        true => b"\"done\"".to_vec(),
        false => b"\"\xff\xfe\"".to_vec(),
    };
    // SAFETY: none; that is the attack.
    Ok(Output { json: Some(unsafe { String::from_utf8_unchecked(bytes) }), ..Output::default() })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn invalid_utf8() {
    Attack {
        name: "invalid_utf8",
        status: (Code::Internal, "the model trapped: invalid utf-8 sequence"),
        legitimate: Some(json!({"valid": true})),
        ..Attack::default()
    }
    .run()
    .await;
}
