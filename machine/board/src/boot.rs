//! How a kernel gets into memory, and the processor to its entry: Linux's 64-bit boot protocol
//! (Documentation/arch/x86/boot.rst), without firmware.

use alloc::vec::Vec;

use cpu::control::CR0_WP;
use cpu::memory::Ram;
use cpu::state::{RSI, RSP};
use cpu::Cpu;

use crate::room;

/// Where things are below 1 MiB, until the kernel has its own.
const GDT: u64 = 0x1000;
const BOOT_PARAMS: u64 = 0x2000;
const PML4: u64 = 0x3000;
const PDPT: u64 = 0x4000;
const STACK: u64 = 0x8000;
const SETUP_DATA: u64 = 0x9000;
const COMMAND_LINE: u64 = 0x1_0000;
const COMMAND_LINE_MAX: usize = 4096;
/// RAM ends here, below what a PC has its ROMs in.
const LOW_END: u64 = 0x9_fc00;
const HIGH: u64 = 0x10_0000;
const PAGE: u64 = 4096;

/// Why a kernel cannot be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootError {
    /// It is no ELF program for x86-64 with an entry point of its own.
    Kernel,
    /// Kernel, initramfs and what they need have no room in memory.
    Memory,
    /// The command line is longer than 4,095 bytes, or has a zero in it.
    CommandLine,
}

/// What is loaded.
pub struct Boot<'a> {
    /// An uncompressed `vmlinux`.
    pub kernel: &'a [u8],
    pub initramfs: &'a [u8],
    pub command_line: &'a [u8],
    /// Random bytes that nobody else can know, for the kernel's generator.
    pub seed: &'a [u8; 64],
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u16(&self, at: usize) -> Result<u16, BootError> {
        let bytes = self.0.get(at..at + 2).ok_or(BootError::Kernel)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u64(&self, at: usize) -> Result<u64, BootError> {
        let bytes = self.0.get(at..at + 8).ok_or(BootError::Kernel)?;
        Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| BootError::Kernel)?))
    }
}

fn put(ram: &mut Ram, address: u64, bytes: &[u8]) -> Result<(), BootError> {
    ram.bytes_mut(address, bytes.len() as u64).ok_or(BootError::Memory)?.copy_from_slice(bytes);
    Ok(())
}

/// Copies the loadable segments, and gives the entry point and the end of all.
fn load_elf(kernel: &[u8], ram: &mut Ram) -> Result<(u64, u64), BootError> {
    const LOAD: u32 = 1;
    const X86_64: u16 = 62;
    let fields = Fields(kernel);
    // 64-bit, little-endian.
    if !kernel.starts_with(b"\x7fELF\x02\x01") || fields.u16(18)? != X86_64 {
        return Err(BootError::Kernel);
    }
    let (entry, table) = (fields.u64(24)?, fields.u64(32)?);
    let (size, count) = (fields.u16(54)?, fields.u16(56)?);
    let mut end = 0;
    for index in 0..u64::from(count) {
        let at = table.checked_add(index * u64::from(size)).ok_or(BootError::Kernel)?;
        let at = usize::try_from(at).map_err(|_| BootError::Kernel)?;
        let header = Fields(kernel.get(at..).and_then(|rest| rest.get(..56)).ok_or(BootError::Kernel)?);
        if header.u64(0)? as u32 != LOAD {
            continue;
        }
        let (offset, physical) = (header.u64(8)?, header.u64(24)?);
        let (in_file, in_memory) = (header.u64(32)?, header.u64(40)?);
        let from = usize::try_from(offset).map_err(|_| BootError::Kernel)?;
        let length = usize::try_from(in_file).map_err(|_| BootError::Kernel)?;
        let bytes = kernel.get(from..).and_then(|rest| rest.get(..length)).ok_or(BootError::Kernel)?;
        if physical < HIGH || in_memory < in_file {
            return Err(BootError::Kernel);
        }
        if !ram.contains(physical, in_memory) {
            return Err(BootError::Memory);
        }
        put(ram, physical, bytes)?;
        end = end.max(physical + in_memory);
    }
    if end == 0 || !(HIGH..end).contains(&entry) {
        return Err(BootError::Kernel);
    }
    Ok((entry, end))
}

