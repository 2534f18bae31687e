//! Copies a tensor of 100 MiB in, again and again: stopped by `cpu`, DEADLINE_EXCEEDED.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let tensor = bytes(request.number("mib") << 20);
    for _ in 0..request.number("reads") {
        black_box(tensor.read(0, tensor.byte_length()));
    }
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn big_reads() {
    Attack {
        name: "big_reads",
        tries: vec![json!({"mib": 100, "reads": 1_000_000})],
        limits: "cpu = '1s'",
        status: (Code::DeadlineExceeded, "CPU time"),
        legitimate: Some(json!({"mib": 100, "reads": 5})),
        ..Attack::default()
    }
    .run()
    .await;
}
