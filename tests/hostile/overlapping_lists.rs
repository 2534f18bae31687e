//! A list of 150 lists that are all the same MiB: stopped by `memory`, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let one = vec![0u8; 1 << 20];
    // SAFETY: none; that is the attack. Nobody writes to them, and nobody frees them.
    let same = || unsafe { Vec::from_raw_parts(one.as_ptr().cast_mut(), one.len(), one.len()) };
    let lists: Vec<_> = (0..request.number("lists")).map(|_| same()).collect();
    let lists = std::mem::ManuallyDrop::new(lists);
    // It takes no bytes at all: what matters is that they were copied to the host.
    let refusal = graph::load(&lists, graph::GraphEncoding::Onnx, graph::ExecutionTarget::Cpu);
    black_box(refusal.is_ok());
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn overlapping_lists() {
    Attack {
        name: "overlapping_lists",
        tries: vec![json!({"lists": 150})],
        status: (Code::Internal, "too much data is being copied"),
        raised: "memory = '1 GiB'",
        ..Attack::default()
    }
    .run()
    .await;
}
