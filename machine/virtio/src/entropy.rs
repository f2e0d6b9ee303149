//! A source of random bytes (Virtio 5.4).

use alloc::vec::Vec;

use crate::memory::GuestMemory;
use crate::mmio::{Device, Io, Mmio};
use crate::queue::Fault;
use crate::state::{save_section, Reader, State, StateError};

/// The most bytes that are kept for the guest.
const POOL: usize = 1024;

/// Bytes of the host's, kept so that the guest need not wait for them.
#[derive(Default)]
pub struct Entropy {
    pool: Vec<u8>,
}

impl Device for Entropy {
    const ID: u32 = 4;
    const QUEUES: &'static [u16] = &[8];

    fn run(&mut self, io: &mut Io) -> Result<(), Fault> {
        while !self.pool.is_empty() {
            let Some(chain) = io.pop(0)? else { break };
            let length = self.pool.len().min(chain.writable.len());
            let rest = self.pool.len() - length;
            chain.writable.write(io.memory, 0, &self.pool[rest..])?;
            self.pool.truncate(rest);
            io.push(0, chain.head, length)?;
        }
        Ok(())
    }

    fn reset(&mut self) {}

    /// Whether the host should provide some.
    fn has_output(&self) -> bool {
        self.pool.len() < POOL / 2
    }
}

impl Mmio<Entropy> {
    /// How many bytes there is room for.
    pub fn wanted(&self) -> usize {
        POOL - self.device.pool.len()
    }

    /// Gives bytes that nobody else can know. Those that there is no room for are ignored.
    pub fn provide(&mut self, bytes: &[u8], memory: &mut dyn GuestMemory) {
        let length = bytes.len().min(self.wanted());
        self.device.pool.extend_from_slice(&bytes[..length]);
        self.drive(memory, |device, io| device.run(io));
    }
}

/// What the host has provided is not saved: it would be the same in all machines that are resumed.
impl State for Entropy {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"VRNG", 1, |_| {});
    }

    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        self.pool.clear();
        reader.section(b"VRNG", 1)?.finish()
    }
}
