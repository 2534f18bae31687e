//! Compiled code on disk: used by the next start. What others could do to it is in hostile/.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use tempfile::TempDir;

use crate::harness::{Server, Setup};

async fn start(cache: &Path) -> Option<Server> {
    let cache = cache.to_str().unwrap();
    // A flag beats the variable that all tests share.
    let server = Setup::new().guest("echo").arg("--cache").arg(cache).start().await?;
    assert_eq!(server.caller().await.text("echo", "hi", "").await.unwrap(), "hi");
    Some(server)
}

/// The files of a folder with their times.
fn files(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.path(), entry.metadata().unwrap().modified().unwrap())
        })
        .collect();
    files.sort();
    files
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_second_start_uses_the_code_of_the_first() {
    let folder = TempDir::new().unwrap();
    // It is made where it is missing.
    let cache = folder.path().join("deep/cache");
    if start(&cache).await.is_none() {
        return;
    }
    let first = files(&cache);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!((mode(&cache), mode(&first[0].0)), (0o700, 0o600), "nobody else's");
    start(&cache).await.unwrap();
    assert_eq!(files(&cache), first);
}

#[tokio::test]
async fn models_with_the_same_component_have_its_code_once() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("code");
    let setup = || {
        let names = (0..8).map(|number| format!("echo_{number}"));
        names.fold(Setup::new(), |setup, name| setup.guest_as("echo", &name)).cache(&cache)
    };
    // Compiled by one of them, and from the cache.
    for _ in 0..2 {
        let server = start!(setup());
        let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
        let code = |line: &&str| line.contains(cache.to_str().unwrap());
        let code = |line: &&str| code(line) && line.contains("r-xp");
        let mapped = maps.lines().filter(code).count();
        // A thread may come to it in the same moment as another one.
        assert!((1..=4).contains(&mapped), "{mapped}: {maps}");
    }
}
