//! The C library's allocator, told how much it may keep. Where that is not glibc's, nothing is told.

#[cfg(target_env = "gnu")]
use libc::c_int;

/// What the allocator keeps of what is gone.
#[derive(Clone, Copy, Debug)]
pub struct Keeps {
    /// Stores of memory: threads that share one wait for each other, and each keeps some.
    pub arenas: u16,
    /// Blocks from this size on, in MiB, are mapped and unmapped, and nothing is kept of them; of smaller ones
    /// each store keeps as much at its end, which `give_back` does not reach. glibc itself would raise it to
    /// what is let go, and each of its stores would keep 64 MiB. At most 32.
    pub mapped: u8,
}

/// Sets what is kept. To be called once, before there is anything that could be kept.
pub fn keep(keeps: Keeps) {
    #[cfg(target_env = "gnu")]
    {
        let mapped = c_int::from(keeps.mapped) << 20;
        // SAFETY: it takes two numbers and sets the allocator's own. It may be called while there are other
        // threads: it takes the allocator's lock.
        #[allow(unsafe_code)]
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, c_int::from(keeps.arenas));
            libc::mallopt(libc::M_MMAP_THRESHOLD, mapped);
            libc::mallopt(libc::M_TRIM_THRESHOLD, mapped);
            // Small blocks join what is free beside them as soon as they are free. Otherwise they may do so as
            // memory is given back, and whatever is free below them becomes the end of a store, which that
            // does not reach: 28 MiB were kept for as long as nothing large was freed again.
            libc::mallopt(libc::M_MXFAST, 0);
        }
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = keeps;
}

/// Gives memory that nobody uses back to the system, wherever it lies.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, locks the allocator's own structures, and may be called from any
    // thread at any time (MT-Safe in its manual).
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
    }
}
