//! A tensor with fewer or more bytes than its shape says: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let data = vec![0; request.number("bytes") as usize];
    black_box(Tensor::new(Dtype::Fp32, &[2, 3], &data));
    black_box(nn_tensor::Tensor::new(&vec![2, 3], nn_tensor::TensorType::Fp32, &data));
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn wrong_byte_count() {
    Attack {
        name: "wrong_byte_count",
        tries: [0, 23, 25].map(|bytes| json!({"bytes": bytes})).into(),
        status: (Code::Internal, "bytes of data do not make fp32 [2, 3], which takes 24"),
        legitimate: Some(json!({"bytes": 24})),
        ..Attack::default()
    }
    .run()
    .await;
}
