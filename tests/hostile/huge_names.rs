//! Traps inside functions with names of 90 KB: stopped by being cut, INTERNAL.

use super::*;

#[tokio::test]
async fn huge_names() {
    let named = |name: &str| {
        // Thirty functions that call each other, and the last traps.
        let functions = (0..30).map(|i| match i {
            29 => format!("(func $f29{name} unreachable)"),
            _ => format!("(func $f{i}{name} (call $f{}{name}))", i + 1),
        });
        world::Core {
            fields: functions.collect(),
            run: format!("(call $f0{name}) i32.const 0"),
            ..world::Core::default()
        }
    };
    for name in ["x".repeat(90_000), "x".into()] {
        under_attack(named(&name).setup(""), async |server| {
            let words = "the model trapped: wasm `unreachable` instruction executed";
            assert_stopped(attack(server, "", &json!({})).await, Code::Internal, words);
            let log = server.logged("trapped: ").await;
            let line = log.lines().find(|line| line.contains("trapped: ")).unwrap();
            assert!(line.contains("f29x") && line.len() < 4096, "{} bytes", line.len());
        })
        .await;
    }
}
