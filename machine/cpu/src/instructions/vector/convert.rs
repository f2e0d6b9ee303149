//! Conversions between XMM and general registers.

use iced_x86::{Instruction, Mnemonic};
use simd::{convert, Mxcsr};

use crate::decode::{Handler, Op};
use crate::instructions::{is_memory, load_rm, operand_size, pick, Dword, Qword, Width};
use crate::{Cpu, Step, Stop};

/// An integer of a general register or memory becomes a number in the low lane, of width `To`.
fn from_integer<From: Width, To: Width, const MEMORY: bool>(
    cpu: &mut Cpu,
    op: &Op,
    operation: impl FnOnce(&mut Mxcsr, i64) -> u64,
) -> Step {
    cpu.check_sse()?;
    let value = From::signed(load_rm::<From, MEMORY>(cpu, op, op.b)?);
    let result = cpu.compute(|mxcsr| operation(mxcsr, value))?;
    let low = &mut cpu.state.xmm[op.a as usize & 15].0[0];
    *low = *low & !To::MASK | result;
    Ok(())
}

fn single_of_dword<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    from_integer::<Dword, Dword, MEMORY>(cpu, op, |mxcsr, x| u64::from(convert::cvtsi2ss32(mxcsr, x as i32)))
}

fn single_of_qword<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    from_integer::<Qword, Dword, MEMORY>(cpu, op, |mxcsr, x| u64::from(convert::cvtsi2ss64(mxcsr, x)))
}

fn double_of_dword<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    from_integer::<Dword, Qword, MEMORY>(cpu, op, |_, x| convert::cvtsi2sd32(x as i32))
}

fn double_of_qword<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    from_integer::<Qword, Qword, MEMORY>(cpu, op, convert::cvtsi2sd64)
}

/// The low lane, of width `From`, as it is.
fn low_lane<From: Width, const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Result<u64, Stop> {
    cpu.check_sse()?;
    if MEMORY {
        let va = cpu.address(op);
        From::load(cpu, va)
    } else {
        Ok(cpu.state.xmm[op.b as usize & 15].0[0] & From::MASK)
    }
}

/// A handler that makes an integer of the low lane.
macro_rules! to_integer {
    ($($handler:ident: $from:ident as $bits:ident -> $to:ident, $operation:ident;)*) => {$(
        fn $handler<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
            let value = low_lane::<$from, MEMORY>(cpu, op)? as $bits;
            let result = cpu.compute(|mxcsr| convert::$operation(mxcsr, value))?;
            $to::set(cpu, op.a, result as u64);
            Ok(())
        }
    )*};
}

to_integer! {
    dword_of_single: Dword as u32 -> Dword, cvtss2si32;
    qword_of_single: Dword as u32 -> Qword, cvtss2si64;
    dword_of_double: Qword as u64 -> Dword, cvtsd2si32;
    qword_of_double: Qword as u64 -> Qword, cvtsd2si64;
    dword_of_single_truncated: Dword as u32 -> Dword, cvttss2si32;
    qword_of_single_truncated: Dword as u32 -> Qword, cvttss2si64;
    dword_of_double_truncated: Qword as u64 -> Dword, cvttsd2si32;
    qword_of_double_truncated: Qword as u64 -> Qword, cvttsd2si64;
}

/// `mnemonic`: the instruction's, or that of the SSE instruction that it is with a VEX prefix.
pub fn select(instruction: &Instruction, mnemonic: Mnemonic) -> Option<Handler> {
    let memory = is_memory(instruction, 1);
    // The size of the integer decides between two handlers, the place of the source between their forms.
    macro_rules! form {
        ($integer:expr, $dword:ident, $qword:ident) => {
            if operand_size(instruction, $integer) == 8 {
                pick(memory, $qword::<false>, $qword::<true>)
            } else {
                pick(memory, $dword::<false>, $dword::<true>)
            }
        };
    }
    Some(match mnemonic {
        Mnemonic::Cvtsi2ss => form!(1, single_of_dword, single_of_qword),
        Mnemonic::Cvtsi2sd => form!(1, double_of_dword, double_of_qword),
        Mnemonic::Cvtss2si => form!(0, dword_of_single, qword_of_single),
        Mnemonic::Cvtsd2si => form!(0, dword_of_double, qword_of_double),
        Mnemonic::Cvttss2si => form!(0, dword_of_single_truncated, qword_of_single_truncated),
        Mnemonic::Cvttsd2si => form!(0, dword_of_double_truncated, qword_of_double_truncated),
        _ => return None,
    })
}
