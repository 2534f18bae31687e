//! Compiled code on disk. What is loaded from here is machine code that runs in this process, so
//! the folder and its files must be this user's own and closed to everybody else.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Length of the checksum in front of the code.
const SUM: usize = blake3::OUT_LEN;

/// A private folder of compiled code, keyed by what was compiled and by what.
#[derive(Clone, Debug)]
pub struct CodeCache {
    folder: PathBuf,
}

impl CodeCache {
    /// Opens `folder`, creating it for this user alone. Refuses one that others may write or read.
    pub fn open(folder: &Path) -> io::Result<Self> {
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let metadata = fs::symlink_metadata(folder)?;
        if !metadata.is_dir() {
            return Err(io::Error::other("it is not a folder"));
        }
        private(&metadata)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The code stored under `key`, if it is there, whole and ours.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.read(key) {
            Ok(code) => Some(code),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => {
                tracing::warn!("compiled code is not used, compiling again: {e}");
                None
            }
        }
    }

    fn read(&self, key: &str) -> io::Result<Vec<u8>> {
        use io::Read;
        let mut file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(self.folder.join(key))?;
        // Checked on the open file: its name could point elsewhere a moment later.
        private(&file.metadata()?)?;
        let mut sum = [0; SUM];
        file.read_exact(&mut sum)?;
        let mut code = Vec::new();
        file.read_to_end(&mut code)?;
        if blake3::hash(&code).as_bytes() != &sum {
            return Err(io::Error::other("its checksum is wrong"));
        }
        Ok(code)
    }

    /// Stores `code` under `key`; readers see all of it or nothing. A failure costs the next start
    /// some time and is only logged.
    pub fn put(&self, key: &str, code: &[u8]) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!(".{key}.{}.{serial}", std::process::id()));
        let write = || -> io::Result<()> {
            use io::Write;
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(blake3::hash(code).as_bytes())?;
            file.write_all(code)?;
            fs::rename(&temporary, self.folder.join(key))
        };
        if let Err(e) = write() {
            // Whatever is left of it is of no use.
            let _ = fs::remove_file(&temporary);
            tracing::warn!("compiled code was not cached: {e}");
        }
    }
}

/// Ours, and nobody else may read or write it.
fn private(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other("others may read or write it (want mode 700)"));
    }
    Ok(())
}
