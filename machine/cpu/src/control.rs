//! Control registers and model-specific registers.

use crate::exception::GENERAL_PROTECTION;
use crate::state::{Mode, Units};
use crate::{Cpu, Step, Stop};

pub const CR0_PE: u64 = 1 << 0;
pub const CR0_MP: u64 = 1 << 1;
pub const CR0_EM: u64 = 1 << 2;
pub const CR0_TS: u64 = 1 << 3;
pub const CR0_ET: u64 = 1 << 4;
pub const CR0_NE: u64 = 1 << 5;
pub const CR0_WP: u64 = 1 << 16;
pub const CR0_AM: u64 = 1 << 18;
pub const CR0_NW: u64 = 1 << 29;
pub const CR0_CD: u64 = 1 << 30;
pub const CR0_PG: u64 = 1 << 31;

pub const CR4_TSD: u64 = 1 << 2;
pub const CR4_PAE: u64 = 1 << 5;
pub const CR4_PGE: u64 = 1 << 7;
pub const CR4_OSFXSR: u64 = 1 << 9;
pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
pub const CR4_FSGSBASE: u64 = 1 << 16;
pub const CR4_PCIDE: u64 = 1 << 17;
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// VME, PVI, TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT, FSGSBASE, PCIDE, OSXSAVE.
pub const CR4_KNOWN: u64 = 0x7ff | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE;

/// Components of the registers that XSAVE saves, and that instructions may use.
pub const XCR0_X87: u64 = 1 << 0;
pub const XCR0_SSE: u64 = 1 << 1;
pub const XCR0_AVX: u64 = 1 << 2;
pub const XCR0_KNOWN: u64 = XCR0_X87 | XCR0_SSE | XCR0_AVX;

pub const EFER_SCE: u64 = 1 << 0;
pub const EFER_LME: u64 = 1 << 8;
pub const EFER_LMA: u64 = 1 << 10;
pub const EFER_NXE: u64 = 1 << 11;

/// Registers that only the system's software touches.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Control {
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub fmask: u64,
    pub kernel_gs_base: u64,
    pub tsc_aux: u64,
    /// Added to the host's time stamp counter.
    pub tsc_offset: u64,
    pub pat: u64,
    pub misc_enable: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub apic_base: u64,
    /// XCR0: see `XCR0_X87` and the others.
    pub xcr0: u64,
    pub dr: [u64; 8],
}

pub mod msr {
    pub const TSC: u32 = 0x10;
    pub const APIC_BASE: u32 = 0x1b;
    pub const FEATURE_CONTROL: u32 = 0x3a;
    pub const TSC_ADJUST: u32 = 0x3b;
    pub const BIOS_SIGN_ID: u32 = 0x8b;
    pub const MTRRCAP: u32 = 0xfe;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const MCG_CAP: u32 = 0x179;
    pub const MCG_STATUS: u32 = 0x17a;
    pub const MISC_ENABLE: u32 = 0x1a0;
    pub const PAT: u32 = 0x277;
    pub const TSC_DEADLINE: u32 = 0x6e0;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const FMASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
}

/// What PAT is after a reset.
pub const PAT_AT_RESET: u64 = 0x0007_0406_0007_0406;
/// MISC_ENABLE: fast strings.
const FAST_STRINGS: u64 = 1;

impl Control {
    /// Which units' instructions do not fault ([`Units`]).
    pub fn units(&self) -> u32 {
        let mut units = 0;
        if self.cr0 & (CR0_TS | CR0_EM) == 0 {
            units |= Units::X87;
            if self.cr4 & CR4_OSFXSR != 0 {
                units |= Units::SSE;
            }
            if self.cr4 & CR4_OSXSAVE != 0 && self.xcr0 & (XCR0_SSE | XCR0_AVX) == XCR0_SSE | XCR0_AVX {
                units |= Units::AVX;
            }
        }
        units
    }

    /// Of a processor that a boot loader has brought into 64-bit mode.
    pub fn long_mode() -> Control {
        Control {
            cr0: CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG,
            cr4: CR4_PAE,
            efer: EFER_LME | EFER_LMA,
            pat: PAT_AT_RESET,
            misc_enable: FAST_STRINGS,
            apic_base: 0xfee0_0000 | 1 << 11 | 1 << 8,
            xcr0: XCR0_X87,
            dr: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            ..Control::default()
        }
    }
}

impl Cpu {
    pub fn read_control(&mut self, number: u8) -> Result<u64, Stop> {
        Ok(match number {
            0 => self.control.cr0,
            2 => self.control.cr2,
            3 => self.control.cr3,
            4 => self.control.cr4,
            8 => self.bus.task_priority(),
            _ => return self.raise(crate::exception::INVALID_OPCODE, 0),
        })
    }

