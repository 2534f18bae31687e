//! Runs a graph with more elements than native code is given: stopped by `max_elements`, INTERNAL.

use super::*;

/// 64 Mi elements, and one row more.
#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let rows = request.number("rows");
    compute(vec![("x", Tensor::new(Dtype::U8, &[rows, 1024], &vec![0; rows as usize * 1024]))])
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn compute_elements() {
    Attack {
        name: "compute_elements",
        tries: vec![json!({"rows": (64 << 10) + 1})],
        status: (Code::Internal, "max_elements"),
        raised: "max_elements = 70_000_000",
        // ONNX Runtime keeps the memory of its largest run: with tract, what is left is the sandbox's.
        with: |setup| {
            setup.graph("identity_u8", HOSTILE).file("hostile/model.toml", "backend = 'tract'")
        },
        ..Attack::default()
    }
    .run()
    .await;
}
