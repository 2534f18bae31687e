//! Compiled code on disk. What is loaded from here is machine code that runs in this process, so
//! the folder and its files must be this user's own and closed to everybody else. It runs where it
//! lies in the file: a server's models share their pages with the system's cache and other servers.

use std::{
    fs,
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Length of the checksum behind the code.
const SUM: usize = blake3::OUT_LEN;

/// Bytes written at once.
const PART: usize = 256 << 10;

/// Open files by their descriptors.
#[cfg(target_os = "linux")]
pub const OPEN_FILES: &str = "/proc/self/fd";
#[cfg(not(target_os = "linux"))]
pub const OPEN_FILES: &str = "/dev/fd";

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
    pub fn get(&self, key: &str) -> Option<Code> {
        match self.read(key) {
            Ok(code) => Some(code),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => {
                tracing::warn!("compiled code is not used, compiling again: {e}");
                None
            }
        }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.cwasm"))
    }

    fn read(&self, key: &str) -> io::Result<Code> {
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(self.file(key))?;
        // Checked on the open file: its name could point elsewhere a moment later.
        let metadata = file.metadata()?;
        private(&metadata)?;
        let wrong = || io::Error::other("its checksum is wrong");
        let length = metadata.len().checked_sub(SUM as u64).ok_or_else(wrong)?;
        let mut sum = [0; SUM];
        file.read_exact_at(&mut sum, length)?;
        let mut hash = blake3::Hasher::new();
        hash.update_reader(io::Read::take(&file, length))?;
        if hash.finalize().as_bytes() != &sum {
            return Err(wrong());
        }
        Ok(Code { file, length })
    }

    /// Stores `code` under `key`; readers see all of it or nothing. A failure costs the next start
    /// some time and is only logged.
    pub fn put(&self, key: &str, mut code: impl io::Read) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!(".{key}.{}.{serial}", std::process::id()));
        let mut write = || -> io::Result<()> {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            let mut hash = blake3::Hasher::new();
            let mut part = vec![0; PART];
            loop {
                let read = code.read(&mut part)?;
                if read == 0 {
                    break;
                }
                hash.update(&part[..read]);
                file.write_all(&part[..read])?;
            }
            file.write_all(hash.finalize().as_bytes())?;
            fs::rename(&temporary, self.file(key))
        };
        if let Err(e) = write() {
            // Whatever is left of it is of no use.
            let _ = fs::remove_file(&temporary);
            tracing::warn!("compiled code was not cached: {e}");
        }
    }
}

/// A file whose code was found whole. Nobody changes it: only this user could, and this server puts
/// another file in its place.
pub struct Code {
    file: fs::File,
    length: u64,
}

impl Code {
    /// This very file, to be mapped, whatever has its name by now. There is more behind the code,
    /// which its format lets pass.
    pub fn path(&self) -> PathBuf {
        Path::new(OPEN_FILES).join(self.file.as_raw_fd().to_string())
    }

    /// The code in memory, for folders whose files may not be executed.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.length).map_err(io::Error::other)?;
        let mut code = vec![0; length];
        self.file.read_exact_at(&mut code, 0)?;
        Ok(code)
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
