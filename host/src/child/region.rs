//! Memory that the server shares with one child: without a name, of a fixed size, mapped once on both
//! sides and used again for run after run. (A fresh one for each tensor of 6 MB costs 5 ms, one that is
//! used again 0.2.)
//!
//! The child can only read what holds inputs. What holds outputs it can write at any time, also while
//! the server reads: so the server copies the bytes out first and then looks at its copy, and no
//! reference to the memory itself is ever made.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

use crate::ledger::{Account, Charge, Ledger, NoRoom, Room};

/// The smallest region, in bytes.
const SMALLEST: usize = 64 << 10;
/// Where tensors in a region begin: what vector instructions like best.
pub const ALIGNMENT: usize = 64;

/// Bytes copied into regions and out of them by this process, for tests.
pub static COPIED: AtomicU64 = AtomicU64::new(0);

/// Mapped memory, of any process.
struct Mapping {
    start: *mut u8,
    length: usize,
}

// SAFETY: the memory is not bound to a thread, and all access is by copying through raw pointers.
#[allow(unsafe_code)]
unsafe impl Send for Mapping {}
// SAFETY: as above; who writes has `&mut` or, in the child, the run that the region is lent to.
#[allow(unsafe_code)]
unsafe impl Sync for Mapping {}

impl Mapping {
    #[allow(unsafe_code)]
    fn new(file: BorrowedFd<'_>, length: usize, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: the kernel chooses a place where nothing is mapped, so no memory of ours changes.
        let start =
            unsafe { mmap(ptr::null_mut(), length, protection, MapFlags::SHARED, file, 0) }?;
        Ok(Self { start: start.cast(), length })
    }

