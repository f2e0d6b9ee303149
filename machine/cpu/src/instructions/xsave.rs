//! XSAVE and its like: the registers in memory, by components (SDM volume 1, chapter 13).
//!
//! There are three components: x87, SSE and AVX. The compacted format has them at the same places as the standard
//! one, since AVX is the only one behind the legacy region.

use iced_x86::{Instruction, Mnemonic};
use simd::Xmm;

use crate::control::{CR0_TS, CR4_OSXSAVE, XCR0_AVX, XCR0_KNOWN, XCR0_SSE, XCR0_X87};
use crate::decode::{Handler, Op};
use crate::exception::{DEVICE_NOT_AVAILABLE, GENERAL_PROTECTION, INVALID_OPCODE};
use crate::fxstate::MXCSR_MASK;
use crate::state::{RAX, RCX, RDX};
use crate::{Access, Cpu, Step, Stop};

/// Where things are in the area.
pub mod area {
    /// x87 registers, and before them control words, which end at MXCSR.
    pub const X87: usize = 0;
    pub const MXCSR: usize = 24;
    pub const X87_REGISTERS: usize = 32;
    pub const XMM: usize = 160;
    pub const HEADER: usize = 512;
    pub const AVX: usize = 576;
    pub const SIZE: usize = 832;
}

/// Of XCOMP_BV: the format is the compacted one.
const COMPACTED: u64 = 1 << 63;
/// MXCSR after a reset.
const MXCSR_INITIAL: u32 = 0x1f80;

/// How the instructions that save differ.
mod how {
    pub const XSAVE: u8 = 0;
    /// Components in their initial state need not be written.
    pub const XSAVEOPT: u8 = 1;
    /// The compacted format.
    pub const XSAVEC: u8 = 2;
}

impl Cpu {
    fn check_xsave(&mut self, va: u64) -> Step {
        if self.control.cr4 & CR4_OSXSAVE == 0 {
            return self.raise(INVALID_OPCODE, 0);
        }
        if self.control.cr0 & CR0_TS != 0 {
            return self.raise(DEVICE_NOT_AVAILABLE, 0);
        }
        if va % 64 != 0 {
            return self.raise(GENERAL_PROTECTION, 0);
        }
        Ok(())
    }

    /// The components that EDX:EAX asks for, of those that are enabled.
    fn requested_components(&self) -> u64 {
        let asked = self.state.gpr[RDX] << 32 | self.state.gpr[RAX] & 0xffff_ffff;
        asked & self.control.xcr0
    }

    /// Components that are not in their initial state (XINUSE).
    fn components_in_use(&self) -> u64 {
        let any = |registers: &[Xmm]| registers.iter().any(|x| *x != Xmm::ZERO);
        let mut used = XCR0_X87;
        if any(&self.state.xmm) {
            used |= XCR0_SSE;
        }
        if any(&self.state.ymm_high) {
            used |= XCR0_AVX;
        }
        used
    }

    /// How many vector registers this mode saves.
    fn saved_registers(&self) -> usize {
        if self.long() { 16 } else { 8 }
    }
}

/// Vector registers as bytes, and back.
fn to_bytes(registers: &[Xmm; 16]) -> [u8; 256] {
    let mut bytes = [0; 256];
    for (chunk, register) in bytes.chunks_exact_mut(16).zip(registers) {
        chunk.copy_from_slice(&register.u8x16());
    }
    bytes
}

fn from_bytes(bytes: &[u8; 256], registers: &mut [Xmm]) {
    for (register, chunk) in registers.iter_mut().zip(bytes.as_chunks::<16>().0) {
        *register = Xmm::from_u8x16(*chunk);
    }
}

fn save<const HOW: u8, const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    cpu.check_xsave(va)?;
    let at = |offset: usize| va.wrapping_add(offset as u64);
    let requested = cpu.requested_components();
    let mut used = cpu.components_in_use();
    if HOW == how::XSAVEC && cpu.state.mxcsr != MXCSR_INITIAL {
        used |= XCR0_SSE;
    }
    let size = if requested & XCR0_AVX != 0 { area::SIZE } else { area::AVX };
    cpu.probe(va, size as u64, Access::Write)?;
    let written = if HOW == how::XSAVE { requested } else { requested & used };
    let mut header = [0; 8];
    cpu.load_bytes(at(area::HEADER), &mut header)?;
    let present = requested & used;
    let image = cpu.save_fx(WIDE);
    let xmm_end = area::XMM + 16 * cpu.saved_registers();
    let with_mxcsr = match HOW {
        how::XSAVEC => written & XCR0_SSE != 0,
        _ => requested & (XCR0_SSE | XCR0_AVX) != 0,
    };
    if written & XCR0_X87 != 0 && with_mxcsr && written & XCR0_SSE != 0 {
        cpu.store_bytes(va, &image[..xmm_end])?;
    } else {
        if written & XCR0_X87 != 0 {
            cpu.store_bytes(va, &image[area::X87..area::MXCSR])?;
            cpu.store_bytes(at(area::X87_REGISTERS), &image[area::X87_REGISTERS..area::XMM])?;
        }
        if with_mxcsr {
            cpu.store_bytes(at(area::MXCSR), &image[area::MXCSR..area::X87_REGISTERS])?;
        }
        if written & XCR0_SSE != 0 {
            cpu.store_bytes(at(area::XMM), &image[area::XMM..xmm_end])?;
        }
    }
    if written & XCR0_AVX != 0 {
        let high = to_bytes(&cpu.state.ymm_high);
        cpu.store_bytes(at(area::AVX), &high[..16 * cpu.saved_registers()])?;
    }
    if HOW == how::XSAVEC {
        cpu.store::<u64>(at(area::HEADER), present)?;
        cpu.store::<u64>(at(area::HEADER + 8), requested | COMPACTED)
    } else {
        cpu.store::<u64>(at(area::HEADER), u64::from_le_bytes(header) & !requested | present)
    }
}

