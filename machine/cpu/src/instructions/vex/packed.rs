//! Operations that the crate `simd` has for each half: integers and floating point.

use iced_x86::{Instruction, Mnemonic, Register};
use simd::fused::Fused;
use simd::table::{Compare, Float, FloatImm, Packed, PackedImm, PackedXmm0};
use simd::{Xmm, Ymm};

use super::{attach, attached, by_halves, immediates, is_memory, is_register, source, wide};
use crate::decode::{Handler, Op};
use crate::flags::{Flags, CF, ZF};
use crate::{Cpu, Step};

/// A register as it is shifted to the right by so many bytes.
fn shifted(value: Xmm, bytes: u8) -> Xmm {
    Xmm::from_u128(value.u128() >> (8 * u32::from(bytes)))
}

fn packed(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?;
    let operation: Packed = unsafe { attached(op) };
    let a = cpu.ymm(op.b);
    cpu.set_ymm(op.a, by_halves(op, |half| operation(a.0[half], b.0[half])));
    Ok(())
}

fn packed_immediate(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?;
    let operation: PackedImm = unsafe { attached(op) };
    let a = cpu.ymm(op.b);
    let immediates = immediates(op);
    cpu.set_ymm(op.a, by_halves(op, |half| operation(a.0[half], b.0[half], immediates[half])));
    Ok(())
}

/// Shifts by a count in the low quadword of the last operand, for both halves.
fn shift(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let count = source(cpu, op)?.0[0];
    let operation: Packed = unsafe { attached(op) };
    let a = cpu.ymm(op.b);
    cpu.set_ymm(op.a, by_halves(op, |half| operation(a.0[half], count)));
    Ok(())
}

/// Makes 16 bytes of `BYTES` ones.
fn extend<const BYTES: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?.0[0];
    let operation: Packed = unsafe { attached(op) };
    cpu.set_ymm(op.a, by_halves(op, |half| operation(b, shifted(b, BYTES * half as u8))));
    Ok(())
}

/// VPBLENDVB and the like, whose mask is a fourth operand.
fn blend(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?;
    let operation: PackedXmm0 = unsafe { attached(op) };
    let (a, mask) = (cpu.ymm(op.b), cpu.ymm(op.immediate as u8));
    cpu.set_ymm(op.a, by_halves(op, |half| operation(a.0[half], b.0[half], mask.0[half])));
    Ok(())
}

/// VINSERTPS. In memory there is but one lane to take.
fn insert_single<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?.0[0];
    let control = op.immediate as u8 & if MEMORY { 0x3f } else { 0xff };
    cpu.set_xmm(op.a, simd::integer::insertps(cpu.state.xmm[op.b as usize & 15], b, control));
    Ok(())
}

/// VPTEST (0), VTESTPS (4) and VTESTPD (8): the first operand is `Op::a`.
fn test<const LANE: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?;
    let a = cpu.ymm(op.a);
    let mask = match LANE {
        4 => 0x8000_0000_8000_0000,
        8 => 0x8000_0000_0000_0000,
        _ => u64::MAX,
    };
    let (mut zf, mut cf) = (true, true);
    for half in 0..if wide(op) { 2 } else { 1 } {
        let flags = simd::avx::test_masked(a.0[half], b.0[half], mask);
        (zf, cf) = (zf & flags.0, cf & flags.1);
    }
    cpu.state.flags = Flags::explicit(if zf { ZF } else { 0 } | if cf { CF } else { 0 });
    Ok(())
}

// -- Floating point -----------------------------------------------------------------------

fn float(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?;
    let operation: Float = unsafe { attached(op) };
    let a = cpu.ymm(op.b);
    let result = cpu.compute(|mxcsr| by_halves(op, |half| operation(mxcsr, a.0[half], b.0[half])))?;
    cpu.set_ymm(op.a, result);
    Ok(())
}

fn float_immediate(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?;
    let operation: FloatImm = unsafe { attached(op) };
    let a = cpu.ymm(op.b);
    let immediate = op.immediate as u8;
    let result = cpu.compute(|mxcsr| by_halves(op, |half| operation(mxcsr, a.0[half], b.0[half], immediate)))?;
    cpu.set_ymm(op.a, result);
    Ok(())
}

