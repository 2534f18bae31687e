//! Reads the server's environment: stopped by what is granted, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let there: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
    match std::env::var(request.text("name")) {
        Ok(value) if value == "secret" && there.len() == 1 => done(),
        _ => Err(refused(format_args!("there are {there:?}"))),
    }
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn read_environment() {
    Attack {
        name: "read_environment",
        tries: ["HOSTILE_SECRET", "PATH", "HOME"].map(|name| json!({"name": name})).into(),
        status: (Code::Internal, "there are []"),
        with: |setup| setup.env("HOSTILE_SECRET", "secret").env("HOSTILE_OTHER", "secret"),
        raised_with: |setup| {
            setup
                .file("hostile/model.toml", "[asks]\nenv = ['HOSTILE_SECRET']")
                .config("[model.hostile.grants]\nenv = ['HOSTILE_SECRET']")
        },
        ..Attack::default()
    }
    .run()
    .await;
}
