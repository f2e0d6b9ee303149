//! The translation lookaside buffer that interpreter and compiled code go through.
//!
//! One table for user mode and one for supervisor mode, so that a hit needs no check of privilege, and in each
//! one part for each kind of access, so that the entries of many pages have room in the processor's first cache.
//! An access of `size` bytes at linear address `va` hits where
//!
//! ```text
//! entry = table.read (or .write, .execute)[(va >> 12) % ENTRIES]
//! entry.tag == (va + size - 1) | 0xfff
//! ```
//!
//! so that one compare tells also whether the access stays in the page. The host address is then
//! `va + entry.addend` (in WebAssembly: of the low 32 bits of both). A page whose accesses have side
//! effects (a device's registers) or that holds code (for writes) never hits.
//!
//! Only the present address space has entries, and global pages, so that a hit needs no look at which space it is: who
//! goes to another one takes away those of the one before, whose places are noted.

use crate::paging::Access;

pub const ENTRIES: usize = 4096;
/// The tag of an entry that never hits: it is no page's last byte.
const NEVER: u64 = 0;
const OFFSET_MASK: u64 = 0xfff;
/// How many places are noted of entries that are not of global pages. All are taken away where there were more.
const NOTED: usize = 2048;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Entry {
    pub tag: u64,
    /// Host address of the page minus its linear address, wrapping.
    pub addend: u64,
}

impl Entry {
    pub(crate) const EMPTY: Entry = Entry { tag: NEVER, addend: 0 };

    /// Whether it is for an access of so many bytes at this address.
    #[inline(always)]
    pub fn hits(&self, va: u64, size: u64) -> bool {
        self.tag == tag(va.wrapping_add(size - 1))
    }

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

/// The part of a tag that all pages have in common, as an operation with an address has it.
pub const TAG_BITS: i64 = OFFSET_MASK as i64;

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
    /// The places of entries that are not of global pages, in the order in which they were made: as many as
    /// `noted` says, which goes on counting.
    places: [Place; NOTED],
    noted: usize,
    /// Counts what is forgotten otherwise than by going to another address space.
    pub epoch: u64,
}

/// Of entries for one page.
#[derive(Clone, Copy)]
struct Place {
    user: bool,
    index: u16,
}

/// What a page's entries are to say.
pub struct Page {
    /// Its host address.
    pub host: u64,
    /// Whether other address spaces have it, too.
    pub global: bool,
    pub writable: bool,
    pub executable: bool,
}

#[inline(always)]
pub fn index(va: u64) -> usize {
    (va >> 12) as usize % ENTRIES
}

/// The tag of a hit of an access that ends at this address.
#[inline(always)]
fn tag(va: u64) -> u64 {
    va | OFFSET_MASK
}

impl Tlb {
    pub fn new() -> alloc::boxed::Box<Tlb> {
        // On the heap from the beginning: it is larger than WebAssembly's stack should be. An entry
        // that never hits is all zeros.
        unsafe { alloc::boxed::Box::new_zeroed().assume_init() }
    }

    /// Has entries for the page of a linear address.
    pub fn fill(&mut self, va: u64, user: bool, page: &Page) {
        let known = Entry { tag: tag(va), addend: page.host.wrapping_sub(va & !OFFSET_MASK) };
        let entry = |hits| if hits { known } else { Entry::EMPTY };
        let index = index(va);
        let table = &mut self.tables[usize::from(user)];
        table.read[index] = entry(true);
        table.write[index] = entry(page.writable);
        table.execute[index] = entry(page.executable);
        if !page.global {
            if let Some(place) = self.places.get_mut(self.noted) {
                *place = Place { user, index: index as u16 };
            }
            self.noted += 1;
        }
    }

    pub fn clear(&mut self) {
        self.epoch += 1;
        self.empty();
    }

    fn empty(&mut self) {
        self.noted = 0;
        for table in &mut self.tables {
            for part in table.parts() {
                part.fill(Entry::EMPTY);
            }
        }
    }

    /// Forget what is not of global pages: from now on it is another address space, or that one anew.
    pub fn leave_space(&mut self) {
        let Some(places) = self.places.get(..self.noted) else { return self.empty() };
        for &Place { user, index } in places {
            for part in self.tables[usize::from(user)].parts() {
                part[usize::from(index)] = Entry::EMPTY;
            }
        }
        self.noted = 0;
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
                if entry.tag != NEVER && (entry.tag & !OFFSET_MASK).wrapping_add(entry.addend) == host_page {
                    *entry = Entry::EMPTY;
                }
            }
        }
    }
}

/// Numbers of address spaces. One that is flushed has another number afterwards.
pub struct Spaces {
    next: u64,
    /// By PCID; 0 where there is none yet.
    numbers: alloc::boxed::Box<[u64; 4096]>,
}

impl Spaces {
    /// Of numbers.
    pub const BITS: u32 = 12;

    pub fn new() -> Spaces {
        Spaces { next: 1, numbers: alloc::boxed::Box::new([0; 4096]) }
    }

    /// The number of an address space: a new one where `flush` is asked for or none is known.
    pub fn number(&mut self, pcid: usize, flush: bool, tlb: &mut Tlb) -> u64 {
        if flush || self.numbers[pcid] == 0 {
            if self.next == 1 << Spaces::BITS {
                self.forget_all(tlb);
            }
            self.numbers[pcid] = self.next;
            self.next += 1;
        }
        self.numbers[pcid]
    }

    pub fn forget_all(&mut self, tlb: &mut Tlb) {
        tlb.clear();
        self.numbers.fill(0);
        self.next = 1;
    }
}

impl Default for Spaces {
    fn default() -> Self {
        Self::new()
    }
}
