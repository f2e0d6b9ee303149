//! Code whose windows often cannot be opened.
//!
//! Compiled code looks up several accesses to memory at once (the compiler's `windows`), and leaves the instruction to the
//! interpreter where that is not possible: where what is looked up reaches into the next page, or is to be stored
//! to on some way and may not be. Mostly that happens once for a page of data, when it is accessed for the first time. Where it
//! goes on, the code is to be compiled anew, without windows.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// How often windows fail on pages of data on which they have just failed, until their code gets none.
const MOST: u32 = 2000;
/// That many instructions later, earlier failures do not count any more.
const MEMORY: u64 = 20_000_000;
/// How many pages of data are remembered for each of code.
const RECENT: usize = 4;
/// How many pages of code are remembered.
const PAGES: usize = 1024;

#[derive(Default)]
struct Failures {
    recent: [u64; RECENT],
    count: u32,
    /// When the last one was, in instructions.
    last: u64,
}

#[derive(Default)]
pub(crate) struct Windows {
    /// The page of data that a window was last asked for.
    asked: u64,
    /// By page of code and mode, as blocks are.
    failures: BTreeMap<u64, Failures>,
    given_up: Vec<u64>,
}

impl Windows {
    /// A window at this address cannot be opened.
    pub(crate) fn refused(&mut self, address: u64) {
        self.asked = address >> 12;
    }

    /// Code has left for that. `page`: the key of a block at its page's beginning; `now`: in instructions.
    pub(crate) fn failed(&mut self, page: u64, now: u64) {
        if self.failures.len() == PAGES && !self.failures.contains_key(&page) {
            self.failures.clear();
        }
        let failures = self.failures.entry(page).or_default();
        if now.wrapping_sub(failures.last) > MEMORY {
            failures.count = 0;
        }
        failures.last = now;
        if !failures.recent.contains(&self.asked) {
            failures.recent.rotate_right(1);
            failures.recent[0] = self.asked;
            return;
        }
        failures.count += 1;
        if failures.count == MOST {
            self.failures.remove(&page);
            self.given_up.push(page);
        }
    }

    /// The pages of code that should be compiled anew, since the last call.
    pub(crate) fn take_given_up(&mut self) -> Vec<u64> {
        core::mem::take(&mut self.given_up)
    }

    pub(crate) fn clear(&mut self) {
        *self = Windows::default();
    }
}
