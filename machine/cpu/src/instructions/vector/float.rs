//! Floating point in XMM registers: operations that MXCSR governs, and that may raise #XM.

use iced_x86::Instruction;
use simd::table::{Compare, Float, FloatImm};

use super::{attach, attached, by_source, is_xmm, source, source_size};
use crate::decode::{Handler, Op};
use crate::flags::Flags;
use crate::instructions::is_memory;
use crate::{Cpu, Step};

fn float<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    let operation: Float = unsafe { attached(op) };
    let a = cpu.state.xmm[op.a as usize & 15];
    cpu.state.xmm[op.a as usize & 15] = cpu.compute(|mxcsr| operation(mxcsr, a, b))?;
    Ok(())
}

fn float_immediate<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    let operation: FloatImm = unsafe { attached(op) };
    let a = cpu.state.xmm[op.a as usize & 15];
    cpu.state.xmm[op.a as usize & 15] = cpu.compute(|mxcsr| operation(mxcsr, a, b, op.immediate as u8))?;
    Ok(())
}

/// COMISS and its like: ZF, PF and CF; the other arithmetic flags become 0.
fn compare<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    let operation: Compare = unsafe { attached(op) };
    let a = cpu.state.xmm[op.a as usize & 15];
    let flags = cpu.compute(|mxcsr| operation(mxcsr, a, b))?;
    cpu.state.flags = Flags::explicit(u64::from(flags));
    Ok(())
}

pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    if !is_xmm(instruction, 0) || !(is_xmm(instruction, 1) || is_memory(instruction, 1)) {
        return None;
    }
    let size = source_size(instruction);
    let mnemonic = instruction.mnemonic();
    let (operation, handler) = if instruction.op_count() == 2 {
        simd::table::float(mnemonic)
            .map(|f| (f as usize, by_source!(size, float)))
            .or_else(|| simd::table::compare(mnemonic).map(|f| (f as usize, by_source!(size, compare))))?
    } else {
        simd::table::float_imm(mnemonic).map(|f| (f as usize, by_source!(size, float_immediate)))?
    };
    attach(op, operation);
    Some(handler)
}
