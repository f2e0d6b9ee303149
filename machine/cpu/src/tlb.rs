//! The translation lookaside buffer that interpreter and compiled code go through.
//!
//! One table for user mode and one for supervisor mode, so that a hit needs no check of privilege, and in each
//! one part for each kind of access, so that the entries of many pages have room in the processor's first cache.
//! An access of `size` bytes at linear address `va` hits where
//!
//! ```text
//! entry = table.read (or .write, .execute)[(va >> 12) % ENTRIES]
//! entry.tag == ((va + size - 1) & !0xfff) | generation
//! ```
//!
//! so that one compare tells also whether the access stays in the page. The host address is then
//! `va + entry.addend` (in WebAssembly: of the low 32 bits of both). A page whose accesses have side
//! effects (a device's registers) or that holds code (for writes) never hits.
//!
//! The generation makes a flush one addition: entries of former generations match nothing.

use crate::paging::Access;

pub const ENTRIES: usize = 4096;
/// Tags of an entry that never hits: no generation is 0.
const NEVER: u64 = 0;
const GENERATIONS: u64 = 4096;
const PAGE_MASK: u64 = !0xfff;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Entry {
    pub tag: u64,
    /// Host address of the page minus its linear address, wrapping.
    pub addend: u64,
}

impl Entry {
    pub(crate) const EMPTY: Entry = Entry { tag: NEVER, addend: 0 };

    /// The host address of a linear one in the page.
    #[inline(always)]
    pub fn host(&self, va: u64) -> *mut u8 {
        va.wrapping_add(self.addend) as usize as *mut u8
    }
}

#[repr(C)]
pub struct Table {
    pub read: [Entry; ENTRIES],
    pub write: [Entry; ENTRIES],
    pub execute: [Entry; ENTRIES],
}

impl Table {
    #[inline(always)]
    pub fn entry(&self, va: u64, access: Access) -> &Entry {
        let part = match access {
            Access::Read => &self.read,
            Access::Write => &self.write,
            Access::Execute => &self.execute,
        };
        &part[index(va)]
    }

    fn parts(&mut self) -> [&mut [Entry; ENTRIES]; 3] {
        [&mut self.read, &mut self.write, &mut self.execute]
    }
}

pub mod offset {
    use super::{Entry, Table};
    use core::mem::{offset_of, size_of};

    /// Of the parts for reads and for writes.
    pub const READ: usize = offset_of!(Table, read);
    pub const WRITE: usize = offset_of!(Table, write);
    /// In an entry.
    pub const TAG: usize = offset_of!(Entry, tag);
    pub const ADDEND: usize = offset_of!(Entry, addend);
    /// Of one entry.
    pub const SIZE: usize = size_of::<Entry>();
}

#[repr(C, align(64))]
pub struct Tlb {
    /// First for supervisor mode, then for user mode: the index is `mode & Mode::USER`.
    pub tables: [Table; 2],
    /// Counts what is forgotten otherwise than by a new generation.
    pub epoch: u64,
}

#[inline(always)]
pub fn index(va: u64) -> usize {
    (va >> 12) as usize % ENTRIES
}

/// What a hit's tag is.
#[inline(always)]
pub fn tag(va: u64, generation: u64) -> u64 {
    va & PAGE_MASK | generation
}

impl Tlb {
    pub fn new() -> alloc::boxed::Box<Tlb> {
        // On the heap from the beginning: it is larger than WebAssembly's stack should be. An entry
        // that never hits is all zeros.
        unsafe { alloc::boxed::Box::new_zeroed().assume_init() }
    }

    pub fn clear(&mut self) {
        self.epoch += 1;
        for table in &mut self.tables {
            for part in table.parts() {
                part.fill(Entry::EMPTY);
            }
        }
    }

    /// Forget one page, in all address spaces.
    pub fn forget(&mut self, va: u64) {
        self.epoch += 1;
        for table in &mut self.tables {
            for part in table.parts() {
                part[index(va)] = Entry::EMPTY;
            }
        }
    }

    /// Let no write hit the page at this host address any more: it holds code now.
    pub fn protect(&mut self, host_page: u64) {
        for table in &mut self.tables {
            for entry in &mut table.write {
                if entry.tag != NEVER && (entry.tag & PAGE_MASK).wrapping_add(entry.addend) == host_page {
                    *entry = Entry::EMPTY;
                }
            }
        }
    }
}

/// Which generation belongs to which address space.
pub struct Generations {
    next: u64,
    /// By PCID; 0 where there is none yet.
    spaces: alloc::boxed::Box<[u64; 4096]>,
}

impl Generations {
    pub fn new() -> Generations {
        Generations { next: 1, spaces: alloc::boxed::Box::new([0; 4096]) }
    }

    /// The generation of an address space: a new one where `flush` is asked for or none is known.
    pub fn of(&mut self, pcid: usize, flush: bool, tlb: &mut Tlb) -> u64 {
        if flush || self.spaces[pcid] == 0 {
            if self.next == GENERATIONS {
                self.forget_all(tlb);
            }
            self.spaces[pcid] = self.next;
            self.next += 1;
        }
        self.spaces[pcid]
    }

    pub fn forget_all(&mut self, tlb: &mut Tlb) {
        tlb.clear();
        self.spaces.fill(0);
        self.next = 1;
    }
}

impl Default for Generations {
    fn default() -> Self {
        Self::new()
    }
}
