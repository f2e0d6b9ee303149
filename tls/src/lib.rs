//! The page's TLS server. It speaks TLS 1.2 and 1.3 with the container's programs, with
//! certificates that it makes for the names they ask for.
//!
//! Nothing here does any I/O: see [`wasm`] for what the host calls, and `README.md`.

#![no_std]

extern crate alloc;

mod authority;
mod connection;
mod der;
mod exchange;
mod hash;
mod key;
mod provider;
mod random;
mod record;
pub mod wasm;
