//! Builds the guests from source, once a run and only where one is older than its source.

use std::{fs, io, path::Path, process::Command, sync::OnceLock, time::SystemTime};

use super::{repository, skip};

/// Whether the guests are there. A missing toolchain skips the test; source that does not build
/// fails it.
pub fn built() -> bool {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    BUILT.get_or_init(build).as_ref().inspect_err(|reason| skip(reason)).is_ok()
}

fn build() -> Result<(), String> {
    let repository = repository();
    let groups = ["models", "tests/guests", "tests/hostile"].map(|group| repository.join(group));
    if groups.iter().all(|group| fresh(group).unwrap_or(false)) {
        return Ok(());
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_tms")).arg("build").args(&groups).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().find(|line| line.contains("no Rust toolchain")) {
        Some(line) => Err(format!("guests: {line}")),
        None if output.status.success() => Ok(()),
        None => panic!("the guests do not build:\n{said}"),
    }
}

/// Whether every model.wasm in a folder of sources is newer than all that it is made of.
fn fresh(group: &Path) -> io::Result<bool> {
    let shared = ["guest-sdk/rust/src", "wit", "models/Cargo.toml"];
    let mut shared: Vec<_> = shared.iter().map(|path| newest(&repository().join(path))).collect();
    let entries = fs::read_dir(group)?.collect::<io::Result<Vec<_>>>()?;
    let paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    // Source that lies beside its package.
    let source = paths.iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    shared.extend(source.map(|file| newest(file)));
    for folder in &paths {
        if !folder.join("Cargo.toml").is_file() {
            continue;
        }
        let built = fs::metadata(folder.join("model.wasm"))?.modified()?;
        let own = ["src", "Cargo.toml"].map(|path| folder.join(path));
        let own = own.iter().filter(|path| path.exists()).map(|path| newest(path));
        for changed in own.collect::<Vec<_>>().iter().chain(&shared) {
            match changed {
                Ok(changed) if *changed < built => {}
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// When a file, or the newest file below a folder, was last changed.
fn newest(path: &Path) -> io::Result<SystemTime> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() {
        return metadata.modified();
    }
    let mut latest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(path)? {
        latest = latest.max(newest(&entry?.path())?);
    }
    Ok(latest)
}
