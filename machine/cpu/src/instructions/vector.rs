//! MMX and SSE: moves, and how the operations of the crate `simd` are reached.
//!
//! `Op::immediate` holds, above the immediate operand's eight bits, the address of the operation.

use iced_x86::{Instruction, Mnemonic};
use simd::{Mxcsr, Xmm};

use super::{is_memory, is_register, operand_size, pick, Dword, Qword, Width};
use crate::control::{CR0_EM, CR0_TS, CR4_OSFXSR, CR4_OSXMMEXCPT};
use crate::decode::{Handler, Op};
use crate::exception::{DEVICE_NOT_AVAILABLE, GENERAL_PROTECTION, INVALID_OPCODE, SIMD_ERROR};
use crate::fxstate::MXCSR_MASK;
use crate::state::RDI;
use crate::{Access, Cpu, Step, Stop};

impl Cpu {
    /// #UD and #NM of SSE instructions.
    #[inline(always)]
    fn check_sse(&mut self) -> Step {
        if self.control.cr0 & (CR0_TS | CR0_EM) != 0 || self.control.cr4 & CR4_OSFXSR == 0 {
            return self.sse_not_available();
        }
        Ok(())
    }

    #[cold]
    fn sse_not_available(&mut self) -> Step {
        let vector = if self.control.cr0 & CR0_EM != 0 || self.control.cr4 & CR4_OSFXSR == 0 {
            INVALID_OPCODE
        } else {
            DEVICE_NOT_AVAILABLE
        };
        self.raise(vector, 0)
    }

    /// 16 bytes of an operand that has to be aligned.
    #[inline(always)]
    fn load_aligned(&mut self, op: &Op) -> Result<Xmm, Stop> {
        let va = self.address(op);
        if va & 15 != 0 {
            return self.raise(GENERAL_PROTECTION, 0);
        }
        self.load128(va).map(Xmm)
    }

    #[cold]
    fn simd_error(&mut self) -> Step {
        let vector = if self.control.cr4 & CR4_OSXMMEXCPT != 0 { SIMD_ERROR } else { INVALID_OPCODE };
        self.raise(vector, 0)
    }
}

// -- Moves ------------------------------------------------------------------------------

fn move_all(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    cpu.state.xmm[op.a as usize & 15] = cpu.state.xmm[op.b as usize & 15];
    Ok(())
}

fn load_whole<const ALIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let value = if ALIGNED {
        cpu.load_aligned(op)?
    } else {
        let va = cpu.address(op);
        Xmm(cpu.load128(va)?)
    };
    cpu.state.xmm[op.a as usize & 15] = value;
    Ok(())
}

fn store_whole<const ALIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let va = cpu.address(op);
    if ALIGNED && va & 15 != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let value = cpu.state.xmm[op.b as usize & 15];
    cpu.store128(va, value.0)
}

/// MOVSS, MOVSD, MOVD and MOVQ from memory: the rest becomes 0.
fn load_low<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let va = cpu.address(op);
    let value = W::load(cpu, va)?;
    cpu.state.xmm[op.a as usize & 15] = Xmm([value, 0]);
    Ok(())
}

fn store_low<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let va = cpu.address(op);
    let value = cpu.state.xmm[op.b as usize & 15].0[0] & W::MASK;
    W::store(cpu, va, value)
}

/// MOVSS and MOVSD between registers: the rest stays.
fn merge_low<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let value = cpu.state.xmm[op.b as usize & 15].0[0];
    let low = &mut cpu.state.xmm[op.a as usize & 15].0[0];
    *low = *low & !W::MASK | value & W::MASK;
    Ok(())
}

/// MOVQ between registers.
fn move_quad(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    cpu.state.xmm[op.a as usize & 15] = Xmm([cpu.state.xmm[op.b as usize & 15].0[0], 0]);
    Ok(())
}

fn from_general<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    cpu.state.xmm[op.a as usize & 15] = Xmm([W::get(cpu, op.b), 0]);
    Ok(())
}

fn to_general<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let value = cpu.state.xmm[op.b as usize & 15].0[0] & W::MASK;
    W::set(cpu, op.a, value);
    Ok(())
}

/// MOVLPS, MOVLPD, MOVHPS and MOVHPD.
fn load_half<const HIGH: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let va = cpu.address(op);
    cpu.state.xmm[op.a as usize & 15].0[HIGH] = cpu.load::<u64>(va)?;
    Ok(())
}

