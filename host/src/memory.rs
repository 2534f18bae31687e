//! The server's memory: large blocks are kept for a moment for the next request, and go back to the
//! system when none wants them.
//!
//! The image in a request is one block of several megabytes, gone when it is answered. An allocator
//! either gives such a block back at once, and the next request pays for fresh pages (with glibc's a
//! quarter of the server's time on images of 1080p), or keeps it for good. Between them: blocks of
//! [`LARGE`] bytes and more are mapped from the system one by one, and those that are freed wait here
//! for at least the time from one [`give_back`] to the next. All others are the system's allocator's.

// Allocating is unsafe by nature; each use is proved.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr::{self, NonNull},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

/// From this size on blocks are kept.
const LARGE: usize = 256 << 10;
/// Alignment that every mapping has: no system has smaller pages.
const PAGE: usize = 4 << 10;
/// How many blocks are kept.
const COUNT: usize = 256;
/// How much is kept, all blocks together.
const BYTES: usize = 256 << 20;

static KEPT: Mutex<Kept> = Mutex::new(Kept::new());

/// The global allocator of programs that serve.
pub struct Allocator;

/// Gives back the large blocks that have been free since the last time. To be called now and then.
pub fn give_back() {
    let round = kept().next_round();
    let old = || kept().before(round);
    // One by one: nobody waits for the lock while the system takes a block.
    while let Some(block) = old() {
        block.unmap();
    }
}

/// Gives back what the system's allocator has free, in all its small blocks. It takes a while and
/// others wait for it.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, locks the allocator's own structures, and may be called from any
    // thread at any time (MT-Safe in its manual).
    unsafe {
        libc::malloc_trim(0);
    }
}

fn kept() -> MutexGuard<'static, Kept> {
    // Nothing between lock and unlock can leave it half changed.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= PAGE
}

/// What a block of `size` bytes takes: up to an eighth more, so that one serves requests of nearly its
/// size. Layouts end below half of the address space: this does not overflow.
fn class(size: usize) -> usize {
    let step = (1 << size.ilog2()) / 8;
    size.next_multiple_of(step)
}

// SAFETY: a layout is large or not by its size and alignment alone, so each block goes back to where
// it came from; `realloc` knows both layouts. Large ones are mappings of their own, writable, aligned to
// pages, at least as long as asked for, and nobody else's until they are freed: a kept block is given
// to one caller only, as it leaves the list under the lock. The rest is the system allocator's
// business. Nothing here unwinds or allocates.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: the caller keeps the contract.
            return unsafe { System.alloc(layout) };
        }
        let size = class(layout.size());
        // A statement of its own, so that the lock is not held while the system maps.
        let block = kept().take(size);
        block.or_else(|| Block::map(size)).map_or(ptr::null_mut(), |block| block.start.as_ptr())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: the caller keeps the contract.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // Fresh pages are zero.
        let block = Block::map(class(layout.size()));
        block.map_or(ptr::null_mut(), |block| block.start.as_ptr())
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        let Some(start) = NonNull::new(start).filter(|_| is_large(layout)) else {
            // SAFETY: the caller keeps the contract.
            return unsafe { System.dealloc(start, layout) };
        };
        let block = Block { start, size: class(layout.size()) };
        let refused = kept().put(block);
        if let Some(block) = refused {
            block.unmap();
        }
    }

    unsafe fn realloc(&self, start: *mut u8, old: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller says that `size` fits this alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, old.align()) };
        match (is_large(old), is_large(new)) {
            // SAFETY: the caller keeps the contract.
            (false, false) => unsafe { System.realloc(start, old, size) },
            (true, true) if class(old.size()) == class(size) => start,
            (true, true) => {
                // SAFETY: `start` is a mapping of the first length, and the caller's alone.
                let moved = unsafe {
                    mremap(start.cast(), class(old.size()), class(size), MremapFlags::MAYMOVE)
                };
                moved.map_or(ptr::null_mut(), <*mut _>::cast)
            }
            _ => {
                // SAFETY: the caller keeps the contract; the old block has at least the smaller
                // size, the new one too, and they are different blocks.
                unsafe {
                    let to = self.alloc(new);
                    if !to.is_null() {
                        ptr::copy_nonoverlapping(start, to, old.size().min(size));
                        self.dealloc(start, old);
                    }
                    to
                }
            }
        }
    }
}

/// A mapping of `size` bytes that belongs to whoever has this.
struct Block {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: memory belongs to no thread.
unsafe impl Send for Block {}

impl Block {
    fn map(size: usize) -> Option<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the system chooses an address where nothing is.
        let mapped = unsafe { mmap_anonymous(ptr::null_mut(), size, access, MapFlags::PRIVATE) };
        let start = NonNull::new(mapped.ok()?.cast())?;
        Some(Self { start, size })
    }

