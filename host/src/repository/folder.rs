//! What lies in the folder of models: one folder a model, with a component, graphs, or both. Whatever
//! else lies there, readable or not, stops nobody: it is passed over, or fails its own model.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Endings of graph files, without the dot.
const GRAPH_ENDINGS: [&str; 1] = ["onnx"];

/// Bytes of the largest graph file: a protobuf message, which is what it is, cannot be larger.
const LARGEST_GRAPH: u64 = i32::MAX as u64;

/// Weights in other formats: nobody serves them, and whoever put them there wants to know.
const UNSERVED_ENDINGS: [&str; 14] = [
    "gguf",
    "engine",
    "plan",
    "pt",
    "pth",
    "pt2",
    "safetensors",
    "tflite",
    "pb",
    "h5",
    "keras",
    "ubj",
    "joblib",
    "pkl",
];

/// Names that no model may have: the health service knows the server itself by it.
const RESERVED: [&str; 1] = ["TinyModelServer"];

/// Folders that file systems, archives and tools leave behind.
const LEAVINGS: [&str; 6] = [
    "lost+found",
    "__MACOSX",
    "__pycache__",
    "@eaDir",
    "$RECYCLE.BIN",
    "System Volume Information",
];

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
    /// `model.toml`, where there is anything of that name.
    pub manifest: Option<PathBuf>,
    /// Why it cannot be served, as far as its files say.
    pub problem: Option<String>,
}

/// What lies in a folder of models.
#[derive(Debug, Default)]
pub struct Scan {
    /// The models' folders, sorted by name.
    pub folders: Vec<Folder>,
    /// Folders that hold nothing of a model's, by name, with the reason.
    pub passed_over: BTreeMap<String, String>,
}

/// The models' folders. Files, hidden folders and what tools leave behind are passed over.
pub fn scan(models: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for entry in fs::read_dir(models)? {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(e) => {
                tracing::warn!("an entry of {} is passed over: {e}", models.display());
                continue;
            }
        };
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            tracing::warn!("{} is passed over: its name is not UTF-8", path.display());
            continue;
        };
        if name.contains(char::is_control) {
            tracing::warn!("{name:?} is passed over: a model's name has no control characters");
            continue;
        }
        if is_leaving(name) || LEAVINGS.contains(&name) {
            tracing::debug!("{} is passed over: tools leave it behind", path.display());
            continue;
        }
        match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_dir() => {
                if name == "model.wasm" || name.ends_with(".onnx") {
                    tracing::warn!("{} is passed over: a model is a folder", path.display());
                }
                continue;
            }
            Ok(_) => {}
            // A link to a folder that is gone was to be a model, like a folder that may not be read.
            Err(e) if is_file_name(name) => {
                tracing::warn!("{} is passed over: {e}", path.display());
                continue;
            }
            Err(_) => {}
        }
        match read(&path) {
            Contents::Model(folder) => scan.folders.push(folder),
            Contents::Nothing(reason) => {
                scan.passed_over.insert(name.to_owned(), reason);
            }
        }
    }
    scan.folders.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scan)
}

/// What a folder holds.
pub enum Contents {
    /// A model, though it may have a problem.
    Model(Folder),
    /// Nothing of a model's: what is missing, in words.
    Nothing(String),
}

