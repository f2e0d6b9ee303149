//! Virtio devices and their transport, without I/O: register accesses and bytes go in and out.
//!
//! "Virtio" means the Virtual I/O Device specification, version 1.2. Whatever the guest writes into
//! registers and memory, a device neither panics nor takes unbounded memory or time: what is not allowed
//! by the specification brings it into the state DEVICE_NEEDS_RESET.
#![no_std]

extern crate alloc;

pub mod balloon;
pub mod console;
pub mod entropy;
pub mod memory;
pub mod mmio;
pub mod net;
pub mod p9;
pub mod queue;
pub mod state;
pub mod vsock;

pub use balloon::Balloon;
pub use console::Console;
pub use entropy::Entropy;
pub use memory::{GuestMemory, OutOfRange};
pub use mmio::{Device, Io, Mmio, Transport};
pub use net::Net;
pub use p9::P9;
pub use queue::Fault;
pub use state::{State, StateError};
pub use vsock::Vsock;