/// Loads a kernel into memory that is all zero, and sets the processor to its first instruction.
///
/// # Errors
/// The machine cannot be used after one.
pub fn load(cpu: &mut Cpu, boot: &Boot) -> Result<(), BootError> {
    if boot.command_line.len() >= COMMAND_LINE_MAX || boot.command_line.contains(&0) {
        return Err(BootError::CommandLine);
    }
    let ram = &mut cpu.ram;
    let size = ram.size();
    let (entry, kernel_end) = load_elf(boot.kernel, ram)?;
    // The initramfs is as high as can be, where the kernel does not grow into it.
    let length = boot.initramfs.len() as u64;
    let initramfs = size.checked_sub(length).ok_or(BootError::Memory)? & !(PAGE - 1);
    if initramfs < kernel_end {
        return Err(BootError::Memory);
    }
    put(ram, initramfs, boot.initramfs)?;
    put(ram, COMMAND_LINE, boot.command_line)?;
    put(ram, BOOT_PARAMS, &boot_params(room::end(size), initramfs, length, boot.command_line.len()))?;
    // struct setup_data of type SETUP_RNG_SEED
    let mut seed: Vec<u8> = [0u64.to_le_bytes(), (9 | 64u64 << 32).to_le_bytes()].concat();
    seed.extend_from_slice(boot.seed);
    put(ram, SETUP_DATA, &seed)?;
    // Descriptors of selectors 0x10 and 0x18: flat code and data.
    for (selector, descriptor) in [(0x10, 0x00af_9b00_0000_ffff_u64), (0x18, 0x00cf_9300_0000_ffff)] {
        put(ram, GDT + selector, &descriptor.to_le_bytes())?;
    }
    // The first 4 GiB are where they are, in pages of 1 GiB.
    put(ram, PML4, &(PDPT | 3).to_le_bytes())?;
    for index in 0..4u64 {
        put(ram, PDPT + 8 * index, &(index << 30 | 0x83).to_le_bytes())?;
    }
    cpu.gdtr.base = GDT;
    cpu.gdtr.limit = 0x1f;
    cpu.control.cr0 &= !CR0_WP;
    cpu.set_cr3(PML4);
    cpu.flush_tlb();
    cpu.state.gpr[RSI] = BOOT_PARAMS;
    cpu.state.gpr[RSP] = STACK;
    cpu.state.rip = entry;
    Ok(())
}

/// struct boot_params (arch/x86/include/uapi/asm/bootparam.h), of which only what is needed is set.
fn boot_params(ram: u64, initramfs: u64, initramfs_size: u64, command_line_size: usize) -> Vec<u8> {
    const RAM: u32 = 1;
    let mut params = alloc::vec![0; PAGE as usize];
    let mut set = |at: usize, bytes: &[u8]| params[at..at + bytes.len()].copy_from_slice(bytes);
    set(0x1fe, &0xaa55_u16.to_le_bytes());
    set(0x202, b"HdrS");
    set(0x206, &0x020f_u16.to_le_bytes());
    // A loader without a number of its own.
    set(0x210, &[0xff]);
    set(0x218, &(initramfs as u32).to_le_bytes());
    set(0x21c, &(initramfs_size as u32).to_le_bytes());
    set(0x228, &(COMMAND_LINE as u32).to_le_bytes());
    set(0x238, &(command_line_size as u32).to_le_bytes());
    set(0x250, &SETUP_DATA.to_le_bytes());
    let areas = [(0, LOW_END), (HIGH, ram - HIGH)];
    set(0x1e8, &[areas.len() as u8]);
    for (index, (address, size)) in areas.into_iter().enumerate() {
        let at = 0x2d0 + 20 * index;
        set(at, &address.to_le_bytes());
        set(at + 8, &size.to_le_bytes());
        set(at + 16, &RAM.to_le_bytes());
    }
    params
}