/// Reads one folder. A folder that cannot be read is a model with that problem.
pub fn read(path: &Path) -> Contents {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let mut folder = Folder {
        name,
        path: path.to_owned(),
        component: None,
        graphs: BTreeMap::new(),
        has_source: false,
        manifest: None,
        problem: None,
    };
    let names = match file_names(path) {
        Ok(names) => names,
        Err(e) => {
            folder.problem = Some(format!("its folder cannot be read: {e}"));
            return Contents::Model(folder);
        }
    };
    let mut unserved = Vec::new();
    let mut unusable = Vec::new();
    for name in &names {
        if is_leaving(name) {
            continue;
        }
        let file = path.join(name);
        let (stem, ending) = match name.rsplit_once('.') {
            Some((stem, ending)) => (stem, ending),
            None => (name.as_str(), ""),
        };
        let is_graph = GRAPH_ENDINGS.contains(&ending);
        match name.as_str() {
            "Cargo.toml" => folder.has_source = true,
            // Whatever it is: limits that cannot be read are not passed over.
            "model.toml" => folder.manifest = Some(file),
            "model.wasm" => match usable(&file) {
                Ok(_) => folder.component = Some(file),
                Err(problem) => folder.problem = Some(format!("model.wasm {problem}")),
            },
            _ if is_graph && !stem.is_empty() => match usable_graph(&file) {
                Ok(()) => drop(folder.graphs.insert(stem.to_owned(), file)),
                Err(problem) => unusable.push(format!("{name} {problem}")),
            },
            _ if UNSERVED_ENDINGS.contains(&ending) => unserved.push(name.clone()),
            _ => {}
        }
    }
    if folder.problem.is_none() {
        folder.problem = folder.find_problem(&unserved, &unusable);
    }
    for problem in &unusable {
        tracing::warn!(model = %folder.name, "a file is passed over: {problem}");
    }
    let is_model = folder.component.is_some()
        || !folder.graphs.is_empty()
        || folder.has_source
        || folder.problem.is_some();
    if is_model {
        return Contents::Model(folder);
    }
    let holds = if names.is_empty() { "it is empty" } else { "it holds nothing that is served" };
    Contents::Nothing(format!(
        "{holds}: a model has model.wasm (a component), a graph (*.onnx), or both"
    ))
}

impl Folder {
    /// Why this folder cannot be a model, if it cannot.
    fn find_problem(&self, unserved: &[String], unusable: &[String]) -> Option<String> {
        let nothing = self.component.is_none() && self.graphs.is_empty();
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let claims = !nothing
            || self.has_source
            || self.manifest.is_some()
            || !unserved.is_empty()
            || !unusable.is_empty();
        if claims && !self.name.chars().all(good) {
            return Some("a model's name has only letters, digits, `_` and `-`".into());
        }
        if claims && RESERVED.contains(&self.name.as_str()) {
            return Some(format!("the name {} is the server's own", self.name));
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
        if !nothing {
            return None;
        }
        if let Some(problem) = unusable.first() {
            return Some(problem.clone());
        }
        if let Some(file) = unserved.first() {
            return Some(format!(
                "it holds {file}, a format that is not served: export it as ONNX (docs/export.md), \
                 and name it model.onnx"
            ));
        }
        self.manifest.as_ref()?;
        Some("it has model.toml, but neither model.wasm (a component) nor a graph (*.onnx)".into())
    }
}

/// Names in a folder, sorted; those that are not UTF-8 are nothing of a model's.
fn file_names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a name is one of those that archives, editors and file systems leave behind: `._model.onnx`,
/// `.nfs0001`, `~$model.onnx`, `#model.onnx#`.
fn is_leaving(name: &str) -> bool {
    name.starts_with('.') || name.starts_with("~$") || name.starts_with('#')
}

/// Whether a name reads as a file's and not as a model's.
fn is_file_name(name: &str) -> bool {
    name.contains('.')
}

/// Says why a graph's file cannot be used, if it cannot. One that is too large would be read for hours.
fn usable_graph(file: &Path) -> Result<(), String> {
    let bytes = usable(file)?;
    if bytes > LARGEST_GRAPH {
        return Err(format!(
            "has {bytes} bytes: an ONNX file has less than 2 GiB, larger weights lie in files beside it \
             (external data)"
        ));
    }
    Ok(())
}

/// The length of a file in bytes, or why it cannot be used.
fn usable(file: &Path) -> Result<u64, String> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(metadata) if metadata.is_dir() => Err("is a folder, not a file".into()),
        Ok(_) => Err("is not a regular file".into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err("is a link to nothing".into()),
        Err(e) => Err(format!("cannot be read: {e}")),
    }
}
