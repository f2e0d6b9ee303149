//! A network card (Virtio 5.1): whole Ethernet frames go out and come in.
//!
//! What pays in front of an emulated processor: frames as large as IP allows, and no checksums. Those of
//! the guest's frames are computed here, and the guest is told that those of the host's are right: the
//! link neither loses nor changes anything. Receive buffers are mergeable, or each had to be 64 KiB.

use alloc::vec::Vec;

use crate::memory::GuestMemory;
use crate::mmio::{Device, Io, Mmio};
use crate::queue::{Chain, Fault};
use crate::state::{save_section, Field, Reader, State, StateError};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// struct virtio_net_hdr (Virtio 5.1.6), with num_buffers.
const HEADER: usize = 12;
const ETHERNET_HEADER: usize = 14;
/// An Ethernet header with a VLAN tag in front of the largest IP packet.
pub const MAX_FRAME: usize = 18 + 65535;

mod feature {
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const MTU: u64 = 1 << 3;
    pub const MAC: u64 = 1 << 5;
    pub const MRG_RXBUF: u64 = 1 << 15;
}

/// Flags of the header.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

/// What became of a frame for the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    Done,
    /// The driver has too few buffers at the moment.
    Full,
    /// The frame's length is impossible, or more than all of the driver's buffers.
    Dropped,
}

pub struct Net {
    mac: [u8; 6],
    mtu: u16,
    waiting: bool,
}

impl Net {
    pub fn new(mac: [u8; 6], mtu: u16) -> Net {
        Net { mac, mtu, waiting: false }
    }

    fn next_frame(&mut self, io: &mut Io) -> Result<Option<Vec<u8>>, Fault> {
        loop {
            let chain = io.pop(TRANSMIT)?;
            self.waiting = chain.is_some();
            let Some(chain) = chain else { return Ok(None) };
            if chain.readable.len() > HEADER + MAX_FRAME {
                return Err(Fault::Request("a frame's length"));
            }
            let mut header = [0; HEADER];
            chain.readable.read(io.memory, 0, &mut header)?;
            let mut frame = chain.readable.to_vec(io.memory, HEADER, MAX_FRAME)?;
            io.push(TRANSMIT, chain.head, 0)?;
            let complete = header[0] & NEEDS_CSUM == 0
                || io.features & feature::CSUM != 0
                    && insert_checksum(
                        &mut frame,
                        usize::from(u16::from_le_bytes([header[6], header[7]])),
                        usize::from(u16::from_le_bytes([header[8], header[9]])),
                    );
            if complete && frame.len() >= ETHERNET_HEADER {
                return Ok(Some(frame));
            }
        }
    }

    fn deliver(&mut self, frame: &[u8], io: &mut Io) -> Result<Delivery, Fault> {
        let mut chains: Vec<Chain> = Vec::new();
        let mut room = 0;
        while room < HEADER + frame.len() {
            let most = if io.features & feature::MRG_RXBUF != 0 { io.queue(RECEIVE).max_size() } else { 1 };
            if chains.len() == usize::from(most) {
                // It will never fit.
                chains.iter().for_each(|_| io.unpop(RECEIVE));
                return Ok(Delivery::Dropped);
            }
            let Some(chain) = io.pop(RECEIVE)? else {
                chains.iter().for_each(|_| io.unpop(RECEIVE));
                return Ok(Delivery::Full);
            };
            if chain.writable.len() < HEADER {
                return Err(Fault::Request("a network card's receive buffer"));
            }
            room += chain.writable.len();
            chains.push(chain);
        }
        let mut packet = Vec::with_capacity(HEADER + frame.len());
        packet.resize(HEADER, 0);
        packet[0] = if io.features & feature::GUEST_CSUM != 0 { DATA_VALID } else { 0 };
        packet[HEADER - 2..].copy_from_slice(&(chains.len() as u16).to_le_bytes());
        packet.extend_from_slice(frame);
        let mut done = 0;
        for chain in chains {
            let length = chain.writable.write(io.memory, 0, &packet[done..])?;
            done += length;
            io.push(RECEIVE, chain.head, length)?;
        }
        Ok(Delivery::Done)
    }
}

/// Completes the Internet checksum of what begins at `start`, `offset` bytes behind which the sum of the
/// pseudo header is. False when that is not within the frame.
fn insert_checksum(frame: &mut [u8], start: usize, offset: usize) -> bool {
    let field = start + offset;
    if field + 2 > frame.len() {
        return false;
    }
    let sum: u64 = frame[start..]
        .chunks(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    // A frame has at most 2^15 pairs.
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
    // For UDP 0 stands for "none", for the others it is the same as all ones.
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    true
}

impl Device for Net {
    const ID: u32 = 1;
    /// For one frame of 64 KiB Linux's driver needs 43 of its smallest buffers, which it fills all.
    const QUEUES: &'static [u16] = &[128, 128];

    fn features(&self) -> u64 {
        feature::CSUM | feature::GUEST_CSUM | feature::MTU | feature::MAC | feature::MRG_RXBUF
    }

    /// mac, status and max_virtqueue_pairs (both not offered), mtu.
    fn config(&self) -> Vec<u8> {
        let mut config = self.mac.to_vec();
        config.extend_from_slice(&[0; 4]);
        config.extend_from_slice(&self.mtu.to_le_bytes());
        config
    }

    /// Frames stay in the queue until the host takes them.
    fn run(&mut self, io: &mut Io) -> Result<(), Fault> {
        self.waiting = io.has_available(TRANSMIT)?;
        Ok(())
    }

    fn reset(&mut self) {
        self.waiting = false;
    }

    fn has_output(&self) -> bool {
        self.waiting
    }
}

impl Mmio<Net> {
    /// The next frame that the guest sends, with its checksum.
    pub fn take_frame(&mut self, memory: &mut dyn GuestMemory) -> Option<Vec<u8>> {
        let frame = self.drive(memory, |device, io| device.next_frame(io));
        self.device.waiting &= frame.is_some();
        frame.flatten()
    }

    /// Gives a frame to the guest. One that finds the queue full may be given again later.
    pub fn deliver(&mut self, frame: &[u8], memory: &mut dyn GuestMemory) -> Delivery {
        if !(ETHERNET_HEADER..=MAX_FRAME).contains(&frame.len()) {
            return Delivery::Dropped;
        }
        // Without a driver there is nobody who could miss it.
        self.drive(memory, |device, io| device.deliver(frame, io)).unwrap_or(Delivery::Dropped)
    }
}

impl State for Net {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"VNET", 1, |out| self.waiting.save(out));
    }

    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"VNET", 1)?;
        self.waiting = Field::load(&mut section)?;
        section.finish()
    }
}
