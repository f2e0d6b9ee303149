//! The SSE and AVX families' operations of an x86-64 processor, as pure functions on values.
#![no_std]
#![warn(missing_docs)]

pub mod avx;
pub mod convert;
pub mod crypto;
pub mod float;
pub mod fused;
pub mod integer;
pub mod mmx;
pub mod mxcsr;
mod soft;
pub mod string;
#[cfg(feature = "iced")]
pub mod table;
mod xmm;

pub use mxcsr::{Mxcsr, Unmasked};
pub use xmm::{Xmm, Ymm};
