//! Counts what a thread allocates, so that a test can say how much a datagram may cost. The fuzz targets use this file
//! too.

#![allow(
    unsafe_code,
    reason = "a global allocator cannot be written without; this one only counts and passes on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The most that one datagram of a single part may allocate, whatever is in it. A thing in memory is larger than its
/// bytes on the wire, though not by more than this.
#[allow(dead_code, reason = "not every fuzz target needs it")]
pub(crate) const BYTES_PER_DATAGRAM: usize = 32 * 1_024;

/// The most that the greatest beat within the limits may allocate when its last part comes.
#[allow(dead_code, reason = "not every fuzz target needs it")]
pub(crate) const BYTES_PER_BEAT: usize = 768 * 1_024;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes in use beyond those at the start of a measurement, and the most there were. May go below 0.
    static USED: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The most bytes in use at one time while `work` ran on this thread, beyond those in use before.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    USED.set((0, 0));
    let done = work();
    let (_, most) = USED.get();
    (done, most.unsigned_abs())
}

struct Counting;

fn count(bytes: isize) {
    // A thread that is ending has nothing to measure.
    let _ = USED.try_with(|used| {
        let (now, most) = used.get();
        used.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}
