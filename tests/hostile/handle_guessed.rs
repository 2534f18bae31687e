//! Guesses the handles of another instance: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    if request.has("hold") {
        // Stays in this instance, for another to guess.
        HELD.with_borrow_mut(|held| held.extend((0..100).map(|_| bytes(1))));
        std::thread::sleep(std::time::Duration::from_millis(request.number("hold")));
        HELD.take();
        return done();
    }
    for index in 1..=1000 {
        // SAFETY: none; that is the attack.
        let guessed = std::mem::ManuallyDrop::new(unsafe { Tensor::from_handle(index) });
        black_box(guessed.byte_length());
    }
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn handle_guessed() {
    under_attack(hostile(""), async |server| {
        let (victim, hold) = (server.caller().await, json!({"hold": 700}).to_string());
        let held = tokio::spawn(async move { victim.text(HOSTILE, "handle_guessed", &hold).await });
        let busy = [r#"model="hostile""#];
        until("the victim holds its tensors", async || {
            calm::metric(server, "tms_tensor_bytes", &busy) >= 100.0
        })
        .await;
        let guessed = attack(server, "handle_guessed", &json!({})).await;
        assert_stopped(guessed, Code::Internal, "the model trapped: ");
        assert_eq!(held.await.unwrap().unwrap(), "done", "the other instance did not notice");
    })
    .await;
}
