//! MMX, and the conversions between its registers and XMM registers.
//!
//! Every instruction here but EMMS makes the x87 stack one of valid registers with its top at 0, once its operands are
//! there. (So a conversion that raises #XM has done it; the processor does the same.)

use iced_x86::{Instruction, Mnemonic};
use simd::table::{Mmx, MmxImm};
use simd::{convert, Mxcsr, Xmm};

use super::{attach, attached, is_general, is_mm, is_xmm, source};
use crate::decode::{Handler, Op};
use crate::instructions::{is_memory, load_rm, operand_size, pick, Dword, Qword, Width, Word};
use crate::{Cpu, Step, Stop};

impl Cpu {
    fn mm(&self, register: u8) -> u64 {
        self.fpu.mm(register as usize)
    }

    /// The end of an instruction with an MMX register as its destination.
    fn finish_mm(&mut self, register: u8, value: u64) -> Step {
        self.fpu.enter_mmx();
        self.fpu.set_mm(register as usize, value);
        Ok(())
    }
}

/// The second operand: a register (`SIZE` 0), or memory of 4 or 8 bytes.
fn mm_source<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Result<u64, Stop> {
    Ok(match SIZE {
        0 => cpu.mm(op.b),
        4 => {
            let va = cpu.address(op);
            u64::from(cpu.load::<u32>(va)?)
        }
        _ => {
            let va = cpu.address(op);
            cpu.load::<u64>(va)?
        }
    })
}

fn end(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.check_mmx()?;
    cpu.fpu.emms();
    Ok(())
}

// -- Moves ------------------------------------------------------------------------------

/// MOVQ from a register or memory, and MOVD from memory.
fn load<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_mmx()?;
    let value = mm_source::<SIZE>(cpu, op)?;
    cpu.finish_mm(op.a, value)
}

fn store<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_mmx()?;
    let va = cpu.address(op);
    W::store(cpu, va, cpu.mm(op.b) & W::MASK)?;
    cpu.fpu.enter_mmx();
    Ok(())
}

fn from_general<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_mmx()?;
    let value = W::get(cpu, op.b);
    cpu.finish_mm(op.a, value)
}

fn to_general<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_mmx()?;
    let value = cpu.mm(op.b) & W::MASK;
    W::set(cpu, op.a, value);
    cpu.fpu.enter_mmx();
    Ok(())
}

/// MOVDQ2Q.
fn from_xmm(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    cpu.check_mmx()?;
    let value = cpu.state.xmm[op.b as usize & 15].0[0];
    cpu.finish_mm(op.a, value)
}

/// MOVQ2DQ.
fn to_xmm(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    cpu.check_mmx()?;
    cpu.state.xmm[op.a as usize & 15] = Xmm([cpu.mm(op.b), 0]);
    cpu.fpu.enter_mmx();
    Ok(())
}

/// MASKMOVQ.
fn masked_store(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_mmx()?;
    let (value, mask) = (cpu.mm(op.b), cpu.mm(op.c));
    cpu.store_selected(op, &value.to_le_bytes(), simd::mmx::maskmovq(mask))?;
    cpu.fpu.enter_mmx();
    Ok(())
}

/// PMOVMSKB.
fn mask_to_general(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_mmx()?;
    let mask = simd::mmx::pmovmskb(cpu.mm(op.b));
    Dword::set(cpu, op.a, u64::from(mask));
    cpu.fpu.enter_mmx();
    Ok(())
}

/// PEXTRW.
fn extract_word(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_mmx()?;
    let word = simd::mmx::pextrw(cpu.mm(op.b), op.immediate as u8);
    Dword::set(cpu, op.a, u64::from(word));
    cpu.fpu.enter_mmx();
    Ok(())
}

/// PINSRW.
fn insert_word<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_mmx()?;
    let word = load_rm::<Word, MEMORY>(cpu, op, op.b)?;
    let value = simd::mmx::pinsrw(cpu.mm(op.a), word as u16, op.immediate as u8);
    cpu.finish_mm(op.a, value)
}

// -- Operations -------------------------------------------------------------------------

fn operate<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_mmx()?;
    let b = mm_source::<SIZE>(cpu, op)?;
    let operation: Mmx = unsafe { attached(op) };
    let result = operation(cpu.mm(op.a), b);
    cpu.finish_mm(op.a, result)
}

fn operate_immediate<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_mmx()?;
    let b = mm_source::<SIZE>(cpu, op)?;
    let operation: MmxImm = unsafe { attached(op) };
    let result = operation(cpu.mm(op.a), b, op.immediate as u8);
    cpu.finish_mm(op.a, result)
}

// -- Conversions ------------------------------------------------------------------------

