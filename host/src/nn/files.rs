//! The files of a graph: its own, and those that it keeps weights in. Other files beside it do not belong to it.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

pub use super::external::external;

/// The graph's file, and those that it names. Fails where one of them is no file that can be read: a
/// pipe would be read for ever.
pub fn weights(graph: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![graph.to_path_buf()];
    files.extend(external(graph)?);
    for file in &files {
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
    }
    Ok(files)
}

/// What changes when one of a graph's files does.
pub type Stamp = Vec<FileStamp>;

/// What changes when a file does.
#[derive(Debug, PartialEq, Eq)]
pub struct FileStamp {
    path: PathBuf,
    length: u64,
    modified: SystemTime,
    /// Its place on the disk: another one where the file was replaced.
    inode: u64,
}

/// None where one of the files cannot be read. Of a graph that cannot be read as one, its own file.
pub fn stamp(graph: &Path) -> Option<Stamp> {
    let of = |path: PathBuf| {
        let file = path.metadata().ok()?;
        let (length, modified, inode) = (file.len(), file.modified().ok()?, file.ino());
        Some(FileStamp { path, length, modified, inode })
    };
    let files = weights(graph).unwrap_or_else(|_| vec![graph.to_path_buf()]);
    files.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_graphs_files_are_its_own_and_those_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let graphs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/graphs");
        let path = |name: &str| folder.path().join(name);
        let graph = path("net.onnx");
        fs::copy(graphs.join("external_weights.onnx"), &graph).unwrap();
        assert!(weights(&graph).is_err(), "its weights are not there");
        fs::copy(graphs.join("kept_here"), path("kept_here")).unwrap();
        let before = stamp(&graph);
        assert_eq!(weights(&graph).unwrap(), [graph.clone(), path("kept_here")]);
        fs::write(path("labels.csv"), "cat,dog").unwrap();
        fs::write(path("net.onnx.data"), "another graph's").unwrap();
        assert_eq!(stamp(&graph), before);
        fs::write(path("kept_here"), [0; 16]).unwrap();
        assert_ne!(stamp(&graph), before);
    }
}
