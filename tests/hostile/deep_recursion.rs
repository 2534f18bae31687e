//! Calls itself 200 000 deep: stopped by the server's `stack`, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    black_box(down(request.number("depth"), 1, 2));
    done()
}

/// Keeps its values on the host's stack: Rust's own lies in linear memory, and ends in it.
#[cfg(target_family = "wasm")]
#[inline(never)]
fn down(depth: u64, a: u64, b: u64) -> u64 {
    if depth == 0 { a } else { down(depth - 1, b ^ depth, a).rotate_left(3) ^ b.wrapping_mul(a) }
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn deep_recursion() {
    Attack {
        name: "deep_recursion",
        tries: vec![json!({"depth": 200_000})],
        status: (Code::Internal, "the model trapped: call stack exhausted"),
        raised_with: |setup| setup.arg("--stack").arg("64MiB"),
        ..Attack::default()
    }
    .run()
    .await;
}