    /// Whether these bytes lie inside.
    fn holds(&self, offset: usize, length: usize) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.length)
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new` with this length, and nobody has a reference into it: the
        // child's views hold the mapping itself.
        let _ = unsafe { munmap(self.start.cast(), self.length) };
    }
}

/// What regions and copies are charged to, before they are made.
fn charge(ledger: &Arc<Ledger>, account: Account, bytes: usize) -> Result<Charge, NoRoom> {
    ledger.charge(account, bytes, Room::UnderWay)
}

/// The size of a region that is to hold `bytes`: powers of two, so that it is seldom too small again.
fn size_for(bytes: usize) -> usize {
    bytes.max(SMALLEST).checked_next_power_of_two().unwrap_or(bytes)
}

/// A region without a name, mapped here; its descriptor is for the child and not kept.
fn make(bytes: usize, protection: ProtFlags, seals: SealFlags) -> io::Result<(Mapping, OwnedFd)> {
    let length = size_for(bytes);
    let file = memfd_create("tms", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, length as u64)?;
    let mapping = Mapping::new(file.as_fd(), length, protection)?;
    // A child that made it shorter would end the server when it reads or writes there (SIGBUS).
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | seals | SealFlags::SEAL)?;
    Ok((mapping, file))
}

/// Why there is no region.
#[derive(Debug, thiserror::Error)]
pub enum NoRegion {
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("memory cannot be shared with its process: {0}")]
    System(#[from] io::Error),
}

/// The server's side of a region for inputs, which the child cannot write.
pub struct InputRegion {
    mapping: Mapping,
    _charge: Charge,
}

impl InputRegion {
    /// A region that holds at least `bytes`, and its descriptor for the child.
    pub fn new(bytes: usize, ledger: &Arc<Ledger>) -> Result<(Self, OwnedFd), NoRegion> {
        let charge = charge(ledger, Account::Regions, size_for(bytes))?;
        // Mapped before it is sealed: only mappings made later are read-only.
        let seals = SealFlags::FUTURE_WRITE;
        let (mapping, file) = make(bytes, ProtFlags::READ | ProtFlags::WRITE, seals)?;
        Ok((Self { mapping, _charge: charge }, file))
    }

    pub fn length(&self) -> usize {
        self.mapping.length
    }

    /// Copies bytes to a place in the region. False where they do not fit.
    #[allow(unsafe_code)]
    #[must_use]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        if !self.mapping.holds(offset, bytes.len()) {
            return false;
        }
        COPIED.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // SAFETY: the bytes fit (checked), the mapping lives as long as `self` and cannot shrink, and
        // the source is memory of ours, which never is a region. The child only reads there, and only
        // during the run that is sent after this.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.mapping.start.add(offset), bytes.len());
        }
        true
    }
}

/// Memory for large copies, which is used again: the allocator would give it back to the system after each
/// run, and to get a page from there takes as long as to fill it.
#[derive(Clone, Default)]
pub struct Copies {
    spare: Arc<Mutex<Vec<Buffer>>>,
    ledger: Arc<Ledger>,
}

/// Memory for a copy, with its charge.
struct Buffer {
    bytes: Vec<u8>,
    _charge: Charge,
}

/// Copies of fewer bytes are left to the allocator.
const LARGE: usize = 256 << 10;
/// Copies of fewer bytes are not charged: whoever keeps many of them is.
pub const UNCHARGED: usize = 4 << 10;
/// Copies that wait to be used again.
const SPARE: usize = 4;

impl Copies {
    pub fn new(ledger: &Arc<Ledger>) -> Self {
        Self { ledger: ledger.clone(), ..Self::default() }
    }

    /// Empty, with room for `length` bytes.
    fn take(&self, length: usize) -> Result<Buffer, NoRoom> {
        let fits =
            |spare: &Buffer| (length..=length.saturating_mul(2)).contains(&spare.bytes.capacity());
        if length >= LARGE {
            let mut spare = self.spare();
            if let Some(at) = spare.iter().position(fits) {
                let mut buffer = spare.swap_remove(at);
                buffer.bytes.clear();
                return Ok(buffer);
            }
        }
        let charged = if length < UNCHARGED { 0 } else { length };
        let charge = charge(&self.ledger, Account::Tensors, charged)?;
        Ok(Buffer { bytes: Vec::with_capacity(length), _charge: charge })
    }

    /// Bytes whose memory comes back here, if there are many.
    fn lend(&self, buffer: Buffer) -> Bytes {
        match buffer.bytes.len() {
            0..UNCHARGED => Bytes::from(buffer.bytes),
            UNCHARGED..LARGE => Bytes::from_owner(buffer),
            _ => Bytes::from_owner(Lendable { buffer: Some(buffer), copies: self.clone() }),
        }
    }

    /// Gives all of it back to the system.
    pub fn clear(&self) {
        self.spare().clear();
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Buffer>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A large copy.
struct Lendable {
    /// Until it is given back.
    buffer: Option<Buffer>,
    copies: Copies,
}

impl AsRef<[u8]> for Lendable {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], Buffer::as_ref)
    }
}

impl Drop for Lendable {
    fn drop(&mut self) {
        let mut spare = self.copies.spare();
        if spare.len() == SPARE {
            // Of an earlier size, perhaps.
            spare.remove(0);
        }
        spare.extend(self.buffer.take());
    }
}

/// The server's side of a region for outputs, which the child writes.
pub struct OutputRegion {
    mapping: Mapping,
    _charge: Charge,
}

impl OutputRegion {
    /// A region that holds at least `bytes`, and its descriptor for the child.
    pub fn new(bytes: usize, ledger: &Arc<Ledger>) -> Result<(Self, OwnedFd), NoRegion> {
        let charge = charge(ledger, Account::Regions, size_for(bytes))?;
        let (mapping, file) = make(bytes, ProtFlags::READ, SealFlags::empty())?;
        Ok((Self { mapping, _charge: charge }, file))
    }

    pub fn length(&self) -> usize {
        self.mapping.length
    }

    /// A copy of bytes in the region, as they are at the moment of copying, in memory from `copies`;
    /// None where there are none such.
    #[allow(unsafe_code)]
    pub fn copy(
        &self,
        offset: usize,
        length: usize,
        copies: &Copies,
    ) -> Result<Option<Bytes>, NoRoom> {
        if !self.mapping.holds(offset, length) {
            return Ok(None);
        }
        COPIED.fetch_add(length as u64, Ordering::Relaxed);
        let mut buffer = copies.take(length)?;
        let bytes = &mut buffer.bytes;
        // SAFETY: the bytes lie inside (checked) of a mapping that lives as long as `self` and cannot
        // shrink; the destination has room for them, and is no region. The child may write there
        // meanwhile: then the copy holds old and new bytes, all of them valid as `u8`, and nothing is
        // concluded from the region itself. All `length` bytes are initialised by the copy.
        unsafe {
            ptr::copy_nonoverlapping(self.mapping.start.add(offset), bytes.as_mut_ptr(), length);
            bytes.set_len(length);
        }
        Ok(Some(copies.lend(buffer)))
    }
}

/// The child's side of a region for inputs.
pub struct Lent(Mapping);

impl Lent {
    pub fn map(file: &OwnedFd) -> io::Result<Self> {
        let length = rustix::fs::fstat(file)?.st_size as usize;
        Ok(Self(Mapping::new(file.as_fd(), length, ProtFlags::READ)?))
    }

    /// The bytes there. The server does not write them while the run that uses them lasts.
    #[allow(unsafe_code)]
    pub fn bytes(&self, offset: usize, length: usize) -> Option<&[u8]> {
        if !self.0.holds(offset, length) {
            return None;
        }
        // SAFETY: the bytes lie inside (checked) of a mapping that lives as long as `self`. The server
        // writes there only between runs, and the child holds such bytes only during a run.
        Some(unsafe { std::slice::from_raw_parts(self.0.start.add(offset), length) })
    }
}

/// The child's side of a region for outputs.
pub struct Target(Mapping);

impl Target {
    pub fn map(file: &OwnedFd) -> io::Result<Self> {
        let length = rustix::fs::fstat(file)?.st_size as usize;
        Ok(Self(Mapping::new(file.as_fd(), length, ProtFlags::READ | ProtFlags::WRITE)?))
    }

    pub fn length(&self) -> usize {
        self.0.length
    }

    /// Where a place of `length` bytes in the region is.
    #[allow(unsafe_code)]
    pub fn place(&mut self, offset: usize, length: usize) -> Option<*mut u8> {
        // SAFETY: the place lies inside of the mapping (checked), so the pointer stays in one object.
        self.0.holds(offset, length).then(|| unsafe { self.0.start.add(offset) })
    }

    /// Copies bytes to a place in the region. False where they do not fit.
    #[allow(unsafe_code)]
    #[must_use]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let Some(place) = self.place(offset, bytes.len()) else { return false };
        // SAFETY: the bytes fit there (`place`), and their source is not this region's mapping, of which
        // no reference is given out.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        true
    }
}

/// The places of tensors of these lengths, one behind the other, and the bytes of all.
pub fn lay_out(lengths: impl Iterator<Item = usize>) -> Option<(Vec<usize>, usize)> {
    let mut end = 0usize;
    let mut offsets = Vec::with_capacity(lengths.size_hint().0);
    for length in lengths {
        let offset = end.checked_next_multiple_of(ALIGNMENT)?;
        offsets.push(offset);
        end = offset.checked_add(length)?;
    }
    Some((offsets, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_reach_the_child_and_outputs_come_back() {
        let (mut input, file) = InputRegion::new(100_000, &Arc::default()).unwrap();
        assert!(input.write(64, b"hello"));
        assert!(!input.write(input.length() - 4, b"hello"), "it does not fit");
        assert!(!input.write(usize::MAX, b"hello"));
        let lent = Lent::map(&file).unwrap();
        assert_eq!(lent.bytes(64, 5), Some(&b"hello"[..]));
        assert_eq!(lent.bytes(usize::MAX, 2), None);
        let copies = Copies::default();
        let (output, file) = OutputRegion::new(1, &Arc::default()).unwrap();
        let mut target = Target::map(&file).unwrap();
        assert!(target.write(128, b"answer"));
        assert_eq!(output.copy(128, 6, &copies).unwrap().as_deref(), Some(&b"answer"[..]));
        assert_eq!(output.copy(output.length(), 1, &copies), Ok(None));
        assert_eq!(output.copy(1, usize::MAX, &copies), Ok(None));
    }

    #[test]
    fn a_child_cannot_write_inputs_or_resize_regions() {
        let (_input, file) = InputRegion::new(1, &Arc::default()).unwrap();
        assert!(Target::map(&file).is_err());
        assert!(rustix::io::write(&file, b"x").is_err());
        assert!(ftruncate(&file, 0).is_err() && ftruncate(&file, 1 << 30).is_err());
        let (_output, file) = OutputRegion::new(1, &Arc::default()).unwrap();
        assert!(ftruncate(&file, 0).is_err() && ftruncate(&file, 1 << 30).is_err());
        assert!(fcntl_add_seals(&file, SealFlags::WRITE).is_err());
    }

    #[test]
    fn regions_and_copies_are_charged() {
        // Three mebibytes and the part that is for little things.
        let ledger = Ledger::new((3 << 20) + (100 << 10));
        let (output, _file) = OutputRegion::new(1 << 20, &ledger).unwrap();
        let copies = Copies::new(&ledger);
        let copy = output.copy(0, 1 << 20, &copies).unwrap();
        assert_eq!(ledger.used_for(Account::Regions), 1 << 20);
        assert_eq!(ledger.used_for(Account::Tensors), 1 << 20);
        assert!(matches!(InputRegion::new(2 << 20, &ledger), Err(NoRegion::NoRoom(_))));
        let another = output.copy(0, 1 << 20, &copies).unwrap();
        assert!(output.copy(0, 8 << 10, &copies).is_err());
        drop((copy, another));
        // They wait to be used again.
        assert_eq!(ledger.used_for(Account::Tensors), 2 << 20);
        copies.clear();
        drop(output);
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn tensors_begin_at_aligned_places() {
        assert_eq!(lay_out([5, 0, 64, 1].into_iter()), Some((vec![0, 64, 64, 128], 129)));
        assert_eq!(lay_out([usize::MAX, 1].into_iter()), None);
    }
}
