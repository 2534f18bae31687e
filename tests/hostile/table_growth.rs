//! Grows a table to 200 000 elements: stopped by a check, INTERNAL.

use super::*;

#[tokio::test]
async fn table_growth() {
    // Refused growth is -1, which is taken for a reason to trap.
    let grows = |elements: u32| world::Core {
        fields: "(table $t 1 funcref)".into(),
        run: format!(
            "(if (i32.lt_s (table.grow $t (ref.null func) (i32.const {elements})) (i32.const 0))
               (then unreachable))
             i32.const 0"
        ),
        ..world::Core::default()
    };
    under_attack(grows(200_000).setup(""), async |server| {
        let answer = attack(server, "", &json!({})).await;
        let words = "the model trapped: wasm `unreachable` instruction executed";
        assert_stopped(answer, Code::Internal, words);
    })
    .await;
    under_attack(grows(20_000).setup(""), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}
