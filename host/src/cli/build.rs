//! `tms build`: builds the components of models that come as Rust source, and puts each beside its
//! source as model.wasm.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;
use serde::{Deserialize, de::IgnoredAny};

use crate::config;

/// What guests are built for.
const TARGET: &str = "wasm32-wasip2";
/// The toolchain that the script below sets up where rustup has no Wasm target.
const TOOLCHAIN: &str = "wasm-guest";
/// Sets up a Rust toolchain for guests: rustup's target, or Debian's compiler.
const SETUP: &str = include_str!("../../../scripts/guest-toolchain.sh");

#[derive(Args, Clone, Debug)]
pub struct BuildArgs {
    /// Folders of models, or single models' folders, with the source in Rust
    #[arg(default_value = "models")]
    pub folders: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Failed(String),
}

fn fail<T>(message: String) -> Result<T, Error> {
    Err(Error::Failed(message))
}

/// Tells how far it is, to whoever still listens.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "tms: {what}");
}

/// Builds every model below `args.folders` that has a Cargo.toml.
pub fn build(args: &BuildArgs) -> Result<(), Error> {
    let mut sources = Vec::new();
    for folder in &args.folders {
        let found = sources_in(folder)?;
        if found.is_empty() {
            return fail(format!(
                "`{}` has no model's source: neither it nor a folder in it has a Cargo.toml with a \
                 [package]",
                folder.display()
            ));
        }
        sources.extend(found);
    }
    let toolchain = toolchain()?;
    for source in sources {
        build_one(&source, &toolchain)?;
    }
    Ok(())
}

/// The folder itself where it is a package, else the packages in it.
fn sources_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    if is_package(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) => return fail(format!("`{}` cannot be read: {e}", folder.display())),
    };
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_package(path))
        .collect();
    found.sort();
    Ok(found)
}

/// A workspace has a Cargo.toml too, but no package of its own.
fn is_package(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct CargoToml {
        package: Option<IgnoredAny>,
    }
    let read = config::read::<CargoToml>(&folder.join("Cargo.toml"));
    read.is_ok_and(|read| read.package.is_some())
}

/// The name of a rustup toolchain with the Wasm target, as cargo's `+name`; none for the default.
fn toolchain() -> Result<Option<String>, Error> {
    if has_target(&[]) {
        return Ok(None);
    }
    let linked = format!("+{TOOLCHAIN}");
    if !has_target(&[&linked]) {
        say(&format!("this Rust has no target {TARGET}; setting one up"));
        let script = Command::new("bash")
            .args(["-c", SETUP])
            .env("GUEST_TARGETS", "wasm32-wasip1 wasm32-wasip2")
            // Its words belong with ours, not with an answer.
            .stdout(std::io::stderr())
            .status();
        if !script.is_ok_and(|status| status.success()) || !has_target(&[&linked]) {
            return fail(format!(
                "no Rust toolchain with the target {TARGET}: run `rustup target add {TARGET}`"
            ));
        }
    }
    Ok(Some(linked))
}

fn has_target(toolchain: &[&str]) -> bool {
    let output = Command::new("rustc")
        .args(toolchain)
        .args(["--print", "target-libdir", "--target", TARGET])
        .stderr(Stdio::null())
        .output();
    let Ok(output) = output else { return false };
    let folder = String::from_utf8_lossy(&output.stdout);
    let has_std = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libstd-");
    output.status.success()
        && fs::read_dir(folder.trim()).is_ok_and(|dir| dir.flatten().any(has_std))
}

fn build_one(source: &Path, toolchain: &Option<String>) -> Result<(), Error> {
    say(&format!("building {}", source.display()));
    let output = Command::new("cargo")
        .args(toolchain)
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(source)
        // A cargo that runs us names its own toolchain.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC")
        .env_remove("CARGO")
        .stderr(Stdio::inherit())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(e) => return fail(format!("cargo does not run: {e}")),
    };
    if !output.status.success() {
        return fail(format!("`{}` does not build: see above", source.display()));
    }
    let Some(wasm) = artifact(&output.stdout, source) else {
        return fail(format!(
            "`{}` builds, but gives no component: its Cargo.toml needs `[lib] crate-type = \
             [\"cdylib\"]`",
            source.display()
        ));
    };
    let target = source.join("model.wasm");
    match fs::copy(&wasm, &target) {
        Ok(_) => Ok(()),
        Err(e) => fail(format!("{} cannot be written: {e}", target.display())),
    }
}

/// The .wasm file of the package in `source`, from cargo's messages.
fn artifact(messages: &[u8], source: &Path) -> Option<PathBuf> {
    let manifest = fs::canonicalize(source.join("Cargo.toml")).ok()?;
    String::from_utf8_lossy(messages)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| message["manifest_path"].as_str().map(Path::new) == Some(&manifest))
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|file| Some(PathBuf::from(file.as_str()?)))
        .find(|file| file.extension().is_some_and(|e| e == "wasm"))
}
