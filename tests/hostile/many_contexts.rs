//! Holds 20 000 execution contexts of a graph: stopped by `handles`, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let graph = graph::load_by_name("model").map_err(nn_refused)?;
    let mut held = Vec::new();
    for _ in 0..request.number("contexts") {
        held.push(graph.init_execution_context().map_err(nn_refused)?);
    }
    drop(black_box(held));
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn many_contexts() {
    Attack {
        name: "many_contexts",
        tries: vec![json!({"contexts": 20_000})],
        status: (Code::Internal, "too many handles (limit `handles`)"),
        raised: "handles = 30_000",
        with: |setup| setup.graph("two_inputs", HOSTILE),
        ..Attack::default()
    }
    .run()
    .await;
}
