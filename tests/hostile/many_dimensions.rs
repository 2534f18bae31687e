//! A tensor of one byte and a million dimensions: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let shape = vec![1; request.number("dimensions") as usize];
    let tensor = match request.text("how") {
        "reshape" => bytes(1).reshape(&shape),
        "wasi:nn" => {
            let shape: Vec<u32> = shape.iter().map(|d| *d as u32).collect();
            let tensor = nn_tensor::Tensor::new(&shape, nn_tensor::TensorType::U8, &[1]);
            graphs::from_nn(&tensor)
        }
        _ => Tensor::new(Dtype::U8, &shape, &[1]),
    };
    black_box(tensor);
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn many_dimensions() {
    let ways = |dimensions: u64| {
        ["new", "reshape", "wasi:nn"].map(|how| json!({"how": how, "dimensions": dimensions}))
    };
    Attack {
        name: "many_dimensions",
        tries: [ways(65), ways(1_000_000)].concat(),
        status: (Code::Internal, "there may be at most 64"),
        legitimate: Some(json!({"how": "reshape", "dimensions": 64})),
        ..Attack::default()
    }
    .run()
    .await;
}
