//! The guest's physical memory, and loads and stores at linear addresses.

use crate::tlb::Entry;
use crate::{Access, Cpu, Step, Stop};

/// Physical addresses from here on are devices'. RAM ends below.
pub const DEVICES: u64 = 0xc000_0000;
pub const PAGE: u64 = 4096;

/// The guest's RAM: `size` bytes at a host address that never changes, which can become `limit`.
pub struct Ram {
    base: *mut u8,
    size: u64,
    limit: u64,
    /// Whether the host has so many bytes for it.
    more: fn(u64) -> bool,
}

impl Ram {
    /// # Safety
    /// `base` is the address of `size` bytes, aligned to pages, that live as long as this and that
    /// nobody else refers to. `size` is a multiple of the page size and at most [`DEVICES`].
    pub unsafe fn new(base: *mut u8, size: u64) -> Ram {
        assert!(base as u64 % PAGE == 0 && size % PAGE == 0 && size <= DEVICES);
        Ram { base, size, limit: size, more: |_| false }
    }

    /// With room to grow up to `limit`.
    ///
    /// # Safety
    /// As for `new`. Where `more` says that there are so many bytes, they are there as those, and zero.
    pub unsafe fn growing(base: *mut u8, size: u64, limit: u64, more: fn(u64) -> bool) -> Ram {
        assert!(size <= limit && limit <= DEVICES);
        Ram { limit, more, ..unsafe { Ram::new(base, size) } }
    }

    /// False where there cannot be so much.
    pub(crate) fn grow(&mut self, size: u64) -> bool {
        let can = size % PAGE == 0 && (self.size..=self.limit).contains(&size) && (self.more)(size);
        if can {
            self.size = size;
        }
        can
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn base(&self) -> *mut u8 {
        self.base
    }

    pub fn contains(&self, pa: u64, length: u64) -> bool {
        pa <= self.size && length <= self.size - pa
    }

    /// The bytes at a physical address, or None where that is not all RAM.
    pub fn bytes(&self, pa: u64, length: u64) -> Option<&[u8]> {
        self.contains(pa, length)
            .then(|| unsafe { core::slice::from_raw_parts(self.base.add(pa as usize), length as usize) })
    }

    /// As `bytes`. Whoever writes has to tell `Cpu::written` of it.
    pub fn bytes_mut(&mut self, pa: u64, length: u64) -> Option<&mut [u8]> {
        self.contains(pa, length)
            .then(|| unsafe { core::slice::from_raw_parts_mut(self.base.add(pa as usize), length as usize) })
    }

    /// Eight bytes of a page table. Outside RAM: all ones, as an empty bus gives.
    #[inline(always)]
    pub fn entry(&self, pa: u64) -> u64 {
        if self.contains(pa, 8) {
            unsafe { self.base.add(pa as usize).cast::<u64>().read_unaligned() }
        } else {
            u64::MAX
        }
    }

    #[inline(always)]
    pub fn set_entry(&mut self, pa: u64, value: u64) {
        if self.contains(pa, 8) {
            unsafe { self.base.add(pa as usize).cast::<u64>().write_unaligned(value) }
        }
    }
}

/// What is loaded and stored in one access.
pub trait Scalar: Copy + Default {
    const SIZE: u64 = core::mem::size_of::<Self>() as u64;
    fn from_u64(value: u64) -> Self;
    fn to_u64(self) -> u64;
}

macro_rules! scalars {
    ($($type:ty),*) => {$(
        impl Scalar for $type {
            #[inline(always)]
            fn from_u64(value: u64) -> Self { value as Self }
            #[inline(always)]
            fn to_u64(self) -> u64 { self as u64 }
        }
    )*};
}
scalars!(u8, u16, u32, u64);

impl Cpu {
    #[inline(always)]
    fn entry(&self, va: u64, access: Access) -> &Entry {
        unsafe { &*self.table }.entry(va, access)
    }

    /// The host address of a byte that the TLB has for an access.
    #[inline(always)]
    pub(crate) fn known(&self, va: u64, access: Access) -> Option<*mut u8> {
        let entry = self.entry(va, access);
        entry.hits(va, 1).then(|| entry.host(va))
    }

    #[inline(always)]
    pub fn load<T: Scalar>(&mut self, va: u64) -> Result<T, Stop> {
        let entry = self.entry(va, Access::Read);
        if entry.hits(va, T::SIZE) {
            let host = entry.host(va).cast::<T>();
            Ok(unsafe { host.read_unaligned() })
        } else {
            self.load_slow(va, T::SIZE).map(T::from_u64)
        }
    }

    #[inline(always)]
    pub fn store<T: Scalar>(&mut self, va: u64, value: T) -> Step {
        let entry = self.entry(va, Access::Write);
        if entry.hits(va, T::SIZE) {
            let host = entry.host(va).cast::<T>();
            unsafe { host.write_unaligned(value) };
            Ok(())
        } else {
            self.store_slow(va, value.to_u64(), T::SIZE)
        }
    }

