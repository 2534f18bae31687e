//! Answers 65 MiB of JSON: stopped by `max_reply`, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let text = "x".repeat(request.number("bytes") as usize);
    Ok(Output { json: Some(format!("\"{text}\"")), ..Output::default() })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn huge_json() {
    let args = json!({"bytes": 65 << 20});
    under_attack(hostile(""), async |server| {
        let answer = attack(server, "huge_json", &args).await;
        assert_stopped(answer, Code::Internal, "68157442 bytes exceeds the limit of 67108864");
        assert_serves(server).await;
    })
    .await;
    let raised = hostile("max_reply = '128 MiB'").arg("--max-message").arg("128MiB");
    under_attack(raised, async |server| {
        let answer = attack(server, "huge_json", &args).await;
        assert_eq!(answer.unwrap().as_str().unwrap().len(), 65 << 20);
    })
    .await;
}