    fn unmap(self) {
        // SAFETY: it is a mapping of this length, and nobody has it any more. Where the system
        // refuses, it stays mapped and unused.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}

/// Blocks that wait for another use, the last freed last.
struct Kept {
    /// With the round in which each was freed; the first `count` are there.
    blocks: [Option<(Block, u64)>; COUNT],
    count: usize,
    bytes: usize,
    /// Calls of [`give_back`].
    round: u64,
}

impl Kept {
    const fn new() -> Self {
        Self { blocks: [const { None }; COUNT], count: 0, bytes: 0, round: 0 }
    }

    /// The last one of exactly this size: its pages are the likeliest to be in the caches.
    fn take(&mut self, size: usize) -> Option<Block> {
        self.remove(|block, _| block.size == size)
    }

    /// One that was freed in an earlier round.
    fn before(&mut self, round: u64) -> Option<Block> {
        self.remove(|_, freed| freed < round)
    }

    fn remove(&mut self, which: impl Fn(&Block, u64) -> bool) -> Option<Block> {
        let there = self.blocks.get_mut(..self.count)?;
        let matches = |kept: &Option<(Block, u64)>| {
            kept.as_ref().is_some_and(|(block, freed)| which(block, *freed))
        };
        let at = there.iter().rposition(matches)?;
        let (block, _) = there[at].take()?;
        there[at..].rotate_left(1);
        self.count -= 1;
        self.bytes -= block.size;
        Some(block)
    }

    /// Keeps a block, or gives it back where there are enough.
    fn put(&mut self, block: Block) -> Option<Block> {
        let bytes = self.bytes.saturating_add(block.size);
        match self.blocks.get_mut(self.count) {
            Some(free) if bytes <= BYTES => {
                *free = Some((block, self.round));
                self.count += 1;
                self.bytes = bytes;
                None
            }
            _ => Some(block),
        }
    }

    /// Begins another round, and gives the one that ended.
    fn next_round(&mut self) -> u64 {
        let ended = self.round;
        self.round += 1;
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 5_000_000;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn classes_are_pages_and_little_larger() {
        for size in [LARGE, LARGE + 1, SIZE, (8 << 20) - 1, 8 << 20, (8 << 20) + 1] {
            let class = class(size);
            assert!(class >= size && class - size <= size / 8, "{size}: {class}");
            assert_eq!(class % PAGE, 0);
            assert_eq!(super::class(class), class);
        }
    }

    #[test]
    fn a_block_is_kept_for_a_round() {
        let mut kept = Kept::new();
        let block = Block::map(class(SIZE)).unwrap();
        let start = block.start;
        assert!(kept.put(block).is_none());
        assert!(kept.take(class(2 * SIZE)).is_none(), "another size");
        let block = kept.take(class(SIZE)).unwrap();
        assert_eq!(block.start, start);
        assert!(kept.take(class(SIZE)).is_none(), "it is taken");
        kept.put(block);
        let round = kept.next_round();
        assert!(kept.before(round).is_none(), "freed in the round that ended");
        let round = kept.next_round();
        kept.before(round).unwrap().unmap();
        assert_eq!((kept.count, kept.bytes), (0, 0));
    }

    #[test]
    fn what_is_kept_has_an_end() {
        let mut kept = Kept::new();
        let refused = (0..2 * COUNT).filter_map(|_| kept.put(Block::map(LARGE).unwrap()));
        assert_eq!(refused.map(Block::unmap).count(), COUNT);
        let mut kept = Kept::new();
        let large = Block { start: NonNull::dangling(), size: BYTES };
        kept.put(Block::map(LARGE).unwrap());
        assert!(kept.put(large).is_some());
    }

    #[test]
    fn blocks_grow_and_shrink_with_what_is_in_them() {
        let sizes = [100, LARGE, LARGE + 1, SIZE, 2 * SIZE, SIZE, LARGE, LARGE - 1, 10];
        let mut old = layout(sizes[0]);
        // SAFETY: each block is used within its layout, and freed with it.
        unsafe {
            let mut start = Allocator.alloc(old);
            start.write_bytes(7, 10);
            for size in sizes {
                start = Allocator.realloc(start, old, size);
                old = layout(size);
                assert_eq!(std::slice::from_raw_parts(start, 10), [7; 10]);
                start.add(size - 1).write(7);
            }
            Allocator.dealloc(start, old);
        }
    }

    #[test]
    fn zeroed_is_zero() {
        // SAFETY: each block is used within its layout, and freed with it.
        unsafe {
            let dirty = Allocator.alloc(layout(SIZE));
            dirty.write_bytes(7, SIZE);
            Allocator.dealloc(dirty, layout(SIZE));
            let clean = Allocator.alloc_zeroed(layout(SIZE));
            assert!(std::slice::from_raw_parts(clean, SIZE).iter().all(|byte| *byte == 0));
            Allocator.dealloc(clean, layout(SIZE));
        }
    }
}
