//! Memory in which host addresses are WebAssembly's, too.
//!
//! Compiled code addresses the processor and its RAM by 32 bits. So these are put into a stretch of
//! memory that begins at a multiple of 4 GiB and that WebAssembly has as its memory: an address' low
//! half is then the offset there.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};

pub const SIZE: usize = 128 << 20;
const ALIGNMENT: usize = 1 << 32;

static BASE: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);
static ON: AtomicBool = AtomicBool::new(false);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub struct Arena;

unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !ON.load(SeqCst) {
            return unsafe { System.alloc(layout) };
        }
        let at = (NEXT.load(SeqCst) + layout.align() - 1) & !(layout.align() - 1);
        NEXT.store(at + layout.size(), SeqCst);
        assert!(at + layout.size() <= BASE.load(SeqCst) + SIZE, "the arena is too small");
        at as *mut u8
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let base = BASE.load(SeqCst);
        if base == 0 || !(base..base + SIZE).contains(&(pointer as usize)) {
            unsafe { System.dealloc(pointer, layout) }
        }
    }
}

/// All of the arena, empty. Whatever was in it is no longer used, and nobody else uses it until the
/// guard is dropped.
pub fn begin() -> (&'static mut [u8], MutexGuard<'static, ()>) {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if BASE.load(SeqCst) == 0 {
        let reserved = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                2 * ALIGNMENT,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(reserved, libc::MAP_FAILED);
        BASE.store((reserved as usize + ALIGNMENT - 1) & !(ALIGNMENT - 1), SeqCst);
    }
    let base = BASE.load(SeqCst);
    // Address 0 stays nobody's.
    NEXT.store(base + 0x1_0000, SeqCst);
    let bytes = unsafe {
        libc::madvise(base as *mut _, SIZE, libc::MADV_DONTNEED);
        std::slice::from_raw_parts_mut(base as *mut u8, SIZE)
    };
    (bytes, guard)
}

/// Runs a function whose allocations are in the arena. They are never freed.
pub fn inside<T>(make: impl FnOnce() -> T) -> T {
    ON.store(true, SeqCst);
    let made = make();
    ON.store(false, SeqCst);
    made
}

pub fn base() -> usize {
    BASE.load(SeqCst)
}
