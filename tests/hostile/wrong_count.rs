//! Answers fewer or more results than a batch has requests: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(_request: Request) -> Answer {
    done()
}

/// As many results as the arguments say, where they do.
#[cfg(target_family = "wasm")]
pub fn batch(mut outputs: Vec<Output>, args: &Value) -> Vec<Output> {
    if let Some(answers) = args["answers"].as_u64() {
        outputs.resize_with(answers as usize, || Output::default());
    }
    outputs
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn wrong_count() {
    under_attack(hostile(""), async |server| {
        let caller = server.caller().await;
        let batch = async |answers: u32| {
            let args = json!({"answers": answers}).to_string();
            caller.texts(HOSTILE, &["wrong_count"; 3], &args).await
        };
        for answers in [0, 2, 4, 100_000] {
            let words = format!("the model gave {answers} results for 3 requests");
            assert_stopped(batch(answers).await, Code::Internal, &words);
        }
        assert_eq!(batch(3).await.unwrap(), json!(["done", "done", "done"]));
    })
    .await;
}
