//! Files without a name that the server shares with a child that compiles, and that nobody changes any
//! more once the other side relies on them: the kernel seals them.

use std::{
    fs::File,
    io::{self, Seek, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create,
};

use super::super::cache::OPEN_FILES;

/// Nothing can be written, and the length stays.
const SEALED: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

fn file() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(memfd_create("tms-compile", flags)?.into())
}

/// What is being written.
pub struct Draft(File);

impl Draft {
    pub fn new() -> io::Result<Self> {
        Ok(Self(file()?))
    }

    /// One that a child writes: no more than `bytes`.
    pub fn of_at_most(bytes: u64) -> io::Result<Self> {
        let file = file()?;
        // Pages are taken as they are written.
        ftruncate(&file, bytes)?;
        fcntl_add_seals(&file, SealFlags::GROW)?;
        Ok(Self(file))
    }

    /// Where the next bytes come to lie.
    pub fn position(&mut self) -> io::Result<u64> {
        self.0.stream_position()
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Its first bytes, for good. An error where somebody can still write them, or has seen to it that
    /// they are fewer.
    pub fn seal(self, length: u64) -> Result<Sealed, (Self, io::Error)> {
        let seal = || {
            ftruncate(&self.0, length)?;
            fcntl_add_seals(&self.0, SEALED)?;
            // Looked at only now that it stays as it is.
            let is_sealed = fcntl_get_seals(&self.0)?.contains(SEALED);
            if !is_sealed || self.0.metadata()?.len() != length {
                return Err(io::Error::other("it did not stay as long as it was"));
            }
            Ok(())
        };
        match seal() {
            Ok(()) => Ok(Sealed { file: self.0, length }),
            Err(e) => Err((self, e)),
        }
    }

    /// All that was written.
    pub fn finish(mut self) -> io::Result<Sealed> {
        let length = self.position()?;
        self.seal(length).map_err(|(_, e)| e)
    }
}

impl AsFd for Draft {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What nobody can change.
pub struct Sealed {
    file: File,
    pub length: u64,
}

impl Sealed {
    pub fn of(bytes: &[u8]) -> io::Result<Self> {
        let mut draft = Draft::new()?;
        draft.write(bytes)?;
        draft.finish()
    }

    /// This very file, to be mapped.
    pub fn path(&self) -> PathBuf {
        Path::new(OPEN_FILES).join(self.file.as_raw_fd().to_string())
    }

    /// From its start.
    pub fn reader(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }
}

impl AsFd for Sealed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn read(sealed: &Sealed) -> Vec<u8> {
        let mut bytes = Vec::new();
        sealed.reader().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_sealed_stays() {
        let draft = Draft::of_at_most(100).unwrap();
        let mut theirs = File::from(draft.as_fd().try_clone_to_owned().unwrap());
        theirs.write_all(b"code").unwrap();
        let sealed = draft.seal(4).map_err(|(_, e)| e).unwrap();
        assert!(theirs.write_all(b"other").is_err());
        assert!(ftruncate(&theirs, 0).is_err() && ftruncate(&theirs, 9).is_err());
        assert_eq!(read(&sealed), b"code");
        assert_eq!(std::fs::read(sealed.path()).unwrap(), b"code");
    }

    #[test]
    fn a_child_cannot_write_more_than_it_may() {
        let draft = Draft::of_at_most(4).unwrap();
        let mut theirs = File::from(draft.as_fd().try_clone_to_owned().unwrap());
        assert!(theirs.write_all(b"more than that").is_err());
        // Nor have less than it says.
        ftruncate(&theirs, 1).unwrap();
        assert!(draft.seal(4).is_err());
    }
}
