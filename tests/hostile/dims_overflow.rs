//! A tensor whose dimensions multiply to more than 64 bits hold: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let shape: Vec<u64> = serde_json::from_value(request.args["shape"].clone()).map_err(refused)?;
    let tensor = Tensor::new(Dtype::U8, &shape, &vec![0; request.number("bytes") as usize]);
    black_box(tensor);
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn dims_overflow() {
    Attack {
        name: "dims_overflow",
        tries: vec![
            // These wrap to 0, 1 and 2.
            json!({"shape": [1u64 << 32, 1u64 << 32], "bytes": 0}),
            json!({"shape": [u64::MAX, u64::MAX], "bytes": 1}),
            json!({"shape": [(1u64 << 63) + 1, 2], "bytes": 2}),
        ],
        status: (Code::Internal, "the model trapped: "),
        legitimate: Some(json!({"shape": [2, 3], "bytes": 6})),
        ..Attack::default()
    }
    .run()
    .await;
}
