//! Compiled code on disk: used by the next start, refused where others could have written it, made
//! again where it is damaged.

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

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
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
async fn a_folder_that_others_may_write_is_not_used() {
    let folder = TempDir::new().unwrap();
    for mode in [0o777, 0o770, 0o755] {
        set_mode(folder.path(), mode);
        let Some(server) = start(folder.path()).await else {
            return;
        };
        let warning = format!(
            "compiled code is not cached: the folder {} is not used: others may read or write it \
             (want mode 700)",
            folder.path().display()
        );
        assert!(server.log().contains(&warning), "{}", server.log());
        assert!(files(folder.path()).is_empty(), "nothing is written there");
    }
}

#[tokio::test]
async fn code_that_others_could_have_written_is_not_used() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    if start(&cache).await.is_none() {
        return;
    }
    let file = files(&cache).remove(0).0;
    set_mode(&file, 0o666);
    let server = start(&cache).await.unwrap();
    let warning = "compiled code is not used, compiling again: others may read or write it";
    assert!(server.log().contains(warning), "{}", server.log());
    assert_eq!(mode(&file), 0o600, "made again");
    // Nor is a link to somewhere else.
    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("code");
    fs::rename(&file, &target).unwrap();
    std::os::unix::fs::symlink(&target, &file).unwrap();
    let server = start(&cache).await.unwrap();
    assert!(server.log().contains("compiled code is not used"), "{}", server.log());
    assert!(!fs::symlink_metadata(&file).unwrap().is_symlink(), "replaced by a file");
}

#[tokio::test]
async fn damaged_code_is_made_again() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    if start(&cache).await.is_none() {
        return;
    }
    let file = files(&cache).remove(0).0;
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [&flipped[..], &good[..good.len() / 2], b"", b"no code at all"] {
        // In place, so that owner and mode stay right.
        fs::write(&file, damaged).unwrap();
        let server = start(&cache).await.unwrap();
        let warning = "compiled code is not used, compiling again: ";
        assert!(server.log().contains(warning), "{}", server.log());
        assert!(fs::read(&file).unwrap() == good, "the same code was made again");
        let again = start(&cache).await.unwrap();
        assert!(!again.log().contains(warning), "{}", again.log());
    }
}
