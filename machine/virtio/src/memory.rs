//! The guest's physical memory, as devices reach it.

use alloc::vec::Vec;

/// Not all of the addresses are RAM. Nothing was read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange;

/// Physical memory. Who implements `write` also tells the processor's caches of code about it: all that
/// devices write goes through it.
pub trait GuestMemory {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutOfRange>;
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), OutOfRange>;

    fn read_u16(&self, address: u64) -> Result<u16, OutOfRange> {
        let mut bytes = [0; 2];
        self.read(address, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn read_u32(&self, address: u64) -> Result<u32, OutOfRange> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn read_u64(&self, address: u64) -> Result<u64, OutOfRange> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn write_u16(&mut self, address: u64, value: u16) -> Result<(), OutOfRange> {
        self.write(address, &value.to_le_bytes())
    }

    fn write_u32(&mut self, address: u64, value: u32) -> Result<(), OutOfRange> {
        self.write(address, &value.to_le_bytes())
    }

    fn write_u64(&mut self, address: u64, value: u64) -> Result<(), OutOfRange> {
        self.write(address, &value.to_le_bytes())
    }
}

/// Memory from address 0 on, as tests have it.
impl GuestMemory for Vec<u8> {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutOfRange> {
        let start = usize::try_from(address).map_err(|_| OutOfRange)?;
        let end = start.checked_add(bytes.len()).ok_or(OutOfRange)?;
        bytes.copy_from_slice(self.get(start..end).ok_or(OutOfRange)?);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        let start = usize::try_from(address).map_err(|_| OutOfRange)?;
        let end = start.checked_add(bytes.len()).ok_or(OutOfRange)?;
        self.get_mut(start..end).ok_or(OutOfRange)?.copy_from_slice(bytes);
        Ok(())
    }
}
