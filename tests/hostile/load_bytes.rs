//! Loads a graph from bytes of its own: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let bytes = vec![include_bytes!("../data/graphs/scalar.onnx").to_vec()];
    match request.has("by_name") {
        true => graph::load_by_name("model"),
        false => graph::load(&bytes, graph::GraphEncoding::Onnx, graph::ExecutionTarget::Cpu),
    }
    .map_err(nn_refused)?;
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn load_bytes() {
    Attack {
        name: "load_bytes",
        status: (Code::Internal, "UnsupportedOperation: graphs are loaded by name"),
        legitimate: Some(json!({"by_name": true})),
        with: |setup| setup.graph("scalar", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
