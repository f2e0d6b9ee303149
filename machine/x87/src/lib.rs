//! The x87 floating-point unit of an x86-64 processor: its 80-bit arithmetic, register stack, exceptions
//! and memory images, without memory access and without any state but its own.
//!
//! - [`F80`] is the 80-bit format with all its encodings; [`arith`], [`convert`], [`remainder`] and
//!   [`transcendental`] are pure functions on it. They take a [`Control`] word and give the result for
//!   masked exceptions together with the exceptions and C1, as bits of the [`status`] word.
//! - [`Fpu`] is the unit: a method for each instruction, which applies the rules for masked and unmasked
//!   exceptions and for the stack.
//! - [`encoding`] maps opcodes D8 to DF to these methods.
//!
//! # Why the arithmetic is its own
//! `rustc_apfloat`, the well-kept candidate, was weighed and not taken. Its 80-bit type has no denormal
//! operand exception, no C1, no precision control with a 15-bit exponent, no square root, no scaled
//! results for unmasked over- and underflow and no partial remainders with quotient bits; it takes
//! pseudo-denormals for NaNs, and NaNs follow LLVM's rules and not the x87's. What would have been left of
//! it is rounding, generic over the number of limbs and with an allocator behind it (`smallvec`): natively,
//! it needs 1.6 times the time of this crate's instructions for an addition, 2.3 times for a multiplication
//! and 12 times for a division.
//!
//! # Whose behaviour
//! The tests' judge is the processor that runs them. Where AMD's and Intel's differ, the crate follows AMD's;
//! the README has the list.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod arith;
mod control;
pub mod convert;
pub mod encoding;
mod f80;
mod fpu;
pub mod image;
mod instructions;
mod mmx;
pub mod remainder;
mod round;
pub mod transcendental;
mod wide;

pub use arith::{Operand, Operation, Relation};
pub use control::{status, Control, Rounding};
pub use f80::{Class, F80};
pub use fpu::Fpu;
pub use instructions::Constant;
pub use round::Rounded;
