//! Which registers a region loads where it is entered, and stores where it is left.
//!
//! A function has its registers in locals. Who enters it loads what may be read on some way from there before it is
//! written, and what an exit there may have to store; an exit stores what may have been written on some way to it. So a
//! small function of the guest costs what it uses itself, whatever else there is in its page.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::{BitAnd, BitOr, BitOrAssign, Not};

use cpu::state::Units;

use crate::ways;

/// A set of what functions keep in locals, and of what else they have to see to where they are entered.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Set(u64);

impl Set {
    pub const NONE: Set = Set(0);
    /// The arithmetic flags.
    pub const FLAGS: Set = Set(1);
    const GENERAL: u32 = 1;
    const VECTOR: u32 = 17;
    /// Whether MXCSR is as usual. Not to be stored.
    pub const USUAL: Set = Set(1 << 33);
    /// The right to execute SSE's instructions, those with a VEX prefix, x87's.
    pub const SSE: Set = Set(1 << 34);
    pub const AVX: Set = Set(1 << 35);
    pub const X87: Set = Set(1 << 36);

    pub fn general(number: u32) -> Set {
        Set(1 << (Set::GENERAL + number))
    }

    pub fn vector(number: u32) -> Set {
        Set(1 << (Set::VECTOR + number))
    }

    pub fn contains(self, other: Set) -> bool {
        self & other == other
    }

    /// Its members.
    pub fn each(self) -> impl Iterator<Item = Set> {
        (0..u64::BITS).map(|bit| Set(1 << bit)).filter(move |&one| self.contains(one))
    }

    /// The general registers' numbers.
    pub fn generals(self) -> impl Iterator<Item = u32> {
        (0..16).filter(move |&number| self.contains(Set::general(number)))
    }

    /// The vector registers' numbers.
    pub fn vectors(self) -> impl Iterator<Item = u32> {
        (0..16).filter(move |&number| self.contains(Set::vector(number)))
    }

    /// The units that are needed ([`Units`]).
    pub fn units(self) -> u32 {
        [(Set::SSE, Units::SSE), (Set::AVX, Units::AVX), (Set::X87, Units::X87)]
            .into_iter()
            .filter(|&(one, _)| self.contains(one))
            .fold(0, |all, (_, unit)| all | unit)
    }

    pub fn bits(self) -> u64 {
        self.0
    }
}

impl BitOr for Set {
    type Output = Set;

    fn bitor(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }
}

impl BitOrAssign for Set {
    fn bitor_assign(&mut self, other: Set) {
        self.0 |= other.0;
    }
}

impl BitAnd for Set {
    type Output = Set;

    fn bitand(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }
}

impl Not for Set {
    type Output = Set;

    fn not(self) -> Set {
        Set(!self.0)
    }
}

/// What a block's code does.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    /// What is read that was not written in the block before, or not on every way.
    pub read: Set,
    /// What is written on every way, and has not to be there before.
    pub defined: Set,
    /// What is written.
    pub changed: Set,
}

impl Usage {
    /// What is read or changed here or there.
    pub fn with(self, other: &Usage) -> Usage {
        Usage { read: self.read | other.read, changed: self.changed | other.changed, defined: Set::NONE }
    }

    pub fn read(&mut self, what: Set) {
        self.read |= what & !self.defined;
    }

    /// `surely`: whether it is written whenever the block's code is executed up to there.
    pub fn write(&mut self, what: Set, surely: bool) {
        if surely {
            self.defined |= what & !self.read;
        } else {
            self.read(what);
        }
        self.changed |= what;
    }
}

/// By block.
pub struct Plan {
    /// What has to be in locals at the beginning.
    pub needed: Vec<Set>,
    /// What may have been written since the region was entered, at the beginning.
    pub changed: Vec<Set>,
}

impl Plan {
    pub fn new(usages: &[Usage], successors: &[Vec<usize>]) -> Plan {
        let none = vec![Set::NONE; usages.len()];
        let mut plan = Plan { needed: none.clone(), changed: none };
        let mut work: Vec<usize> = (0..usages.len()).collect();
        while let Some(block) = work.pop() {
            let after = plan.changed[block] | usages[block].changed;
            for &target in &successors[block] {
                if !plan.changed[target].contains(after) {
                    plan.changed[target] |= after;
                    work.push(target);
                }
            }
        }
        let before = ways::predecessors(successors);
        work.extend(0..usages.len());
        while let Some(block) = work.pop() {
            let after = successors[block].iter().fold(Set::NONE, |all, &target| all | plan.needed[target]);
            // There may be an exit anywhere.
            let needed = usages[block].read | plan.changed[block] | after & !usages[block].defined;
            if needed != plan.needed[block] {
                plan.needed[block] = needed;
                work.extend_from_slice(&before[block]);
            }
        }
        plan
    }
}
