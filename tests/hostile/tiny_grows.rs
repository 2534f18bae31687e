//! Takes 600 MiB a page at a time: stopped by `memory`, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    for page in 0..request.number("pages") {
        if std::arch::wasm32::memory_grow(0, 1) == usize::MAX {
            return Err(refused(format_args!("no page after {page}")));
        }
    }
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn tiny_grows() {
    Attack {
        name: "tiny_grows",
        tries: vec![json!({"pages": 9600})],
        status: (Code::Internal, "no page after 8"),
        raised: "memory = '1 GiB'",
        ..Attack::default()
    }
    .run()
    .await;
}