/// What CVTPI2PS and CVTPI2PD convert. With an operand in memory they have nothing to do with MMX. (SDM volume 2 says
/// so of CVTPI2PD only; processors do it with both.)
fn dwords<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Result<u64, Stop> {
    cpu.check_sse()?;
    if SIZE == 0 {
        cpu.check_mmx()?;
    }
    let value = mm_source::<SIZE>(cpu, op)?;
    if SIZE == 0 {
        cpu.fpu.enter_mmx();
    }
    Ok(value)
}

fn singles_of_dwords<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = dwords::<SIZE>(cpu, op)?;
    let a = cpu.state.xmm[op.a as usize & 15];
    cpu.state.xmm[op.a as usize & 15] = cpu.compute(|mxcsr| convert::cvtpi2ps(mxcsr, a, b))?;
    Ok(())
}

fn doubles_of_dwords<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = dwords::<SIZE>(cpu, op)?;
    cpu.state.xmm[op.a as usize & 15] = convert::cvtpi2pd(b);
    Ok(())
}

/// CVTPS2PI, CVTPD2PI and their truncating forms.
fn to_dwords<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    cpu.check_mmx()?;
    let b = source::<SIZE>(cpu, op)?;
    let operation: fn(&mut Mxcsr, Xmm) -> u64 = unsafe { attached(op) };
    cpu.fpu.enter_mmx();
    let result = cpu.compute(|mxcsr| operation(mxcsr, b))?;
    cpu.fpu.set_mm(op.a as usize, result);
    Ok(())
}

fn select_conversion(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    let memory = is_memory(instruction, 1);
    let operation: fn(&mut Mxcsr, Xmm) -> u64 = match instruction.mnemonic() {
        Mnemonic::Cvtpi2ps => return Some(pick(memory, singles_of_dwords::<0>, singles_of_dwords::<8>)),
        Mnemonic::Cvtpi2pd => return Some(pick(memory, doubles_of_dwords::<0>, doubles_of_dwords::<8>)),
        Mnemonic::Cvtps2pi => convert::cvtps2pi,
        Mnemonic::Cvttps2pi => convert::cvttps2pi,
        Mnemonic::Cvtpd2pi => convert::cvtpd2pi,
        Mnemonic::Cvttpd2pi => convert::cvttpd2pi,
        _ => return None,
    };
    attach(op, operation as usize);
    Some(match super::source_size(instruction) {
        0 => to_dwords::<0>,
        8 => to_dwords::<8>,
        _ => to_dwords::<16>,
    })
}

fn select_move(instruction: &Instruction) -> Option<Handler> {
    let to_memory = is_memory(instruction, 0);
    let from_memory = is_memory(instruction, 1);
    Some(match instruction.mnemonic() {
        Mnemonic::Emms => end,
        Mnemonic::Movd | Mnemonic::Movq | Mnemonic::Movntq if to_memory => {
            pick(operand_size(instruction, 0) == 8, store::<Dword>, store::<Qword>)
        }
        Mnemonic::Movd | Mnemonic::Movq if from_memory => pick(operand_size(instruction, 1) == 8, load::<4>, load::<8>),
        Mnemonic::Movd | Mnemonic::Movq if is_general(instruction, 0) => {
            pick(operand_size(instruction, 0) == 8, to_general::<Dword>, to_general::<Qword>)
        }
        Mnemonic::Movd | Mnemonic::Movq if is_general(instruction, 1) => {
            pick(operand_size(instruction, 1) == 8, from_general::<Dword>, from_general::<Qword>)
        }
        Mnemonic::Movq => load::<0>,
        Mnemonic::Movdq2q => from_xmm,
        Mnemonic::Movq2dq => to_xmm,
        Mnemonic::Maskmovq => masked_store,
        Mnemonic::Pmovmskb => mask_to_general,
        Mnemonic::Pextrw => extract_word,
        Mnemonic::Pinsrw => pick(from_memory, insert_word::<false>, insert_word::<true>),
        _ => return None,
    })
}

fn select_operation(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    if !is_mm(instruction, 0) || is_xmm(instruction, 1) {
        return None;
    }
    let mnemonic = instruction.mnemonic();
    let second = is_mm(instruction, 1) || is_memory(instruction, 1);
    macro_rules! form {
        ($handler:ident) => {
            match super::source_size(instruction) {
                0 => $handler::<0> as Handler,
                4 => $handler::<4>,
                _ => $handler::<8>,
            }
        };
    }
    let (operation, handler) = if instruction.op_count() == 2 && second {
        simd::table::mmx(mnemonic).map(|f| (f as usize, form!(operate)))?
    } else {
        simd::table::mmx_imm(mnemonic).map(|f| (f as usize, form!(operate_immediate)))?
    };
    attach(op, operation);
    Some(handler)
}

pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    select_move(instruction)
        .or_else(|| select_conversion(instruction, op))
        .or_else(|| select_operation(instruction, op))
}
