//! Turns hot x86-64 code into WebAssembly modules at run time.
//!
//! A region is code of one page of physical memory that is connected by direct jumps and calls. It
//! becomes one function, `(entry: i32) -> i32`: where in it to begin, and why it returns
//! ([`cpu::state::Exit`]). Since a page may be mapped at several addresses, code finds its own by RIP.
//! Several regions go into one [`Module`], which the host instantiates.
//!
//! Code is compiled of 64-bit segments, and of 32-bit ones where all but FS and GS begin at address 0
//! ([`CodeSize`]). What the code depends on beside the bytes of its page does not change
//! while it runs: instructions that could change it (`Action::Leave`) end the region, and an access
//! that does not go to plain memory is left to the interpreter (`Exit::Step`).
#![no_std]

extern crate alloc;

mod action;
mod avx;
mod bmi;
mod emit;
mod flags;
mod forms;
mod graph;
mod integer;
mod module;
mod region;
mod registers;
mod structure;
pub mod tiers;
mod vector;
mod wasm;
mod ways;
mod windows;

pub use cpu::compiled::Addresses;
pub use graph::{Start, Wanted};
pub use module::Module;

/// The size of operands and addresses that a code segment's instructions have by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeSize {
    /// Addresses have 32 bits, and so have the instruction pointer, the stack pointer and what is on the
    /// stack. Of registers, the high halves stay as they are until 32 bits are written to them.
    Bits32,
    /// 64-bit mode. (Most operands have 32 bits; what is on the stack has 64.)
    Bits64,
}

impl CodeSize {
    /// Of a mode that is compiled ([`cpu::state::Mode`]).
    fn of(mode: u32) -> CodeSize {
        if mode & cpu::state::Mode::LONG != 0 {
            CodeSize::Bits64
        } else {
            CodeSize::Bits32
        }
    }

    fn bits(self) -> u32 {
        8 * self.bytes()
    }

    /// Of addresses, and of what is on the stack.
    fn bytes(self) -> u32 {
        match self {
            CodeSize::Bits32 => 4,
            CodeSize::Bits64 => 8,
        }
    }
}

/// Of code that is compiled as one.
const PAGE: usize = 4096;
