//! Memory that the machine gets when its kernel asks for more.
//!
//! A machine starts with [`START`] bytes where it can have as many, though its kernel is told of [`MOST`]: so
//! a state fits each machine, whatever its own limit is. Two ports of 32 bits, in MiB: at [`PRESENT`] is how
//! much memory there is, and there more is asked for; at [`LIMIT`], how much there can be. The other end is
//! tools/vm/kernel/patches-6.12/later-memory.patch.

use cpu::Memory;

const MIB: u64 = 1 << 20;
const PRESENT: u16 = 0x620;
const LIMIT: u16 = 0x624;

/// What a machine that can grow has at first.
pub const START: u64 = 512 * MIB;
/// What it can have at most.
pub const MOST: u64 = 2048 * MIB;
/// The kernel asks for whole pieces of this size (Linux, PAGES_PER_SECTION).
pub const STEP: u64 = 128 * MIB;

/// Where the memory ends that the kernel of a machine with so much at first is told of.
pub fn end(size: u64) -> u64 {
    if size < START {
        size
    } else {
        size.max(MOST)
    }
}

pub fn read(port: u16, memory: &Memory) -> Option<u32> {
    let bytes = match port {
        PRESENT => memory.size(),
        LIMIT => memory.limit(),
        _ => return None,
    };
    Some((bytes / MIB) as u32)
}

pub fn write(port: u16, value: u32, memory: &mut Memory) {
    if port == PRESENT {
        // Where it cannot be, the kernel reads that it has not become more.
        memory.grow(u64::from(value) * MIB);
    }
}