fn restore<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    cpu.check_xsave(va)?;
    let at = |offset: usize| va.wrapping_add(offset as u64);
    let requested = cpu.requested_components();
    let mut header = [0; 64];
    cpu.load_bytes(at(area::HEADER), &mut header)?;
    let word = |i: usize| u64::from_le_bytes(header[8 * i..8 * i + 8].try_into().expect("eight bytes"));
    let (present, format) = (word(0), word(1));
    let compacted = format & COMPACTED != 0;
    let invalid = if compacted {
        let has = format & !COMPACTED;
        has & !cpu.control.xcr0 != 0 || present & !has != 0 || header[16..].iter().any(|&byte| byte != 0)
    } else {
        present & !cpu.control.xcr0 != 0 || header[8..24].iter().any(|&byte| byte != 0)
    };
    if invalid {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let loaded = requested & present;
    // All that may fault is read before anything changes.
    let mut image = cpu.save_fx(WIDE);
    let mut initial = [0; 512];
    x87::Fpu::new().fxsave(&mut initial, WIDE);
    let xmm_end = area::XMM + 16 * cpu.saved_registers();
    let with_mxcsr = if compacted {
        loaded & XCR0_SSE != 0
    } else {
        requested & (XCR0_SSE | XCR0_AVX) != 0
    };
    if loaded & XCR0_X87 != 0 {
        cpu.load_bytes(va, &mut image[area::X87..area::MXCSR])?;
        cpu.load_bytes(at(area::X87_REGISTERS), &mut image[area::X87_REGISTERS..area::XMM])?;
    } else if requested & XCR0_X87 != 0 {
        image[area::X87..area::MXCSR].copy_from_slice(&initial[area::X87..area::MXCSR]);
        image[area::X87_REGISTERS..area::XMM].copy_from_slice(&initial[area::X87_REGISTERS..area::XMM]);
    }
    if with_mxcsr {
        let mut mxcsr = [0; 4];
        cpu.load_bytes(at(area::MXCSR), &mut mxcsr)?;
        if u32::from_le_bytes(mxcsr) & !MXCSR_MASK != 0 {
            return cpu.raise(GENERAL_PROTECTION, 0);
        }
        image[area::MXCSR..area::MXCSR + 4].copy_from_slice(&mxcsr);
    } else if requested & XCR0_SSE != 0 {
        image[area::MXCSR..area::MXCSR + 4].copy_from_slice(&MXCSR_INITIAL.to_le_bytes());
    }
    if loaded & XCR0_SSE != 0 {
        cpu.load_bytes(at(area::XMM), &mut image[area::XMM..xmm_end])?;
    } else if requested & XCR0_SSE != 0 {
        image[area::XMM..xmm_end].fill(0);
    }
    let registers = cpu.saved_registers();
    let mut high = [0; 256];
    if loaded & XCR0_AVX != 0 {
        cpu.load_bytes(at(area::AVX), &mut high[..16 * registers])?;
    }
    if requested & XCR0_AVX != 0 {
        from_bytes(&high, &mut cpu.state.ymm_high[..registers]);
    }
    cpu.load_fx(&image, WIDE);
    // Compiled code takes MXCSR for granted.
    Err(Stop::Leave)
}

/// XGETBV: what is enabled (0), or of that what is in use (1).
fn read_extended(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.control.cr4 & CR4_OSXSAVE == 0 {
        return cpu.raise(INVALID_OPCODE, 0);
    }
    let value = match cpu.state.gpr[RCX] as u32 {
        0 => cpu.control.xcr0,
        1 => cpu.control.xcr0 & cpu.components_in_use(),
        _ => return cpu.raise(GENERAL_PROTECTION, 0),
    };
    cpu.state.gpr[RAX] = value & 0xffff_ffff;
    cpu.state.gpr[RDX] = value >> 32;
    Ok(())
}

/// XSETBV.
fn write_extended(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.control.cr4 & CR4_OSXSAVE == 0 {
        return cpu.raise(INVALID_OPCODE, 0);
    }
    let value = cpu.state.gpr[RDX] << 32 | cpu.state.gpr[RAX] & 0xffff_ffff;
    let valid = value & !XCR0_KNOWN == 0
        && value & XCR0_X87 != 0
        && (value & XCR0_AVX == 0 || value & XCR0_SSE != 0);
    if cpu.privilege() != 0 || cpu.state.gpr[RCX] as u32 != 0 || !valid {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.control.xcr0 = value;
    Err(Stop::Leave)
}

pub fn select(instruction: &Instruction) -> Option<Handler> {
    Some(match instruction.mnemonic() {
        Mnemonic::Xsave => save::<{ how::XSAVE }, false>,
        Mnemonic::Xsave64 => save::<{ how::XSAVE }, true>,
        Mnemonic::Xsaveopt => save::<{ how::XSAVEOPT }, false>,
        Mnemonic::Xsaveopt64 => save::<{ how::XSAVEOPT }, true>,
        Mnemonic::Xsavec => save::<{ how::XSAVEC }, false>,
        Mnemonic::Xsavec64 => save::<{ how::XSAVEC }, true>,
        Mnemonic::Xrstor => restore::<false>,
        Mnemonic::Xrstor64 => restore::<true>,
        Mnemonic::Xgetbv => read_extended,
        Mnemonic::Xsetbv => write_extended,
        _ => return None,
    })
}
