//! Split virtqueues (Virtio 2.7), from the device's side.

use alloc::vec::Vec;
use core::fmt;

use crate::memory::{GuestMemory, OutOfRange};
use crate::state::{save_section, Field, Reader, State, StateError};

/// The most descriptors of a chain, with those of an indirect table. (Linux makes at most 130.)
pub const MAX_CHAIN: usize = 1024;

const DESCRIPTOR_SIZE: u64 = 16;
const DESCRIPTOR_NEXT: u16 = 1;
const DESCRIPTOR_WRITE: u16 = 2;
const DESCRIPTOR_INDIRECT: u16 = 4;
const AVAILABLE_NO_INTERRUPT: u16 = 1;

/// What a driver did wrong. The device needs to be reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A queue or a buffer is not all in RAM.
    OutOfRange,
    /// A queue was enabled with a size or an alignment that it cannot have.
    QueueSetup,
    /// The driver has made more buffers available than there are descriptors.
    AvailableIndex,
    /// The index of a descriptor is beyond its table.
    DescriptorIndex,
    /// A chain that is a loop or too long.
    Chain,
    /// An indirect table within another one, with a successor, or with a length it cannot have.
    Indirect,
    /// A buffer to read behind one to write.
    Order,
    /// The buffers of a chain have more than 4 GiB together.
    Length,
    /// More buffers than all queues hold, while the driver does not run: they lie over each other.
    Endless,
    /// A request that the device's own section of the specification does not allow.
    Request(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let text = match self {
            Fault::OutOfRange => "a queue or a buffer that is not all in memory",
            Fault::QueueSetup => "a queue with a size or an alignment that it cannot have",
            Fault::AvailableIndex => "more buffers than there are descriptors",
            Fault::DescriptorIndex => "a descriptor that is not in its table",
            Fault::Chain => "a chain of descriptors that is a loop or too long",
            Fault::Indirect => "a table of descriptors where there can be none",
            Fault::Order => "a buffer to read behind one to write",
            Fault::Length => "buffers of more than 4 GiB",
            Fault::Endless => "queues that lie over each other",
            Fault::Request(text) => text,
        };
        formatter.write_str(text)
    }
}

impl From<OutOfRange> for Fault {
    fn from(_: OutOfRange) -> Fault {
        Fault::OutOfRange
    }
}

/// A part of a chain: the bytes of several stretches of memory, one after the other.
#[derive(Clone, Default, Debug)]
pub struct Buffers {
    spans: Vec<(u64, u32)>,
    length: u32,
}