    /// Makes sure that a store there will succeed, for instructions that read first.
    #[inline(always)]
    pub fn prepare_store<T: Scalar>(&mut self, va: u64) -> Step {
        if self.entry(va, Access::Write).hits(va, T::SIZE) {
            Ok(())
        } else {
            self.probe(va, T::SIZE, Access::Write)
        }
    }

    /// Translates an access that may reach into the next page, without doing it.
    #[cold]
    #[inline(never)]
    pub fn probe(&mut self, va: u64, size: u64, access: Access) -> Step {
        self.translate(va, access)?;
        let last = va.wrapping_add(size - 1);
        if (va ^ last) & !(PAGE - 1) != 0 {
            self.translate(last, access)?;
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    pub fn load_slow(&mut self, va: u64, size: u64) -> Result<u64, Stop> {
        let last = va.wrapping_add(size - 1);
        if (va ^ last) & !(PAGE - 1) == 0 {
            let pa = self.translate(va, Access::Read)?;
            return Ok(self.load_physical(pa, size));
        }
        let first_size = PAGE - (va & (PAGE - 1));
        let first = self.translate(va, Access::Read)?;
        let second = self.translate(last & !(PAGE - 1), Access::Read)?;
        let mut value = 0;
        for i in (0..size).rev() {
            let pa = if i < first_size { first + i } else { second + i - first_size };
            value = value << 8 | self.load_physical(pa, 1);
        }
        Ok(value)
    }

    #[cold]
    #[inline(never)]
    pub fn store_slow(&mut self, va: u64, value: u64, size: u64) -> Step {
        let last = va.wrapping_add(size - 1);
        if (va ^ last) & !(PAGE - 1) == 0 {
            let pa = self.translate(va, Access::Write)?;
            self.store_physical(pa, value, size);
            return Ok(());
        }
        let first_size = PAGE - (va & (PAGE - 1));
        let first = self.translate(va, Access::Write)?;
        let second = self.translate(last & !(PAGE - 1), Access::Write)?;
        for i in 0..size {
            let pa = if i < first_size { first + i } else { second + i - first_size };
            self.store_physical(pa, value >> (8 * i) & 0xff, 1);
        }
        Ok(())
    }

    /// Of one page: RAM, or a device's register.
    pub fn load_physical(&mut self, pa: u64, size: u64) -> u64 {
        match self.ram.bytes(pa, size) {
            Some(bytes) => {
                let mut value = [0; 8];
                value[..size as usize].copy_from_slice(bytes);
                u64::from_le_bytes(value)
            }
            None => self.device_read(pa, size as u8),
        }
    }

    pub fn store_physical(&mut self, pa: u64, value: u64, size: u64) {
        match self.ram.bytes_mut(pa, size) {
            Some(bytes) => {
                bytes.copy_from_slice(&value.to_le_bytes()[..size as usize]);
                self.written(pa, size);
            }
            None => self.device_write(pa, size as u8, value),
        }
    }

    /// 16 bytes, as two accesses of which both are possible before the first is done.
    pub fn load128(&mut self, va: u64) -> Result<[u64; 2], Stop> {
        let entry = self.entry(va, Access::Read);
        if entry.hits(va, 16) {
            let host = entry.host(va).cast::<[u64; 2]>();
            return Ok(unsafe { host.read_unaligned() });
        }
        self.probe(va, 16, Access::Read)?;
        Ok([self.load::<u64>(va)?, self.load::<u64>(va.wrapping_add(8))?])
    }

    pub fn store128(&mut self, va: u64, value: [u64; 2]) -> Step {
        let entry = self.entry(va, Access::Write);
        if entry.hits(va, 16) {
            let host = entry.host(va).cast::<[u64; 2]>();
            unsafe { host.write_unaligned(value) };
            return Ok(());
        }
        self.probe(va, 16, Access::Write)?;
        self.store::<u64>(va, value[0])?;
        self.store::<u64>(va.wrapping_add(8), value[1])
    }

    /// Many bytes, for FXSAVE and the like: all or none are read. (At most a page's length.)
    pub fn load_bytes(&mut self, va: u64, bytes: &mut [u8]) -> Step {
        let entry = self.entry(va, Access::Read);
        if entry.hits(va, bytes.len() as u64) {
            let host = entry.host(va).cast_const();
            unsafe { core::ptr::copy_nonoverlapping(host, bytes.as_mut_ptr(), bytes.len()) };
            return Ok(());
        }
        self.probe(va, bytes.len() as u64, Access::Read)?;
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = self.load::<u8>(va.wrapping_add(i as u64))?;
        }
        Ok(())
    }

    /// All or none are written. (At most a page's length.)
    pub fn store_bytes(&mut self, va: u64, bytes: &[u8]) -> Step {
        let entry = self.entry(va, Access::Write);
        if entry.hits(va, bytes.len() as u64) {
            let host = entry.host(va);
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), host, bytes.len()) };
            return Ok(());
        }
        self.probe(va, bytes.len() as u64, Access::Write)?;
        for (i, &byte) in bytes.iter().enumerate() {
            self.store::<u8>(va.wrapping_add(i as u64), byte)?;
        }
        Ok(())
    }
}
