//! Reads the server's arguments and stdin: stopped by their not being there, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    use std::io::Read;
    let found = match request.text("what") {
        "arguments" => std::env::args().count(),
        "stdin" => std::io::stdin().read_to_end(&mut Vec::new()).map_err(refused)?,
        _ => 1,
    };
    if found == 0 { Err(refused("nothing there")) } else { done() }
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn read_arguments_and_stdin() {
    Attack {
        name: "read_arguments_and_stdin",
        tries: ["arguments", "stdin"].map(|what| json!({"what": what})).into(),
        status: (Code::Internal, "nothing there"),
        legitimate: Some(json!({})),
        ..Attack::default()
    }
    .run()
    .await;
}
