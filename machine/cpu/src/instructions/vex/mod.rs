//! AVX, AVX2, FMA and F16C: instructions with a VEX prefix that have vector registers.
//!
//! A 256-bit register is an XMM register and `State::ymm_high`. What writes 128 bits or less zeroes the upper half,
//! which no other instruction touches. Memory operands need not be aligned but for the few moves whose names say so.
//!
//! Operands are in other places than SSE's: `Op::a` is the destination, `Op::b` the first source and `Op::c` the last
//! one, which may be in memory; of instructions with one source it is both. `Op::code` says more: see [`layout`].

mod masked;
mod moves;
mod packed;
mod permute;

use iced_x86::{EncodingKind, Instruction, Mnemonic, OpKind};
use simd::{Xmm, Ymm};

use super::vector::{self, attach, attached};
use super::{is_memory, is_register};
use crate::control::{CR0_TS, CR4_OSXSAVE, XCR0_AVX, XCR0_SSE};
use crate::decode::{number, Handler, Op};
use crate::exception::{DEVICE_NOT_AVAILABLE, INVALID_OPCODE};
use crate::{Access, Cpu, Step, Stop};

/// What `Op::code` holds.
mod layout {
    /// Bytes of the last operand in memory; 0: it is a register.
    pub const SIZE: u16 = 0xff;
    /// Both halves are computed (VEX.L).
    pub const WIDE: u16 = 1 << 8;
    /// By how much the immediate operand is shifted for the upper half.
    pub const UPPER_SHIFT: u32 = 9;
}

/// The bytes of a 256-bit register.
const BYTES: u64 = 32;

impl Cpu {
    /// #UD and #NM of instructions with a VEX prefix (SDM volume 2, section 2.5).
    #[inline(always)]
    fn check_avx(&mut self) -> Step {
        let enabled = self.control.xcr0 & (XCR0_SSE | XCR0_AVX) == XCR0_SSE | XCR0_AVX;
        if !enabled || self.control.cr4 & CR4_OSXSAVE == 0 || self.control.cr0 & CR0_TS != 0 {
            return self.avx_not_available(enabled);
        }
        Ok(())
    }

    #[cold]
    fn avx_not_available(&mut self, enabled: bool) -> Step {
        let undefined = !enabled || self.control.cr4 & CR4_OSXSAVE == 0;
        self.raise(if undefined { INVALID_OPCODE } else { DEVICE_NOT_AVAILABLE }, 0)
    }

    fn ymm(&self, register: u8) -> Ymm {
        let register = register as usize & 15;
        Ymm([self.state.xmm[register], self.state.ymm_high[register]])
    }

    fn set_ymm(&mut self, register: u8, value: Ymm) {
        let register = register as usize & 15;
        [self.state.xmm[register], self.state.ymm_high[register]] = value.0;
    }

    /// The rest becomes zero.
    fn set_xmm(&mut self, register: u8, value: Xmm) {
        self.set_ymm(register, Ymm([value, Xmm::ZERO]));
    }

    fn load256(&mut self, va: u64) -> Result<Ymm, Stop> {
        let low = self.load128(va)?;
        Ok(Ymm([Xmm(low), Xmm(self.load128(va.wrapping_add(16))?)]))
    }

    fn store256(&mut self, va: u64, value: Ymm) -> Step {
        // All or nothing is written.
        self.probe(va, BYTES, Access::Write)?;
        self.store128(va, value.0[0].0)?;
        self.store128(va.wrapping_add(16), value.0[1].0)
    }
}

fn wide(op: &Op) -> bool {
    op.code & layout::WIDE != 0
}

/// The immediate operand, for the lower and for the upper half.
fn immediates(op: &Op) -> [u8; 2] {
    let immediate = op.immediate as u8;
    [immediate, immediate >> (op.code >> layout::UPPER_SHIFT)]
}

/// The last operand, zero above what memory gives.
fn source(cpu: &mut Cpu, op: &Op) -> Result<Ymm, Stop> {
    let size = op.code & layout::SIZE;
    if size == 0 {
        return Ok(cpu.ymm(op.c));
    }
    let va = cpu.address(op);
    let low = |value: u64| Ymm([Xmm([value, 0]), Xmm::ZERO]);
    Ok(match size {
        1 => low(u64::from(cpu.load::<u8>(va)?)),
        2 => low(u64::from(cpu.load::<u16>(va)?)),
        4 => low(u64::from(cpu.load::<u32>(va)?)),
        8 => low(cpu.load::<u64>(va)?),
        16 => Ymm([Xmm(cpu.load128(va)?), Xmm::ZERO]),
        _ => cpu.load256(va)?,
    })
}

