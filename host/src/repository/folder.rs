//! What lies in the folder of models: one folder a model, with a component, graphs, or both.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Endings of graph files, without the dot.
const GRAPH_ENDINGS: [&str; 1] = ["onnx"];

/// One model's folder, read but not loaded.
#[derive(Debug)]
pub struct Folder {
    pub name: String,
    pub path: PathBuf,
    /// `model.wasm`, where it is there.
    pub component: Option<PathBuf>,
    /// Graph files by the graph's name: the file's, without its ending.
    pub graphs: BTreeMap<String, PathBuf>,
    /// Rust source without `model.wasm` has `Cargo.toml`.
    pub has_source: bool,
    pub manifest: Option<PathBuf>,
}

/// The models' folders, sorted by name. Files, hidden folders and folders that hold nothing of a
/// model's are passed over.
pub fn scan(models: &Path) -> io::Result<Vec<Folder>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(models)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.is_dir() {
            folders.extend(read(&path)?);
        }
    }
    folders.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(folders)
}

/// A folder, if it is a model's.
pub fn read(path: &Path) -> io::Result<Option<Folder>> {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
        tracing::warn!("{} is passed over: its name is not UTF-8", path.display());
        return Ok(None);
    };
    let mut graphs = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let ending = file.extension().and_then(|e| e.to_str());
        if !ending.is_some_and(|e| GRAPH_ENDINGS.contains(&e)) {
            continue;
        }
        if let Some(graph) = file.file_stem().and_then(|n| n.to_str()) {
            graphs.insert(graph.to_owned(), file.clone());
        }
    }
    let there = |file: &str| Some(path.join(file)).filter(|file| file.is_file());
    let folder = Folder {
        name: name.to_owned(),
        component: there("model.wasm"),
        graphs,
        has_source: there("Cargo.toml").is_some(),
        manifest: there("model.toml"),
        path: path.to_owned(),
    };
    if folder.component.is_none() && folder.graphs.is_empty() && !folder.has_source {
        tracing::debug!("{} is passed over: it holds no model", path.display());
        return Ok(None);
    }
    Ok(Some(folder))
}

impl Folder {
    /// Why this folder cannot be a model, if it cannot.
    pub fn problem(&self) -> Option<String> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !self.name.chars().all(good) {
            return Some("a model's name has only letters, digits, `_` and `-`".into());
        }
        if self.component.is_none() && self.has_source {
            return Some(format!(
                "it has source but no model.wasm: build it with `tms build {}`",
                self.path.display()
            ));
        }
        if self.component.is_none() && self.graphs.len() > 1 {
            let names: Vec<_> = self.graphs.keys().map(String::as_str).collect();
            return Some(format!(
                "it has several graphs ({}) and no model.wasm to say what to do with them",
                names.join(", ")
            ));
        }
        None
    }
}