    pub fn write_control(&mut self, number: u8, value: u64) -> Step {
        match number {
            0 => {
                // The machine begins in long mode and stays there.
                let needed = CR0_PE | CR0_PG;
                let caches = value & (CR0_NW | CR0_CD) != CR0_NW;
                if value >> 32 != 0 || value & needed != needed || !caches {
                    return self.raise(GENERAL_PROTECTION, 0);
                }
                if (value ^ self.control.cr0) & CR0_WP != 0 {
                    self.flush_tlb();
                }
                self.control.cr0 = value | CR0_ET;
            }
            2 => self.control.cr2 = value,
            3 => {
                let flags = if self.control.cr4 & CR4_PCIDE != 0 { crate::paging::NO_FLUSH } else { 0 };
                if (value & !flags) >> crate::cpuid::PHYSICAL_BITS != 0 {
                    return self.raise(GENERAL_PROTECTION, 0);
                }
                self.set_cr3(value);
            }
            4 => {
                let begins_pcids = value & !self.control.cr4 & CR4_PCIDE != 0;
                if value & !CR4_KNOWN != 0
                    || value & CR4_PAE == 0
                    || (begins_pcids && self.control.cr3 & 0xfff != 0)
                {
                    return self.raise(GENERAL_PROTECTION, 0);
                }
                let changed = value ^ self.control.cr4;
                self.control.cr4 = value;
                if changed & Cpu::flushing_bits() != 0 {
                    self.flush_tlb();
                }
            }
            8 => {
                if value > 15 {
                    return self.raise(GENERAL_PROTECTION, 0);
                }
                self.bus.set_task_priority(value);
                self.interrupt_slice();
            }
            _ => return self.raise(crate::exception::INVALID_OPCODE, 0),
        }
        Ok(())
    }

    pub fn read_msr(&mut self, number: u32) -> Result<u64, Stop> {
        let c = &self.control;
        Ok(match number {
            msr::TSC => self.tsc(),
            msr::TSC_ADJUST => c.tsc_offset,
            msr::APIC_BASE => c.apic_base,
            msr::FEATURE_CONTROL => 1,
            msr::BIOS_SIGN_ID => 1 << 32,
            msr::MTRRCAP | msr::MCG_CAP | msr::MCG_STATUS => 0,
            msr::SYSENTER_CS => c.sysenter_cs,
            msr::SYSENTER_ESP => c.sysenter_esp,
            msr::SYSENTER_EIP => c.sysenter_eip,
            msr::MISC_ENABLE => c.misc_enable,
            msr::PAT => c.pat,
            msr::TSC_DEADLINE => match self.bus.tsc_deadline() {
                0 => 0,
                time => time.wrapping_add(c.tsc_offset),
            },
            msr::EFER => c.efer,
            msr::STAR => c.star,
            msr::LSTAR => c.lstar,
            msr::CSTAR => c.cstar,
            msr::FMASK => c.fmask,
            msr::FS_BASE => self.state.fs_base,
            msr::GS_BASE => self.state.gs_base,
            msr::KERNEL_GS_BASE => c.kernel_gs_base,
            msr::TSC_AUX => c.tsc_aux,
            _ => return self.raise(GENERAL_PROTECTION, 0),
        })
    }

    pub fn write_msr(&mut self, number: u32, value: u64) -> Step {
        let address = matches!(
            number,
            msr::LSTAR | msr::CSTAR | msr::FS_BASE | msr::GS_BASE | msr::KERNEL_GS_BASE
                | msr::SYSENTER_ESP | msr::SYSENTER_EIP
        );
        if address && !crate::paging::canonical(value) {
            return self.raise(GENERAL_PROTECTION, 0);
        }
        let c = &mut self.control;
        match number {
            msr::TSC => {
                let now = self.tsc();
                let offset = value.wrapping_sub(now);
                self.control.tsc_offset = self.control.tsc_offset.wrapping_add(offset);
            }
            msr::TSC_ADJUST => c.tsc_offset = value,
            msr::APIC_BASE => c.apic_base = value,
            msr::BIOS_SIGN_ID | msr::MCG_STATUS => {}
            msr::SYSENTER_CS => c.sysenter_cs = value,
            msr::SYSENTER_ESP => c.sysenter_esp = value,
            msr::SYSENTER_EIP => c.sysenter_eip = value,
            msr::MISC_ENABLE => c.misc_enable = value,
            // Each byte is a type of memory: UC, WC, WT, WP, WB or UC-.
            msr::PAT if !value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7)) => {
                return self.raise(GENERAL_PROTECTION, 0);
            }
            msr::PAT => c.pat = value,
            msr::TSC_DEADLINE => {
                // 0 disarms it, whatever the counter is.
                let time = if value == 0 { 0 } else { value.wrapping_sub(c.tsc_offset).max(1) };
                self.bus.set_tsc_deadline(time);
                self.interrupt_slice();
            }
            msr::EFER => {
                if value & !(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE) != 0 || value & EFER_LME == 0 {
                    return self.raise(GENERAL_PROTECTION, 0);
                }
                let changed = value ^ c.efer;
                c.efer = value | EFER_LMA;
                if changed & EFER_NXE != 0 {
                    self.flush_tlb();
                }
            }
            msr::STAR => c.star = value,
            msr::LSTAR => c.lstar = value,
            msr::CSTAR => c.cstar = value,
            msr::FMASK => c.fmask = value & 0xffff_ffff,
            msr::FS_BASE => self.state.fs_base = value,
            msr::GS_BASE => self.state.gs_base = value,
            msr::KERNEL_GS_BASE => c.kernel_gs_base = value,
            msr::TSC_AUX => c.tsc_aux = value & 0xffff_ffff,
            _ => return self.raise(GENERAL_PROTECTION, 0),
        }
        Ok(())
    }

    /// The time stamp counter.
    pub fn tsc(&mut self) -> u64 {
        let executed = self.executed();
        self.bus.tsc(executed).wrapping_add(self.control.tsc_offset)
    }

    pub fn privilege(&self) -> u8 {
        (self.segments[crate::segment::CS].selector & 3) as u8
    }

    pub fn long(&self) -> bool {
        self.state.mode & Mode::LONG != 0
    }
}
