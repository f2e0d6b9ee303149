//! Who gets the pages of the module's memory: the guest's RAM, and the allocator.
//!
//! RAM is in one piece, and what an engine is asked for counts there at once: V8 collects garbage again and
//! again beside 2 GiB that nobody has touched. So RAM grows at the end of the memory when the guest asks, and the
//! allocator lives in front of it. Where it needs more than it has there, RAM gets all that it can become before.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::ptr::null_mut;

use dlmalloc::{Allocator, Dlmalloc};

const PAGE: usize = 65536;
/// What the allocator has in front of RAM: more than a machine needs whose state is not saved.
const ARENA: usize = 64 << 20;

struct Claim {
    base: usize,
    /// Where it ends now, and where it would.
    end: usize,
    limit: usize,
}

static mut RAM: Claim = Claim { base: 0, end: 0, limit: 0 };

fn ram() -> &'static mut Claim {
    // There is one thread, and nobody keeps it.
    unsafe { &mut *(&raw mut RAM) }
}

/// The address of fresh pages at the end of the memory.
fn grow(bytes: usize) -> Option<usize> {
    let before = memory_grow(0, bytes.div_ceil(PAGE));
    (before != usize::MAX).then(|| before * PAGE)
}

/// Makes RAM, all zero, that can become larger. Once.
pub fn create_ram(size: u64, limit: u64) -> Option<*mut u8> {
    if let Ok(arena) = Layout::from_size_align(ARENA, PAGE) {
        unsafe {
            let address = ALLOCATOR.alloc(arena);
            if !address.is_null() {
                ALLOCATOR.dealloc(address, arena);
            }
        }
    }
    // Not from the allocator, which may make it zero once more: fresh pages are, and cost nothing yet.
    let base = grow(size as usize)?;
    *ram() = Claim { base, end: base + size as usize, limit: base + limit as usize };
    Some(base as *mut u8)
}

/// Whether RAM has so many bytes, or gets them.
pub fn grow_ram(size: u64) -> bool {
    let ram = ram();
    let wanted = ram.base + size as usize;
    if wanted <= ram.end {
        return true;
    }
    if wanted > ram.limit || memory_size(0) * PAGE != ram.end || grow(wanted - ram.end).is_none() {
        return false;
    }
    ram.end = wanted;
    true
}

struct Pages;

unsafe impl Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let limit = (ram().limit - ram().base) as u64;
        grow_ram(limit);
        let size = size.next_multiple_of(PAGE);
        match grow(size) {
            // A pointer behind the last byte must not be 0.
            Some(base) if base.wrapping_add(size) == 0 => (base as *mut u8, size - 16, 0),
            Some(base) => (base as *mut u8, size, 0),
            None => (null_mut(), 0, 0),
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE
    }
}

struct Heap;

static mut HEAP: Dlmalloc<Pages> = Dlmalloc::new_with_allocator(Pages);

unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*(&raw mut HEAP)).malloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        unsafe { (*(&raw mut HEAP)).free(address, layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { (*(&raw mut HEAP)).calloc(layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { (*(&raw mut HEAP)).realloc(address, layout.size(), layout.align(), size) }
    }
}

#[global_allocator]
static ALLOCATOR: Heap = Heap;
