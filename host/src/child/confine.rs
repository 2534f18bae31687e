//! What a child may do, which it sees to itself before it does anything else.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What a child may do: the server's first message to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confinement {
    /// The process id of the server: a child whose parent is another one by now ends at once.
    pub parent: u32,
    /// Bytes of private writable memory. None: not bounded.
    pub memory: Option<u64>,
    /// Seconds of CPU. None: not bounded.
    pub cpu_seconds: Option<u64>,
    /// What it may read: files, and folders with all in them.
    pub read: Vec<PathBuf>,
    /// Devices that it may use.
    pub devices: Vec<PathBuf>,
}

/// What the kernel lacks for it.
pub fn confine(_confinement: &Confinement) -> io::Result<Vec<String>> {
    Ok(Vec::new())
}

pub fn system_files() -> Vec<PathBuf> {
    Vec::new()
}
