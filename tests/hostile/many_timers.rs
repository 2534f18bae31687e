//! Waits for 20 000 timers: stopped by `handles`, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let timers = request.number("timers");
    let held: Vec<_> =
        (0..timers).map(|_| wasi::clocks::monotonic_clock::subscribe_duration(1)).collect();
    black_box(wasi::io::poll::poll(&held.iter().collect::<Vec<_>>()));
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn many_timers() {
    Attack {
        name: "many_timers",
        tries: vec![json!({"timers": 20_000})],
        status: (Code::Internal, "the model trapped: "),
        raised: "handles = 100_000",
        ..Attack::default()
    }
    .run()
    .await;
}
