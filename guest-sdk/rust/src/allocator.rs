//! The memory allocator of a component: the C library's, as without this file, but for memory that is
//! to be zero. WebAssembly has an instruction for that; a C library that was built without it (such as
//! Debian's) clears 32 bytes in a turn of a loop, each with a check of the clock.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: `System` keeps to the contract, and all calls go there as they are; what `alloc_zeroed` fills
// is what `alloc` gave.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        // Hidden from the compiler, which would see `malloc`, and make `calloc` of both.
        let memory = black_box(unsafe { System.alloc(layout) });
        if !memory.is_null() {
            // SAFETY: so many bytes were allocated.
            unsafe { memory.write_bytes(0, layout.size()) };
        }
        memory
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above; `memory` came from `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; `memory` came from `System`.
        unsafe { System.realloc(memory, layout, size) }
    }
}