/// Makes 16 bytes of eight: VCVTPS2PD and VCVTPH2PS.
fn float_extend(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?.0[0];
    let operation: Float = unsafe { attached(op) };
    let result = cpu.compute(|mxcsr| by_halves(op, |half| operation(mxcsr, b, shifted(b, 8 * half as u8))))?;
    cpu.set_ymm(op.a, result);
    Ok(())
}

/// Makes eight bytes of 16: VCVTPD2PS and the like.
fn float_narrow(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?;
    let operation: Float = unsafe { attached(op) };
    let Ymm([low, high]) = cpu.compute(|mxcsr| by_halves(op, |half| operation(mxcsr, b.0[half], b.0[half])))?;
    cpu.set_xmm(op.a, Xmm([low.0[0], high.0[0]]));
    Ok(())
}

fn half_to_single(mxcsr: &mut simd::Mxcsr, _: Xmm, b: Xmm) -> Xmm {
    simd::convert::vcvtph2ps(mxcsr, b)
}

/// VCVTPS2PH: from `Op::b` to a register or to memory.
fn single_to_half<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let (value, control) = (cpu.ymm(op.b), op.immediate as u8);
    let va = if MEMORY { cpu.address(op) } else { 0 };
    if MEMORY {
        // A page fault comes before #XM.
        cpu.probe(va, if wide(op) { 16 } else { 8 }, crate::Access::Write)?;
    }
    let Ymm([low, high]) =
        cpu.compute(|mxcsr| by_halves(op, |half| simd::convert::vcvtps2ph(mxcsr, value.0[half], control)))?;
    match (MEMORY, wide(op)) {
        (true, true) => cpu.store128(va, [low.0[0], high.0[0]])?,
        (true, false) => cpu.store::<u64>(va, low.0[0])?,
        (false, _) => cpu.set_xmm(op.a, Xmm([low.0[0], high.0[0]])),
    }
    Ok(())
}

/// VCOMISS and its like: the first operand is `Op::a`.
fn compare(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?.0[0];
    let operation: Compare = unsafe { attached(op) };
    let a = cpu.state.xmm[op.a as usize & 15];
    let flags = cpu.compute(|mxcsr| operation(mxcsr, a, b))?;
    cpu.state.flags = Flags::explicit(u64::from(flags));
    Ok(())
}

fn fused(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let c = source(cpu, op)?;
    let (a, b) = (cpu.ymm(op.a), cpu.ymm(op.b));
    let fused = Fused::from_bits(op.immediate as u8);
    let result = cpu.compute(|mxcsr| {
        by_halves(op, |half| fused.execute(mxcsr, [a.0[half], b.0[half], c.0[half]]))
    })?;
    cpu.set_ymm(op.a, result);
    Ok(())
}

/// An integer of a general register or memory becomes a number in the low lane; the rest is the first source's.
fn from_integer<const DOUBLE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    use simd::convert::{cvtsi2sd32, cvtsi2sd64, cvtsi2ss32, cvtsi2ss64};
    cpu.check_avx()?;
    // Of registers, the size is in the immediate operand's place.
    let (value, size) = match op.code & super::layout::SIZE {
        0 => (cpu.state.gpr[op.c as usize & 15], op.immediate),
        size => (source(cpu, op)?.0[0].0[0], u64::from(size)),
    };
    let a = cpu.state.xmm[op.b as usize & 15];
    let result = cpu.compute(|mxcsr| match (DOUBLE, size) {
        (true, 8) => a.with_low64(cvtsi2sd64(mxcsr, value as i64)),
        (true, _) => a.with_low64(cvtsi2sd32(value as i32)),
        (false, 8) => a.with_low32(cvtsi2ss64(mxcsr, value as i64)),
        (false, _) => a.with_low32(cvtsi2ss32(mxcsr, value as i32)),
    })?;
    cpu.set_xmm(op.a, result);
    Ok(())
}

