//! Answers what is not JSON: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    Ok(Output { json: Some(request.text("json").into()), ..Output::default() })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn not_json() {
    Attack {
        name: "not_json",
        tries: ["", "{", "{'a': 1}", "1 2", "nul", "\"\n\""]
            .map(|text| json!({"json": text}))
            .into(),
        status: (Code::Internal, "the model's result is not JSON: "),
        legitimate: Some(json!({"json": "\"done\""})),
        ..Attack::default()
    }
    .run()
    .await;
}
