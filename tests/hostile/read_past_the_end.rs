//! Reads bytes that a tensor does not have: stopped by a check, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    black_box(bytes(100).read(request.number("offset"), request.number("length")));
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn read_past_the_end() {
    Attack {
        name: "read_past_the_end",
        tries: vec![
            json!({"offset": 99, "length": 2}),
            json!({"offset": u64::MAX, "length": 2}),
            json!({"offset": 0, "length": u64::MAX}),
        ],
        status: (Code::Internal, "in a tensor of 100 bytes"),
        legitimate: Some(json!({"offset": 0, "length": 100})),
        ..Attack::default()
    }
    .run()
    .await;
}
