//! Answers a string that would lie outside its memory: stopped by a check, INTERNAL.

use super::*;

#[tokio::test]
async fn lying_pointers() {
    // A `result<output, error>` at 2048: Ok, with JSON of this length at this address.
    let says = |address: u32, length: u32| world::Core {
        fields: r#"(data (i32.const 4096) "\"done\"")"#.into(),
        run: format!(
            "(i32.store (i32.const 2052) (i32.const 1))
             (i32.store (i32.const 2056) (i32.const {address}))
             (i32.store (i32.const 2060) (i32.const {length}))
             i32.const 2048"
        ),
        ..world::Core::default()
    };
    for (address, length) in [(4096, 61_441), (u32::MAX, 6), (4096, u32::MAX), (1 << 31, 1 << 31)] {
        under_attack(says(address, length).setup(""), async |server| {
            let answer = attack(server, "", &json!({})).await;
            assert_stopped(answer, Code::Internal, "the model trapped: ");
        })
        .await;
    }
    under_attack(says(4096, 6).setup(""), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), "done");
    })
    .await;
}
