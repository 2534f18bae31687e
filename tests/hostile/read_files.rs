//! Reads files of the host: stopped by what is granted, INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    std::fs::read(request.text("path")).map_err(refused)?;
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn read_files() {
    Attack {
        name: "read_files",
        tries: [
            "/etc/passwd",
            "/proc/self/environ",
            "../tms.toml",
            "model.wasm",
            "/",
            ".",
            "",
            "/data/hello",
            "/data/../etc/passwd",
        ]
        .map(|path| json!({"path": path}))
        .into(),
        status: (Code::Internal, ""),
        legitimate: Some(json!({"path": "/data/hello"})),
        raised_with: grant_data,
        ..Attack::default()
    }
    .run()
    .await;
}

/// Grants `/data`, a folder with the file `hello`.
#[cfg(not(target_family = "wasm"))]
fn grant_data(setup: Setup) -> Setup {
    let folder = setup.folder.path().join("granted");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("hello"), "hello").unwrap();
    setup
        .file("hostile/model.toml", "[asks]\nfolders = ['/data']")
        .config(&format!("[model.hostile.grants]\nfolders = {{ '/data' = {folder:?} }}"))
}
