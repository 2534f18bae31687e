//! Rows and shapes that a tensor does not have: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let tensor = floats(&[2, 3]);
    match request.text("what") {
        "shape" => tensor.reshape(&[u64::MAX, 2, 3]),
        "past" => tensor.rows(1, 2),
        "overflow" => tensor.rows(u64::MAX, 2),
        _ => tensor.rows(1, 1),
    };
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn wrong_views() {
    Attack {
        name: "wrong_views",
        tries: ["shape", "past", "overflow"].map(|what| json!({"what": what})).into(),
        status: (Code::Internal, "the model trapped: "),
        legitimate: Some(json!({"what": "rows"})),
        ..Attack::default()
    }
    .run()
    .await;
}
