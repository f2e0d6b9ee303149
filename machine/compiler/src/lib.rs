//! Turns hot x86-64 code into WebAssembly modules at run time.
//!
//! A region is code of one page of physical memory that is connected by direct jumps and calls. It
//! becomes one function, `(entry: i32) -> i32`: where in it to begin, and why it returns
//! ([`cpu::state::Exit`]). Since a page may be mapped at several addresses, code finds its own by RIP.
//! Several regions go into one [`Module`], which the host instantiates.
//!
//! Only 64-bit code is compiled. What the code depends on beside the bytes of its page does not change
//! while it runs: instructions that could change it (`Action::Leave`) end the region, and an access
//! that does not go to plain memory is left to the interpreter (`Exit::Step`).
#![no_std]

extern crate alloc;

mod action;
mod emit;
mod flags;
mod graph;
mod integer;
mod module;
mod region;
mod structure;
pub mod tiers;
mod vector;
mod wasm;

pub use cpu::compiled::Addresses;
pub use module::Module;

/// Of code that is compiled as one.
const PAGE: usize = 4096;
