//! The files of a graph: its own, and those beside it that may hold its weights (ONNX's external data,
//! which large graphs have, under any name).

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use std::os::unix::fs::MetadataExt;

/// Endings of what lies beside graphs and holds no weights.
const OTHERS: [&str; 10] =
    ["onnx", "wasm", "toml", "md", "txt", "json", "rs", "lock", "png", "jpg"];

/// The graph's file, and the others that may hold its weights.
pub fn weights(graph: &Path) -> impl Iterator<Item = PathBuf> {
    let beside = graph.parent().and_then(|folder| fs::read_dir(folder).ok());
    let beside = beside.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let other = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        path.is_file() && !ending.is_some_and(|ending| OTHERS.contains(&ending))
    };
    std::iter::once(graph.to_path_buf()).chain(beside.filter(other))
}

/// What changes when one of the files does: of each, its length, its time and its place on the disk.
pub type Stamp = Vec<(PathBuf, u64, SystemTime, u64)>;

/// None where one of them cannot be read.
pub fn stamp(graph: &Path) -> Option<Stamp> {
    let of = |path: PathBuf| {
        let file = path.metadata().ok()?;
        Some((path, file.len(), file.modified().ok()?, file.ino()))
    };
    let mut stamp: Stamp = weights(graph).map(of).collect::<Option<_>>()?;
    stamp.sort();
    Some(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_beside_the_graph_belong_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        for name in ["net.onnx", "net.onnx.data", "layer1.weight", "other.onnx", "README.md"] {
            write(name, "1");
        }
        let graph = folder.path().join("net.onnx");
        let mut names: Vec<_> =
            weights(&graph).filter_map(|path| Some(path.file_name()?.to_owned())).collect();
        names.sort();
        assert_eq!(names, ["layer1.weight", "net.onnx", "net.onnx.data"]);
        let before = stamp(&graph);
        write("README.md", "22");
        assert_eq!(stamp(&graph), before);
        write("net.onnx.data", "22");
        assert_ne!(stamp(&graph), before);
    }
}
