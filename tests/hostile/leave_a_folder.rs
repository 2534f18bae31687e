//! Leaves a folder that was granted, by `..`, by a link or by writing: stopped by a check,
//! INTERNAL.

use super::*;

#[cfg(target_family = "wasm")]
pub fn attack(request: Request) -> Answer {
    let path = request.text("path");
    match request.has("write") {
        true => std::fs::write(path, "mine").map_err(refused)?,
        false => drop(std::fs::read(path).map_err(refused)?),
    }
    done()
}

#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn leave_a_folder() {
    let setup = hostile("");
    let folder = setup.folder.path().join("granted");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("hello"), "hello").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("absolute")).unwrap();
    std::os::unix::fs::symlink("../tms.toml", folder.join("relative")).unwrap();
    let setup = setup
        .file("hostile/model.toml", "[asks]\nfolders = ['/data']")
        .config(&format!("[model.hostile.grants]\nfolders = {{ '/data' = {folder:?} }}"));
    under_attack(setup, async |server| {
        for path in
            ["/data/../tms.toml", "/data/absolute", "/data/relative", "/data/./../../etc/passwd"]
        {
            let answer = attack(server, "leave_a_folder", &json!({"path": path})).await;
            assert_stopped(answer, Code::Internal, "");
        }
        for path in ["/data/new", "/data/hello"] {
            let args = json!({"path": path, "write": true});
            assert_stopped(attack(server, "leave_a_folder", &args).await, Code::Internal, "");
        }
        assert_eq!(fs::read_to_string(folder.join("hello")).unwrap(), "hello");
        assert!(!folder.join("new").exists());
        let answer = attack(server, "leave_a_folder", &json!({"path": "/data/hello"})).await;
        assert_eq!(answer.unwrap(), "done");
    })
    .await;
}
