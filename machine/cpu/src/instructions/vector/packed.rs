//! Operations on XMM registers without exceptions of their own: integers, shuffles, AES, strings.

use iced_x86::{Instruction, Mnemonic};
use simd::string::{pcmpestr, pcmpistr, Compared};
use simd::table::{Packed, PackedImm, PackedXmm0};
use simd::Xmm;

use super::{attach, attached, by_source, is_xmm, source, source_size};
use crate::decode::{Handler, Op};
use crate::flags::{Flags, CF, ZF};
use crate::instructions::{is_memory, pick, Dword, Width};
use crate::state::{RAX, RCX, RDX};
use crate::{Cpu, Step};

fn packed<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    let operation: Packed = unsafe { attached(op) };
    let a = &mut cpu.state.xmm[op.a as usize & 15];
    *a = operation(*a, b);
    Ok(())
}

fn packed_immediate<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    let operation: PackedImm = unsafe { attached(op) };
    let a = &mut cpu.state.xmm[op.a as usize & 15];
    *a = operation(*a, b, op.immediate as u8);
    Ok(())
}

fn packed_xmm0<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    let operation: PackedXmm0 = unsafe { attached(op) };
    let mask = cpu.state.xmm[0];
    let a = &mut cpu.state.xmm[op.a as usize & 15];
    *a = operation(*a, b, mask);
    Ok(())
}

/// INSERTPS. In memory there is but one lane to take.
fn insert_single<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    let control = op.immediate as u8 & if SIZE == 0 { 0xff } else { 0x3f };
    let a = &mut cpu.state.xmm[op.a as usize & 15];
    *a = simd::integer::insertps(*a, b, control);
    Ok(())
}

fn test<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let b = source::<SIZE>(cpu, op)?;
    let (zf, cf) = simd::integer::ptest(cpu.state.xmm[op.a as usize & 15], b);
    cpu.state.flags = Flags::explicit(if zf { ZF } else { 0 } | if cf { CF } else { 0 });
    Ok(())
}

// -- Strings ----------------------------------------------------------------------------

/// How PCMPESTRI and its like know a string's length.
mod length {
    /// It ends at a zero.
    pub const IMPLICIT: u8 = 0;
    /// EAX and EDX.
    pub const DWORDS: u8 = 1;
    /// RAX and RDX.
    pub const QWORDS: u8 = 2;
}

/// The one operand of 16 bytes in memory that need not be aligned.
fn compare_strings<const LENGTH: u8, const MEMORY: bool>(
    cpu: &mut Cpu,
    op: &Op,
    finish: fn(&mut Cpu, Compared),
) -> Step {
    cpu.check_sse()?;
    let a = cpu.state.xmm[op.a as usize & 15];
    let b = if MEMORY {
        let va = cpu.address(op);
        Xmm(cpu.load128(va)?)
    } else {
        cpu.state.xmm[op.b as usize & 15]
    };
    let length = |register: usize| {
        let value = cpu.state.gpr[register];
        if LENGTH == length::QWORDS {
            value as i64
        } else {
            i64::from(value as i32)
        }
    };
    let control = op.immediate as u8;
    let compared = if LENGTH == length::IMPLICIT {
        pcmpistr(a, b, control)
    } else {
        pcmpestr(a, length(RAX), b, length(RDX), control)
    };
    cpu.state.flags = Flags::explicit(u64::from(compared.flags));
    finish(cpu, compared);
    Ok(())
}

fn string_index<const LENGTH: u8, const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    compare_strings::<LENGTH, MEMORY>(cpu, op, |cpu, compared| {
        Dword::set(cpu, RCX as u8, u64::from(compared.index()));
    })
}

fn string_mask<const LENGTH: u8, const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    compare_strings::<LENGTH, MEMORY>(cpu, op, |cpu, compared| cpu.state.xmm[0] = compared.mask())
}

/// `mnemonic`: the instruction's, or that of the SSE instruction that it is with a VEX prefix.
pub fn select_string(instruction: &Instruction, mnemonic: Mnemonic) -> Option<Handler> {
    use length::{DWORDS, IMPLICIT, QWORDS};
    let memory = is_memory(instruction, 1);
    Some(match mnemonic {
        Mnemonic::Pcmpistri => pick(memory, string_index::<IMPLICIT, false>, string_index::<IMPLICIT, true>),
        Mnemonic::Pcmpestri => pick(memory, string_index::<DWORDS, false>, string_index::<DWORDS, true>),
        Mnemonic::Pcmpestri64 => pick(memory, string_index::<QWORDS, false>, string_index::<QWORDS, true>),
        Mnemonic::Pcmpistrm => pick(memory, string_mask::<IMPLICIT, false>, string_mask::<IMPLICIT, true>),
        Mnemonic::Pcmpestrm => pick(memory, string_mask::<DWORDS, false>, string_mask::<DWORDS, true>),
        Mnemonic::Pcmpestrm64 => pick(memory, string_mask::<QWORDS, false>, string_mask::<QWORDS, true>),
        _ => return None,
    })
}

pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    if !is_xmm(instruction, 0) {
        return None;
    }
    let mnemonic = instruction.mnemonic();
    let size = source_size(instruction);
    match mnemonic {
        Mnemonic::Insertps => return Some(by_source!(size, insert_single)),
        Mnemonic::Ptest => return Some(by_source!(size, test)),
        _ => {}
    }
    if let Some(handler) = select_string(instruction, mnemonic) {
        return Some(handler);
    }
    // A shift by an immediate has that as its second operand.
    let second = is_xmm(instruction, 1) || is_memory(instruction, 1);
    let (operation, handler) = if instruction.op_count() == 2 && second {
        simd::table::packed(mnemonic)
            .map(|f| (f as usize, by_source!(size, packed)))
            .or_else(|| simd::table::packed_xmm0(mnemonic).map(|f| (f as usize, by_source!(size, packed_xmm0))))?
    } else {
        simd::table::packed_imm(mnemonic).map(|f| (f as usize, by_source!(size, packed_immediate)))?
    };
    attach(op, operation);
    Some(handler)
}
