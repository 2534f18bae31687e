//! Imports functions that the host does not have: stopped by not being served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn missing_imports() {
    let imports = |name: &str, function: &str| {
        let import =
            format!(r#"(component (import "{name}" (instance (export "{function}" (func))))"#);
        world::component(
            world::assemble(&world::Core::default().text().replacen("(component", &import, 1)),
            "",
        )
    };
    for (name, function, reason) in [
        ("tms:model/log@0.1.0", "shout", "imports what this server does not provide"),
        ("tms:model/shell@0.1.0", "run", "imports what this server does not provide"),
        ("tms:model/log@0.3.0", "log", "was built for tms:model@0.3.0"),
        ("wasi:http/outgoing-handler@0.2.0", "handle", "imports wasi:http/outgoing-handler@0.2.0"),
        ("host:files/all@1.0.0", "read", "imports host:files/all@1.0.0"),
    ] {
        under_attack(imports(name, function), async |server| {
            assert_not_served(server, reason).await;
        })
        .await;
    }
}