impl Buffers {
    pub fn len(&self) -> usize {
        self.length as usize
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn add(&mut self, address: u64, length: u32) -> Result<(), Fault> {
        address.checked_add(u64::from(length)).ok_or(Fault::OutOfRange)?;
        self.length = self.length.checked_add(length).ok_or(Fault::Length)?;
        if length > 0 {
            self.spans.push((address, length));
        }
        Ok(())
    }

    /// Calls with address and length of each stretch of `length` bytes from `offset` on, as far as there
    /// are any, and gives their number.
    fn each(
        &self,
        offset: usize,
        length: usize,
        mut act: impl FnMut(u64, core::ops::Range<usize>) -> Result<(), OutOfRange>,
    ) -> Result<usize, Fault> {
        let (mut skip, mut done) = (offset, 0);
        for &(address, span) in &self.spans {
            let span = span as usize;
            if done == length {
                break;
            }
            if skip >= span {
                skip -= span;
                continue;
            }
            let part = (span - skip).min(length - done);
            act(address + skip as u64, done..done + part)?;
            done += part;
            skip = 0;
        }
        Ok(done)
    }

    /// Reads from `offset` on, and gives how many bytes there were.
    pub fn read(&self, memory: &dyn GuestMemory, offset: usize, bytes: &mut [u8]) -> Result<usize, Fault> {
        self.each(offset, bytes.len(), |address, range| memory.read(address, &mut bytes[range]))
    }

    /// Reads `length` bytes from `offset` on, or those that there are.
    pub fn to_vec(&self, memory: &dyn GuestMemory, offset: usize, length: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = alloc::vec![0; length.min(self.len().saturating_sub(offset))];
        self.read(memory, offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes from `offset` on, and gives how many bytes had room.
    pub fn write(&self, memory: &mut dyn GuestMemory, offset: usize, bytes: &[u8]) -> Result<usize, Fault> {
        self.each(offset, bytes.len(), |address, range| memory.write(address, &bytes[range]))
    }
}

/// What the driver has made available at once: first what the device reads, then what it writes.
#[derive(Clone, Default, Debug)]
pub struct Chain {
    pub head: u16,
    pub readable: Buffers,
    pub writable: Buffers,
}

/// One virtqueue.
#[derive(Clone, Debug)]
pub struct Queue {
    max_size: u16,
    pub(crate) size: u16,
    pub(crate) ready: bool,
    pub(crate) descriptors: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
    /// Whether VIRTIO_F_EVENT_IDX was negotiated.
    pub(crate) event_index: bool,
    next_available: u16,
    next_used: u16,
    /// `next_used` when it was last considered whether the driver is to be interrupted.
    considered: u16,
}

impl Queue {
    /// `max_size` is a power of 2.
    pub fn new(max_size: u16) -> Queue {
        Queue {
            max_size,
            size: max_size,
            ready: false,
            descriptors: 0,
            available: 0,
            used: 0,
            event_index: false,
            next_available: 0,
            next_used: 0,
            considered: 0,
        }
    }

    pub fn max_size(&self) -> u16 {
        self.max_size
    }

    /// Makes it usable, at the addresses that were set (Virtio 2.7 has the alignments).
    pub(crate) fn enable(&mut self) -> Result<(), Fault> {
        self.check()?;
        self.ready = true;
        Ok(())
    }

    fn check(&self) -> Result<(), Fault> {
        let size = u64::from(self.size);
        if !self.size.is_power_of_two() || self.size > self.max_size {
            return Err(Fault::QueueSetup);
        }
        for (address, alignment, length) in [
            (self.descriptors, 16, DESCRIPTOR_SIZE * size),
            (self.available, 2, 6 + 2 * size),
            (self.used, 4, 6 + 8 * size),
        ] {
            if address % alignment != 0 || address.checked_add(length).is_none() {
                return Err(Fault::QueueSetup);
            }
        }
        Ok(())
    }

    fn slot(&self, index: u16) -> u64 {
        u64::from(index & (self.size - 1))
    }

    /// Whether the driver has made buffers available that were not taken.
    pub fn has_available(&self, memory: &dyn GuestMemory) -> Result<bool, Fault> {
        Ok(self.ready && memory.read_u16(self.available + 2)? != self.next_available)
    }

    /// Takes the next chain. When there is none, the driver is asked to notify of the next one.
    pub fn pop(&mut self, memory: &mut dyn GuestMemory) -> Result<Option<Chain>, Fault> {
        if !self.ready {
            return Ok(None);
        }
        let waiting = memory.read_u16(self.available + 2)?.wrapping_sub(self.next_available);
        if waiting == 0 {
            if self.event_index {
                // avail_event, behind the ring of used elements
                memory.write_u16(self.used + 4 + 8 * u64::from(self.size), self.next_available)?;
            }
            return Ok(None);
        }
        if waiting > self.size {
            return Err(Fault::AvailableIndex);
        }
        let head = memory.read_u16(self.available + 4 + 2 * self.slot(self.next_available))?;
        let chain = self.chain(head, memory)?;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(Some(chain))
    }

    /// Puts back the chain that was taken last and not returned.
    pub fn unpop(&mut self) {
        self.next_available = self.next_available.wrapping_sub(1);
    }

    /// The chain from this descriptor on.
    pub fn chain(&self, head: u16, memory: &dyn GuestMemory) -> Result<Chain, Fault> {
        if !self.ready {
            return Err(Fault::QueueSetup);
        }
        let mut chain = Chain { head, ..Chain::default() };
        let (mut table, mut count, mut index) = (self.descriptors, u32::from(self.size), u32::from(head));
        let mut indirect = false;
        for _ in 0..MAX_CHAIN {
            if index >= count {
                return Err(Fault::DescriptorIndex);
            }
            let mut bytes = [0; DESCRIPTOR_SIZE as usize];
            memory.read(table + DESCRIPTOR_SIZE * u64::from(index), &mut bytes)?;
            let bits = u128::from_le_bytes(bytes);
            let (address, length, flags, next) =
                (bits as u64, (bits >> 64) as u32, (bits >> 96) as u16, (bits >> 112) as u16);
            if flags & DESCRIPTOR_INDIRECT != 0 {
                let whole = length > 0 && length % DESCRIPTOR_SIZE as u32 == 0;
                if indirect || flags & DESCRIPTOR_NEXT != 0 || !whole {
                    return Err(Fault::Indirect);
                }
                address.checked_add(u64::from(length)).ok_or(Fault::OutOfRange)?;
                (table, count, index) = (address, length / DESCRIPTOR_SIZE as u32, 0);
                indirect = true;
                continue;
            }
            if flags & DESCRIPTOR_WRITE != 0 {
                chain.writable.add(address, length)?;
            } else if chain.writable.is_empty() {
                chain.readable.add(address, length)?;
            } else {
                return Err(Fault::Order);
            }
            if flags & DESCRIPTOR_NEXT == 0 {
                return Ok(chain);
            }
            index = u32::from(next);
        }
        Err(Fault::Chain)
    }

    /// Gives a chain back to the driver, of which `written` bytes were written.
    pub fn push(&mut self, memory: &mut dyn GuestMemory, head: u16, written: u32) -> Result<(), Fault> {
        if !self.ready {
            return Ok(());
        }
        let element = self.used + 4 + 8 * self.slot(self.next_used);
        memory.write_u32(element, u32::from(head))?;
        memory.write_u32(element + 4, written)?;
        self.next_used = self.next_used.wrapping_add(1);
        memory.write_u16(self.used + 2, self.next_used)?;
        Ok(())
    }

    /// Whether the driver wants to be interrupted for what was given back since this was last called
    /// (Virtio 2.7.7).
    pub(crate) fn take_interrupt(&mut self, memory: &dyn GuestMemory) -> Result<bool, Fault> {
        let news = self.next_used.wrapping_sub(self.considered);
        if !self.ready || news == 0 {
            return Ok(false);
        }
        self.considered = self.next_used;
        if self.event_index {
            // used_event, behind the ring of available heads
            let event = memory.read_u16(self.available + 4 + 2 * u64::from(self.size))?;
            Ok(self.next_used.wrapping_sub(event).wrapping_sub(1) < news)
        } else {
            Ok(memory.read_u16(self.available)? & AVAILABLE_NO_INTERRUPT == 0)
        }
    }
}

impl State for Queue {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"VQUE", 1, |out| {
            self.size.save(out);
            self.ready.save(out);
            [self.descriptors, self.available, self.used].save(out);
            self.event_index.save(out);
            [self.next_available, self.next_used, self.considered].save(out);
        });
    }

    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"VQUE", 1)?;
        let mut queue = Queue::new(self.max_size);
        queue.size = Field::load(&mut section)?;
        queue.ready = Field::load(&mut section)?;
        [queue.descriptors, queue.available, queue.used] = Field::load(&mut section)?;
        queue.event_index = Field::load(&mut section)?;
        [queue.next_available, queue.next_used, queue.considered] = Field::load(&mut section)?;
        section.finish()?;
        if queue.ready && queue.check().is_err() {
            return Err(StateError::Value("a queue's size or address"));
        }
        *self = queue;
        Ok(())
    }
}
