//! Makes tensors of ten million strings and rows of them, again and again: stopped by `cpu`,
//! DEADLINE_EXCEEDED.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let strings = request.number("strings");
    let data = vec![0; 4 * strings as usize];
    for _ in 0..request.number("times") {
        let tensor = Tensor::new(Dtype::Bytes, &[strings], &data);
        black_box(tensor.rows(strings - 1, 1));
    }
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn string_rows() {
    Attack {
        name: "string_rows",
        tries: vec![json!({"strings": 10_000_000, "times": 1_000_000})],
        limits: "cpu = '1s'",
        status: (Code::DeadlineExceeded, "CPU time"),
        legitimate: Some(json!({"strings": 10_000_000, "times": 5})),
        ..Attack::default()
    }
    .run()
    .await;
}