fn select_extension(mnemonic: Mnemonic) -> Option<Handler> {
    Some(match mnemonic {
        Mnemonic::Pmovsxbw | Mnemonic::Pmovzxbw | Mnemonic::Pmovsxwd | Mnemonic::Pmovzxwd => extend::<8>,
        Mnemonic::Pmovsxdq | Mnemonic::Pmovzxdq | Mnemonic::Cvtdq2pd => extend::<8>,
        Mnemonic::Pmovsxbd | Mnemonic::Pmovzxbd | Mnemonic::Pmovsxwq | Mnemonic::Pmovzxwq => extend::<4>,
        Mnemonic::Pmovsxbq | Mnemonic::Pmovzxbq => extend::<2>,
        _ => return None,
    })
}

fn is_shift(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, Psllw | Pslld | Psllq | Psrlw | Psrld | Psrlq | Psraw | Psrad)
}

pub fn select(instruction: &Instruction, legacy: Option<Mnemonic>, op: &mut Op) -> Option<Handler> {
    let mnemonic = instruction.mnemonic();
    if let Some(fusion) = simd::table::fused(mnemonic) {
        op.immediate = u64::from(fusion.bits());
        return Some(fused);
    }
    let has_immediate = (0..instruction.op_count()).any(|i| instruction.op_kind(i) == iced_x86::OpKind::Immediate8);
    match mnemonic {
        Mnemonic::Vtestps => return Some(test::<4>),
        Mnemonic::Vtestpd => return Some(test::<8>),
        Mnemonic::Vcvtps2ph if is_memory(instruction, 0) => return Some(single_to_half::<true>),
        Mnemonic::Vcvtps2ph => return Some(single_to_half::<false>),
        Mnemonic::Vcvtph2ps => {
            attach(op, half_to_single as simd::table::Float as usize);
            return Some(float_extend);
        }
        _ => {}
    }
    let own = if has_immediate {
        simd::table::avx_imm(mnemonic)
            .map(|f| (f as usize, packed_immediate as Handler))
            .or_else(|| simd::table::avx_compare(mnemonic).map(|f| (f as usize, float_immediate as Handler)))
    } else {
        simd::table::avx(mnemonic).map(|f| (f as usize, packed as Handler))
    };
    if let Some((operation, handler)) = own {
        attach(op, operation);
        return Some(handler);
    }
    let legacy = legacy?;
    match legacy {
        Mnemonic::Ptest => return Some(test::<0>),
        Mnemonic::Insertps if is_memory(instruction, 2) => return Some(insert_single::<true>),
        Mnemonic::Insertps => return Some(insert_single::<false>),
        Mnemonic::Cvtsi2ss | Mnemonic::Cvtsi2sd => {
            if is_register(instruction, 2) {
                op.immediate = if instruction.op_register(2).size() == 8 { 8 } else { 4 };
            }
            return Some(if legacy == Mnemonic::Cvtsi2sd { from_integer::<true> } else { from_integer::<false> });
        }
        _ => {}
    }
    let (operation, handler) = if has_immediate {
        simd::table::packed_imm(legacy)
            .map(|f| (f as usize, packed_immediate as Handler))
            .or_else(|| simd::table::float_imm(legacy).map(|f| (f as usize, float_immediate as Handler)))?
    } else if instruction.op3_register() != Register::None {
        simd::table::packed_xmm0(legacy).map(|f| (f as usize, blend as Handler))?
    } else if let Some(f) = simd::table::packed(legacy) {
        let handler = select_extension(legacy).unwrap_or(if is_shift(legacy) { shift } else { packed });
        (f as usize, handler)
    } else if let Some(f) = simd::table::float(legacy) {
        let handler: Handler = match legacy {
            Mnemonic::Cvtps2pd => float_extend,
            Mnemonic::Cvtpd2ps | Mnemonic::Cvtpd2dq | Mnemonic::Cvttpd2dq => float_narrow,
            _ => float,
        };
        (f as usize, handler)
    } else {
        simd::table::compare(legacy).map(|f| (f as usize, compare as Handler))?
    };
    attach(op, operation);
    Some(handler)
}
