//! Uses a graph's handle as a tensor's: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let graph = graph::load_by_name("model").map_err(nn_refused)?;
    if request.has("as_graph") {
        return answer(&json!(["done", "undone"][usize::from(graphs::inputs(&graph).len() != 2)]));
    }
    // SAFETY: none; that is the attack.
    let tensor = std::mem::ManuallyDrop::new(unsafe { Tensor::from_handle(graph.handle()) });
    black_box(tensor.byte_length());
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn handle_of_another_kind() {
    Attack {
        name: "handle_of_another_kind",
        status: (Code::Internal, "used with the wrong type"),
        legitimate: Some(json!({"as_graph": true})),
        with: |setup| setup.graph("two_inputs", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