fn store_half<const HIGH: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let va = cpu.address(op);
    let value = cpu.state.xmm[op.b as usize & 15].0[HIGH];
    cpu.store::<u64>(va, value)
}

/// MOVHLPS (from the high half to the low one) and MOVLHPS.
fn cross<const FROM: usize, const TO: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    cpu.state.xmm[op.a as usize & 15].0[TO] = cpu.state.xmm[op.b as usize & 15].0[FROM];
    Ok(())
}

fn mask_to_general(cpu: &mut Cpu, op: &Op, mask: fn(Xmm) -> u32) -> Step {
    cpu.check_sse()?;
    let value = mask(cpu.state.xmm[op.b as usize & 15]);
    Dword::set(cpu, op.a, u64::from(value));
    Ok(())
}

fn move_mask_bytes(cpu: &mut Cpu, op: &Op) -> Step {
    mask_to_general(cpu, op, simd::integer::pmovmskb)
}

fn move_mask_singles(cpu: &mut Cpu, op: &Op) -> Step {
    mask_to_general(cpu, op, simd::integer::movmskps)
}

fn move_mask_doubles(cpu: &mut Cpu, op: &Op) -> Step {
    mask_to_general(cpu, op, simd::integer::movmskpd)
}

/// PEXTRB, PEXTRW, PEXTRD, PEXTRQ and EXTRACTPS: a lane of size S.
fn extract_lane<const MEMORY: bool, S: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let lane = (op.immediate as u32 & 0xff) % (128 / S::BITS) * S::BITS;
    let value = cpu.state.xmm[op.b as usize & 15].0[lane as usize / 64] >> (lane % 64) & S::MASK;
    if MEMORY {
        let va = cpu.address(op);
        return S::store(cpu, va, value);
    }
    Qword::set(cpu, op.a, value);
    Ok(())
}

/// PINSRB, PINSRW, PINSRD and PINSRQ.
fn insert_lane<const MEMORY: bool, S: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let value = if MEMORY {
        let va = cpu.address(op);
        S::load(cpu, va)?
    } else {
        cpu.state.gpr[op.b as usize & 15] & S::MASK
    };
    let lane = (op.immediate as u32 & 0xff) % (128 / S::BITS) * S::BITS;
    let half = &mut cpu.state.xmm[op.a as usize & 15].0[lane as usize / 64];
    *half = *half & !(S::MASK << (lane % 64)) | value << (lane % 64);
    Ok(())
}

/// MASKMOVDQU: each byte by its own.
fn masked_store(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let va = cpu.linear(op.segment, cpu.state.gpr[RDI] & if cpu.long() { u64::MAX } else { 0xffff_ffff });
    let (value, mask) = (cpu.state.xmm[op.b as usize & 15], cpu.state.xmm[op.c as usize & 15]);
    let byte = |x: &Xmm, i: usize| (x.0[i / 8] >> (i % 8 * 8)) as u8;
    for i in (0..16).filter(|&i| byte(&mask, i) & 0x80 != 0) {
        cpu.probe(va.wrapping_add(i as u64), 1, Access::Write)?;
    }
    for i in (0..16).filter(|&i| byte(&mask, i) & 0x80 != 0) {
        cpu.store::<u8>(va.wrapping_add(i as u64), byte(&value, i))?;
    }
    Ok(())
}

fn load_mxcsr(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let va = cpu.address(op);
    let value = cpu.load::<u32>(va)?;
    if value & !MXCSR_MASK != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.state.mxcsr = value;
    // Compiled code takes rounding and masks for granted.
    Err(Stop::Leave)
}

fn store_mxcsr(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let va = cpu.address(op);
    let value = cpu.state.mxcsr;
    cpu.store::<u32>(va, value)
}

/// FXSAVE. XMM8 to XMM15 are left out in 32-bit code.
fn save_state<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_not_available()?;
    let va = cpu.address(op);
    if va & 15 != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let image = cpu.save_fx(WIDE);
    if cpu.long() {
        // The last 96 bytes are the software's.
        cpu.store_bytes(va, &image[..416])
    } else {
        cpu.store_bytes(va, &image[..288])
    }
}

