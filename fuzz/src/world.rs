//! What both targets need around them: the repository's models and a temporary folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use tms::nn::{BackendChoice, Options, Process};

/// A folder of this process alone. It stays behind after a finding, which ends the process.
pub fn folder(target: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tms-fuzz-{target}-{}", process::id()));
    // An earlier process of the same number.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the temporary folder can be made");
    folder
}

/// Native code that is always there, and that fuzzing does not crowd out.
pub fn native() -> Options {
    // In this process: what crashes it is a finding.
    let process = Process::None;
    Options { backend: BackendChoice::Tract, threads: Some(1), process, ..Options::default() }
}

/// Copies files of the repository into the folder of a model.
pub fn place(model: &Path, files: &[(&str, &str)]) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::create_dir_all(model).expect("a model's folder can be made");
    for (from, to) in files {
        let from = repository.join(from);
        let copied = fs::copy(&from, model.join(to));
        copied.unwrap_or_else(|e| panic!("{}: {e}: scripts/fuzz.sh builds it", from.display()));
    }
}

/// Words that no message may hold unless the input does: paths and source lines of the host.
pub fn betrays<'a>(message: &str, input: &[u8], words: &[&'a str]) -> Option<&'a str> {
    let there = |word: &str| input.windows(word.len()).any(|part| part == word.as_bytes());
    words.iter().find(|word| message.contains(**word) && !there(word)).copied()
}
