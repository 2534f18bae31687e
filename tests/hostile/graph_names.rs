//! Opens graphs by paths and by other models' names: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    graph::load_by_name(request.text("graph")).map_err(nn_refused)?;
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn graph_names() {
    Attack {
        name: "graph_names",
        tries: [
            "other/model",
            "../other/model",
            "..",
            "/etc/passwd",
            "./model",
            "model.onnx",
            "model\0",
            "MODEL",
            "",
            &"x".repeat(1 << 20),
        ]
        .map(|name| json!({"graph": name}))
        .into(),
        status: (Code::Internal, "NotFound: no graph named"),
        with: |setup| setup.graph("two_inputs", HOSTILE).graph("scalar", "other"),
        raised_with: |setup| setup.config("[model.hostile]\ngraphs = ['other/model']"),
        ..Attack::default()
    }
    .run()
    .await;
}