fn restore_state<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_not_available()?;
    let va = cpu.address(op);
    if va & 15 != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let mut image = cpu.save_fx(WIDE);
    let size = if cpu.long() { 416 } else { 288 };
    cpu.load_bytes(va, &mut image[..size])?;
    if u32::from_le_bytes([image[24], image[25], image[26], image[27]]) & !MXCSR_MASK != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.load_fx(&image, WIDE);
    Err(Stop::Leave)
}

/// 16 bytes of the second operand: a register, or memory of so many bytes (of 16: aligned).
fn source<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Result<Xmm, Stop> {
    Ok(match SIZE {
        0 => cpu.state.xmm[op.b as usize & 15],
        1 => {
            let va = cpu.address(op);
            Xmm([u64::from(cpu.load::<u8>(va)?), 0])
        }
        2 => {
            let va = cpu.address(op);
            Xmm([u64::from(cpu.load::<u16>(va)?), 0])
        }
        4 => {
            let va = cpu.address(op);
            Xmm([u64::from(cpu.load::<u32>(va)?), 0])
        }
        8 => {
            let va = cpu.address(op);
            Xmm([cpu.load::<u64>(va)?, 0])
        }
        _ => cpu.load_aligned(op)?,
    })
}

/// The operation's address, which `select_operation` has put above the immediate operand.
fn function(op: &Op) -> *const () {
    (op.immediate >> 8) as usize as *const ()
}

fn packed<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    // `select_operation` has put a function of this type there.
    let operation: fn(Xmm, Xmm) -> Xmm = unsafe { core::mem::transmute(function(op)) };
    let a = &mut cpu.state.xmm[op.a as usize & 15];
    *a = operation(*a, b);
    Ok(())
}

fn packed_immediate<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    let operation: fn(Xmm, Xmm, u8) -> Xmm = unsafe { core::mem::transmute(function(op)) };
    let a = &mut cpu.state.xmm[op.a as usize & 15];
    *a = operation(*a, b, op.immediate as u8);
    Ok(())
}

fn float<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    let operation: fn(&mut Mxcsr, Xmm, Xmm) -> Xmm = unsafe { core::mem::transmute(function(op)) };
    let a = cpu.state.xmm[op.a as usize & 15];
    let mut mxcsr = Mxcsr(cpu.state.mxcsr);
    let result = mxcsr.execute(|mxcsr| operation(mxcsr, a, b));
    cpu.state.mxcsr = mxcsr.0;
    match result {
        Ok(value) => cpu.state.xmm[op.a as usize & 15] = value,
        Err(_) => return cpu.simd_error(),
    }
    Ok(())
}

macro_rules! by_source {
    ($size:expr, $name:ident) => {
        match $size {
            0 => $name::<0> as Handler,
            1 => $name::<1>,
            2 => $name::<2>,
            4 => $name::<4>,
            8 => $name::<8>,
            _ => $name::<16>,
        }
    };
}

/// The operations of the crate `simd` on two XMM operands.
fn select_operation(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    let xmm = |operand: u32| {
        super::is_register(instruction, operand) && instruction.op_register(operand).is_xmm()
    };
    if !xmm(0) || !(xmm(1) || is_memory(instruction, 1)) {
        return None;
    }
    let size = if is_memory(instruction, 1) { instruction.memory_size().size() } else { 0 };
    let mnemonic = instruction.mnemonic();
    let (function, handler) = match instruction.op_count() {
        2 => simd::table::packed(mnemonic)
            .map(|f| (f as usize, by_source!(size, packed)))
            .or_else(|| simd::table::float(mnemonic).map(|f| (f as usize, by_source!(size, float))))?,
        _ => simd::table::packed_imm(mnemonic)
            .map(|f| (f as usize, by_source!(size, packed_immediate)))?,
    };
    op.immediate = (function as u64) << 8 | op.immediate & 0xff;
    Some(handler)
}

fn is_general(instruction: &Instruction, operand: u32) -> bool {
    is_register(instruction, operand)
        && (instruction.op_register(operand).is_gpr32() || instruction.op_register(operand).is_gpr64())
}

fn uses_mmx(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|i| is_register(instruction, i) && instruction.op_register(i).is_mm())
}