/// Computes each half that is wanted; the other one is zero.
fn by_halves(op: &Op, mut half: impl FnMut(usize) -> Xmm) -> Ymm {
    let low = half(0);
    Ymm([low, if wide(op) { half(1) } else { Xmm::ZERO }])
}

/// What the attached handler of SSE does, with AVX's checks.
fn as_legacy(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let handler: Handler = unsafe { attached(op) };
    handler(cpu, op)
}

/// As `as_legacy`, where the destination is a vector register.
fn as_legacy_to_vector(cpu: &mut Cpu, op: &Op) -> Step {
    as_legacy(cpu, op)?;
    cpu.state.ymm_high[op.a as usize & 15] = Xmm::ZERO;
    Ok(())
}

/// As `as_legacy`, where XMM0 is the destination.
fn as_legacy_to_xmm0(cpu: &mut Cpu, op: &Op) -> Step {
    as_legacy(cpu, op)?;
    cpu.state.ymm_high[0] = Xmm::ZERO;
    Ok(())
}

/// What is as with SSE: instructions of at most 128 bits with two operands, and an immediate one.
fn select_legacy(instruction: &Instruction, mnemonic: Mnemonic, op: &mut Op) -> Option<Handler> {
    let handler = vector::moves::select(instruction, mnemonic)
        .or_else(|| vector::convert::select(instruction, mnemonic))
        .or_else(|| vector::packed::select_string(instruction, mnemonic))
        .or_else(|| vector::state::select(mnemonic))?;
    attach(op, handler as usize);
    Some(match mnemonic {
        Mnemonic::Pcmpistrm | Mnemonic::Pcmpestrm | Mnemonic::Pcmpestrm64 => as_legacy_to_xmm0,
        // Nothing of what compares or moves a mask has one as its destination.
        Mnemonic::Pcmpistri | Mnemonic::Pcmpestri | Mnemonic::Pcmpestri64 | Mnemonic::Maskmovdqu => as_legacy,
        _ if is_register(instruction, 0) && instruction.op_register(0).is_vector_register() => as_legacy_to_vector,
        _ => as_legacy,
    })
}

/// Those of BMI are not.
fn is_vector(instruction: &Instruction) -> bool {
    let mnemonic = instruction.mnemonic();
    let register = |i| is_register(instruction, i) && instruction.op_register(i).is_vector_register();
    matches!(mnemonic, Mnemonic::Vzeroupper | Mnemonic::Vzeroall)
        || simd::table::legacy(mnemonic).is_some()
        || (0..instruction.op_count()).any(register)
}

pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    if instruction.code().encoding() != EncodingKind::VEX || !is_vector(instruction) {
        return None;
    }
    let legacy = simd::table::legacy(instruction.mnemonic());
    let ymm = |i| is_register(instruction, i) && instruction.op_register(i).is_ymm();
    // What makes 128 bits of 256 in memory has no register of these.
    let wide = (0..instruction.op_count()).any(ymm) || instruction.memory_size().size() == BYTES as usize;
    let operands =
        (0..instruction.op_count()).filter(|&i| instruction.op_kind(i) != OpKind::Immediate8).count() as u32;
    // VMASKMOVDQU's third one is in memory.
    if !wide && (operands <= 2 || legacy == Some(Mnemonic::Maskmovdqu)) {
        if let Some(handler) = legacy.and_then(|mnemonic| select_legacy(instruction, mnemonic, op)) {
            return Some(handler);
        }
    }
    let last = operands.saturating_sub(1).min(2);
    let size = if operands > 0 && is_memory(instruction, last) { instruction.memory_size().size() } else { 0 };
    op.code = size as u16 | if wide { layout::WIDE } else { 0 };
    op.code |= u16::from(simd::table::upper_shift(instruction.mnemonic())) << layout::UPPER_SHIFT;
    if operands == 2 {
        op.c = op.b;
    } else if operands == 4 {
        // A fourth register is part of the immediate byte.
        op.immediate = u64::from(number(instruction.op_register(3)));
    }
    moves::select(instruction, legacy, op)
        .or_else(|| permute::select(instruction, op))
        .or_else(|| masked::select(instruction, op))
        .or_else(|| packed::select(instruction, legacy, op))
}
