//! Where compiled code goes on without the loop in between.
//!
//! Code that leaves for an address looks here for the function that is to be entered there, and calls it in its
//! own place. The loop makes the links of what it enters. A link holds for one state of the processor's mode,
//! address space, translations and code: all of that is in its tag, which the loop computes anew whenever it
//! enters compiled code. None of it changes while compiled code runs, except where `State::chain_tag` is
//! taken away.

use alloc::boxed::Box;

pub const LINKS: usize = 1 << 11;
/// By so many bits the address is shifted to be mixed with itself.
pub const SPREAD: u32 = 11;
/// The tag of links to nowhere. The processor's own tag is never this one.
const NO_TAG: u64 = u64::MAX;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Link {
    pub address: u64,
    pub tag: u64,
    /// The function's place in the table of functions.
    pub place: u32,
    pub entry: u32,
    reserved: u64,
}

impl Link {
    const NONE: Link = Link { address: 0, tag: NO_TAG, place: 0, entry: 0, reserved: 0 };

    pub fn new(address: u64, tag: u64, place: u32, entry: u32) -> Link {
        Link { address, tag, place, entry, reserved: 0 }
    }
}

pub mod offset {
    use super::Link;
    use core::mem::{offset_of, size_of};

    pub const ADDRESS: usize = offset_of!(Link, address);
    pub const TAG: usize = offset_of!(Link, tag);
    pub const PLACE: usize = offset_of!(Link, place);
    pub const ENTRY: usize = offset_of!(Link, entry);
    /// Of one link.
    pub const SIZE: usize = size_of::<Link>();
}

pub struct Chain {
    links: Box<[Link]>,
}

impl Chain {
    pub fn new() -> Chain {
        Chain { links: alloc::vec![Link::NONE; LINKS].into_boxed_slice() }
    }

    /// Where the links are. They stay there.
    pub fn links(&self) -> *const Link {
        self.links.as_ptr()
    }

    #[inline(always)]
    pub fn set(&mut self, link: Link) {
        self.links[(link.address ^ link.address >> SPREAD) as usize % LINKS] = link;
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}
