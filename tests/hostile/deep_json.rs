//! Answers JSON that is 100 000 lists deep: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let depth = request.number("depth") as usize;
    let json = "[".repeat(depth) + "\"done\"" + &"]".repeat(depth);
    Ok(Output { json: Some(json), ..Output::default() })
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn deep_json() {
    Attack {
        name: "deep_json",
        tries: [101, 100_000].map(|depth| json!({"depth": depth})).into(),
        status: (Code::Internal, "the model's result is not JSON: nested more than 100 deep"),
        legitimate: Some(json!({"depth": 0})),
        ..Attack::default()
    }
    .run()
    .await;
}
