//! A library that attacks as soon as it is loaded (tests/hostile_library): what native code in a child
//! process cannot reach, whatever takes it over.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{
    Setup,
    oip::{floats, infer, raw, to_floats},
    repository,
    setup::onnxruntime,
};

/// The real library's name: of the files beside the library that it loads, a child may read only those of
/// providers.
const REAL: &str = "libonnxruntime_providers_real.so";

#[tokio::test]
async fn a_library_that_attacks_reaches_nothing() {
    let setup = Setup::new().onnxruntime();
    let Some(real) = onnxruntime() else { return };
    let libraries = tempfile::tempdir().unwrap();
    let library = hostile_library(libraries.path(), &real);
    let graph = fs::read(repository().join("tests/data/graphs/identity_fp32.onnx")).unwrap();
    let folder = setup.folder.path().to_str().unwrap().to_owned();
    let setup = setup
        .file("victim/model.onnx", &graph)
        .env("TMS_ONNXRUNTIME", library.to_str().unwrap())
        .env("ORT_HOSTILE_REAL", libraries.path().join(REAL).to_str().unwrap())
        .env("ORT_HOSTILE_FOLDER", &folder);
    let server = start!(setup);
    let log = server.logged("hostile: all tried").await;

    let said = |what: &str| -> Vec<&str> {
        log.lines().filter_map(|line| line.split_once(what)).map(|(_, name)| name).collect()
    };
    for what in ["hostile: DONE: ", "hostile: OTHERWISE: ", "hostile: BROKEN: "] {
        assert_eq!(said(what), [""; 0], "{what}");
    }
    let (refused, works) = (said("hostile: refused: "), said("hostile: works: "));
    for attempt in [
        "read /etc/passwd",
        "read mem of the server",
        "write a graph",
        "create a file in /tmp",
        "connect by TCP",
        "use a Unix socket",
        "run a program",
        "fork",
        "signal the server",
        "trace the server",
        "read the server's memory",
        "see the server's limits",
        "io_uring",
        "a socket by x32",
    ] {
        assert!(refused.contains(&attempt), "{attempt}");
    }
    assert!(refused.len() >= 110, "{}", refused.len());
    assert!(works.contains(&"threads"), "{works:?}");

    // The server is unharmed, and the library then does its work.
    let caller = server.caller().await;
    for round in 0..3 {
        let value = round as f32;
        let reply =
            infer(&caller, raw("victim", vec![floats("x", &[1, 1], &[value])])).await.unwrap();
        assert_eq!(to_floats(&reply, "y"), [value]);
    }
    assert_eq!(fs::read(server.folder().join("models/victim/model.onnx")).unwrap(), graph);
    for folder in ["/tmp", "/dev/shm", "/var/tmp"] {
        assert!(!Path::new(folder).join("tms-hostile").exists());
    }
}

/// The library, built, with the real one beside it.
fn hostile_library(folder: &Path, real: &Path) -> PathBuf {
    let real = match real.is_dir() {
        true => fs::read_dir(real)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| is_library(path)),
        false => Some(real.to_owned()),
    };
    fs::copy(real.unwrap(), folder.join(REAL)).unwrap();
    let library = folder.join("libonnxruntime.so");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc)
        .args([
            "--edition",
            "2024",
            "-O",
            "--crate-name",
            "hostile",
            "--crate-type",
            "cdylib",
            "-o",
        ])
        .arg(&library)
        .arg(repository().join("tests/hostile_library/lib.rs"))
        .status();
    assert!(built.unwrap().success());
    library
}

fn is_library(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so"))
}
