//! A processor with some pages of code and data, in user mode.

use compiler::CodeSize;
use cpu::control::{CR4_OSFXSR, CR4_OSXSAVE, XCR0_KNOWN};
use cpu::memory::Ram;
use cpu::segment::{Segment, GS};
use cpu::{Bus, Cpu, Memory};

pub const RAM: usize = 0x40_0000;
const TABLES: u64 = 0x10_0000;
/// Physical addresses.
pub const CODE_AT: u64 = 0x20_0000;
pub const DATA_AT: u64 = 0x30_0000;
pub const CODE_SIZE: u64 = 0x4_0000;
pub const DATA_SIZE: u64 = 0x8_0000;

/// The linear addresses of code and data.
pub fn places(size: CodeSize) -> (u64, u64) {
    match size {
        // The code's last page is the last below 4 GiB.
        CodeSize::Bits32 => (0x1_0000_0000 - CODE_SIZE, 0xbfff_0000),
        CodeSize::Bits64 => (0x5555_0040_0000, 0x7fff_0000_0000),
    }
}

struct NoDevices;

impl Bus for NoDevices {
    fn read(&mut self, _: u64, _: u8) -> u64 {
        u64::MAX
    }
    fn write(&mut self, _: u64, _: u8, _: u64, _: &mut Memory) {}
    fn port_read(&mut self, _: u16, _: u8, _: &Memory) -> u32 {
        u32::MAX
    }
    fn port_write(&mut self, _: u16, _: u8, _: u32, _: &mut Memory) {}
    fn tsc(&mut self, executed: u64) -> u64 {
        executed
    }
    fn tsc_deadline(&mut self) -> u64 {
        0
    }
    fn set_tsc_deadline(&mut self, _: u64) {}
    fn task_priority(&mut self) -> u64 {
        0
    }
    fn set_task_priority(&mut self, _: u64) {}
    fn poll(&mut self, _: u64, _: &mut Memory) {}
    fn interrupt_pending(&mut self) -> bool {
        false
    }
    fn acknowledge_interrupt(&mut self) -> u8 {
        unreachable!()
    }
    fn reset_requested(&self) -> bool {
        false
    }
}

pub fn processor(code_size: CodeSize) -> Box<Cpu> {
    let layout = std::alloc::Layout::from_size_align(RAM, 4096).unwrap();
    let base = unsafe { std::alloc::alloc(layout) };
    unsafe { base.write_bytes(0, RAM) };
    let ram = unsafe { Ram::new(base, RAM as u64) };
    let mut cpu = Cpu::new(ram, Box::new(NoDevices));
    let user = 7;
    let mut next = TABLES + 0x1000;
    let (code, data) = places(code_size);
    for (va, pa, size) in [(code, CODE_AT, CODE_SIZE), (data, DATA_AT, DATA_SIZE)] {
        for page in 0..size / 0x1000 {
            let (va, pa) = (va + page * 0x1000, pa + page * 0x1000);
            let mut table = TABLES;
            for shift in [39, 30, 21] {
                let slot = table + (va >> shift & 0x1ff) * 8;
                if cpu.ram.entry(slot) == 0 {
                    cpu.ram.set_entry(slot, next | user);
                    next += 0x1000;
                }
                table = cpu.ram.entry(slot) & !0xfff;
            }
            cpu.ram.set_entry(table + (va >> 12 & 0x1ff) * 8, pa | user);
        }
    }
    cpu.write_control(3, TABLES).unwrap();
    cpu.write_control(4, cpu.control.cr4 | CR4_OSFXSR | CR4_OSXSAVE | 0x400).unwrap();
    cpu.control.xcr0 = XCR0_KNOWN;
    let access = if code_size == CodeSize::Bits32 { 0xc0fb } else { 0xa0fb };
    cpu.set_code_segment(Segment { access, ..Segment::flat_code(0x33) });
    // As threads' own data have it.
    cpu.set_segment(GS, Segment { base: data + 0x2000, ..Segment::flat_data(0x63) });
    cpu
}

/// Where the entry of a page's table is that is for this linear address.
fn slot(cpu: &Cpu, va: u64) -> u64 {
    let mut table = TABLES;
    for shift in [39, 30, 21] {
        table = cpu.ram.entry(table + (va >> shift & 0x1ff) * 8) & !0xfff;
    }
    table + (va >> 12 & 0x1ff) * 8
}

/// Gives pages of the data their rights, bits of page table entries; the first ones' are given.
pub fn set_rights(cpu: &mut Cpu, code_size: CodeSize, rights: &[u64]) {
    for (page, rights) in (0..).zip(rights) {
        let slot = slot(cpu, places(code_size).1 + page * 0x1000);
        cpu.ram.set_entry(slot, DATA_AT + page * 0x1000 | rights);
    }
    cpu.write_control(3, TABLES).unwrap();
}

/// Whether they were written to, a bit for each.
pub fn dirty(cpu: &Cpu, code_size: CodeSize, pages: u64) -> u64 {
    (0..pages)
        .filter(|page| cpu.ram.entry(slot(cpu, places(code_size).1 + page * 0x1000)) & 0x40 != 0)
        .fold(0, |bits, page| bits | 1 << page)
}

pub fn load(cpu: &mut Cpu, at: u64, bytes: &[u8]) {
    cpu.ram.bytes_mut(at, bytes.len() as u64).unwrap().copy_from_slice(bytes);
    cpu.written(at, bytes.len() as u64);
}