fn select_moves(instruction: &Instruction) -> Option<Handler> {
    let to_memory = is_memory(instruction, 0);
    let from_memory = is_memory(instruction, 1);
    let whole = |aligned: bool| match (to_memory, from_memory, aligned) {
        (true, _, true) => store_whole::<true> as Handler,
        (true, _, false) => store_whole::<false>,
        (_, true, true) => load_whole::<true>,
        (_, true, false) => load_whole::<false>,
        _ => move_all,
    };
    Some(match instruction.mnemonic() {
        Mnemonic::Movaps | Mnemonic::Movapd | Mnemonic::Movdqa | Mnemonic::Movntps | Mnemonic::Movntpd
        | Mnemonic::Movntdq | Mnemonic::Movntdqa => whole(true),
        Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu | Mnemonic::Lddqu => whole(false),
        Mnemonic::Movss => {
            if to_memory {
                store_low::<Dword>
            } else {
                pick(from_memory, merge_low::<Dword>, load_low::<Dword>)
            }
        }
        Mnemonic::Movsd if !instruction.is_string_instruction() => {
            if to_memory {
                store_low::<Qword>
            } else {
                pick(from_memory, merge_low::<Qword>, load_low::<Qword>)
            }
        }
        Mnemonic::Movd | Mnemonic::Movq if to_memory => {
            if operand_size(instruction, 0) == 4 {
                store_low::<Dword>
            } else {
                store_low::<Qword>
            }
        }
        Mnemonic::Movd | Mnemonic::Movq if from_memory => {
            if operand_size(instruction, 1) == 4 {
                load_low::<Dword>
            } else {
                load_low::<Qword>
            }
        }
        Mnemonic::Movd | Mnemonic::Movq if is_general(instruction, 0) => {
            pick(operand_size(instruction, 0) == 8, to_general::<Dword>, to_general::<Qword>)
        }
        Mnemonic::Movd | Mnemonic::Movq if is_general(instruction, 1) => {
            pick(operand_size(instruction, 1) == 8, from_general::<Dword>, from_general::<Qword>)
        }
        Mnemonic::Movq => move_quad,
        Mnemonic::Movlps | Mnemonic::Movlpd => pick(to_memory, load_half::<0>, store_half::<0>),
        Mnemonic::Movhps | Mnemonic::Movhpd => pick(to_memory, load_half::<1>, store_half::<1>),
        Mnemonic::Movhlps => cross::<1, 0>,
        Mnemonic::Movlhps => cross::<0, 1>,
        Mnemonic::Pmovmskb => move_mask_bytes,
        Mnemonic::Movmskps => move_mask_singles,
        Mnemonic::Movmskpd => move_mask_doubles,
        Mnemonic::Pextrb => pick(to_memory, extract_lane::<false, super::Byte>, extract_lane::<true, super::Byte>),
        Mnemonic::Pextrw => pick(to_memory, extract_lane::<false, super::Word>, extract_lane::<true, super::Word>),
        Mnemonic::Pextrd | Mnemonic::Extractps => {
            pick(to_memory, extract_lane::<false, Dword>, extract_lane::<true, Dword>)
        }
        Mnemonic::Pextrq => pick(to_memory, extract_lane::<false, Qword>, extract_lane::<true, Qword>),
        Mnemonic::Pinsrb => pick(from_memory, insert_lane::<false, super::Byte>, insert_lane::<true, super::Byte>),
        Mnemonic::Pinsrw => pick(from_memory, insert_lane::<false, super::Word>, insert_lane::<true, super::Word>),
        Mnemonic::Pinsrd => pick(from_memory, insert_lane::<false, Dword>, insert_lane::<true, Dword>),
        Mnemonic::Pinsrq => pick(from_memory, insert_lane::<false, Qword>, insert_lane::<true, Qword>),
        Mnemonic::Maskmovdqu => masked_store,
        _ => return None,
    })
}

pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    match instruction.mnemonic() {
        Mnemonic::Ldmxcsr => return Some(load_mxcsr),
        Mnemonic::Stmxcsr => return Some(store_mxcsr),
        Mnemonic::Fxsave => return Some(save_state::<false>),
        Mnemonic::Fxsave64 => return Some(save_state::<true>),
        Mnemonic::Fxrstor => return Some(restore_state::<false>),
        Mnemonic::Fxrstor64 => return Some(restore_state::<true>),
        _ => {}
    }
    let vector = (0..instruction.op_count()).any(|i| {
        is_register(instruction, i)
            && (instruction.op_register(i).is_xmm() || instruction.op_register(i).is_mm())
    });
    if !vector {
        return None;
    }
    if uses_mmx(instruction) {
        // MMX is not there yet.
        return None;
    }
    select_moves(instruction).or_else(|| select_operation(instruction, op))
}
