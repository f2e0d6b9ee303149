//! Moves between vector registers, memory and general registers; single lanes and masks.

use iced_x86::{Instruction, Mnemonic};
use simd::{Xmm, Ymm};

use super::{by_halves, is_memory, is_register, source, wide, BYTES};
use crate::decode::{Handler, Op};
use crate::exception::GENERAL_PROTECTION;
use crate::instructions::{pick, Byte, Dword, Qword, Width, Word};
use crate::{Cpu, Step};

/// 32 bytes to a register.
fn load_whole<const ALIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let va = cpu.address(op);
    if ALIGNED && va % BYTES != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let value = cpu.load256(va)?;
    cpu.set_ymm(op.a, value);
    Ok(())
}

fn store_whole<const ALIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let va = cpu.address(op);
    if ALIGNED && va % BYTES != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.store256(va, cpu.ymm(op.b))
}

fn move_all(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    cpu.set_ymm(op.a, cpu.ymm(op.b));
    Ok(())
}

/// VMOVSS and VMOVSD of registers: the low lane is the last source's, the rest the first one's.
fn merge_low<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let value = cpu.state.xmm[op.c as usize & 15].0[0] & W::MASK;
    let Xmm([low, high]) = cpu.state.xmm[op.b as usize & 15];
    cpu.set_xmm(op.a, Xmm([low & !W::MASK | value, high]));
    Ok(())
}

/// VMOVLPS, VMOVHPS and the like from memory; VMOVHLPS and VMOVLHPS from the half `FROM` of a register.
fn replace_half<const TO: usize, const FROM: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let value = source(cpu, op)?.0[0].0[FROM];
    let mut result = cpu.state.xmm[op.b as usize & 15];
    result.0[TO] = value;
    cpu.set_xmm(op.a, result);
    Ok(())
}

/// VMOVDDUP: of 128 bits, memory gives only the low half.
fn duplicate_doubles(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?;
    cpu.set_ymm(op.a, by_halves(op, |half| Xmm([b.0[half].0[0]; 2])));
    Ok(())
}

/// VPMOVMSKB, VMOVMSKPS and VMOVMSKPD of 256 bits: each half has so many lanes.
fn move_mask<const LANES: u32>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let mask = match LANES {
        16 => simd::integer::pmovmskb,
        4 => simd::integer::movmskps,
        _ => simd::integer::movmskpd,
    };
    let Ymm([low, high]) = cpu.ymm(op.b);
    Dword::set(cpu, op.a, u64::from(mask(low) | mask(high) << LANES));
    Ok(())
}

/// VPINSRB and the like: a lane of size `S` of a general register or memory.
fn insert_lane<const MEMORY: bool, S: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let value = if MEMORY {
        let va = cpu.address(op);
        S::load(cpu, va)?
    } else {
        cpu.state.gpr[op.c as usize & 15] & S::MASK
    };
    let lane = (op.immediate as u32 & 0xff) % (128 / S::BITS) * S::BITS;
    let mut result = cpu.state.xmm[op.b as usize & 15];
    let half = &mut result.0[lane as usize / 64];
    *half = *half & !(S::MASK << (lane % 64)) | value << (lane % 64);
    cpu.set_xmm(op.a, result);
    Ok(())
}

fn zero_upper(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.check_avx()?;
    // Other modes than 64-bit have eight registers.
    let registers = if cpu.long() { 16 } else { 8 };
    cpu.state.ymm_high[..registers].fill(Xmm::ZERO);
    Ok(())
}

fn zero_all(cpu: &mut Cpu, op: &Op) -> Step {
    zero_upper(cpu, op)?;
    let registers = if cpu.long() { 16 } else { 8 };
    cpu.state.xmm[..registers].fill(Xmm::ZERO);
    Ok(())
}

pub fn select(instruction: &Instruction, legacy: Option<Mnemonic>, op: &mut Op) -> Option<Handler> {
    match instruction.mnemonic() {
        Mnemonic::Vzeroupper => return Some(zero_upper),
        Mnemonic::Vzeroall => return Some(zero_all),
        Mnemonic::Vmovddup => return Some(duplicate_doubles),
        _ => {}
    }
    let legacy = legacy?;
    let from_memory = is_memory(instruction, 2);
    let whole = |aligned: bool| match (is_memory(instruction, 0), is_memory(instruction, 1), aligned) {
        (true, _, true) => store_whole::<true> as Handler,
        (true, _, false) => store_whole::<false>,
        (_, true, true) => load_whole::<true>,
        (_, true, false) => load_whole::<false>,
        _ => move_all,
    };
    Some(match legacy {
        Mnemonic::Movaps | Mnemonic::Movapd | Mnemonic::Movdqa | Mnemonic::Movntps | Mnemonic::Movntpd
        | Mnemonic::Movntdq | Mnemonic::Movntdqa
            if wide(op) =>
        {
            whole(true)
        }
        Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu | Mnemonic::Lddqu if wide(op) => whole(false),
        // Those of two operands are as with SSE.
        Mnemonic::Movss if is_register(instruction, 2) => merge_low::<Dword>,
        Mnemonic::Movsd if is_register(instruction, 2) => merge_low::<Qword>,
        Mnemonic::Movlps | Mnemonic::Movlpd => replace_half::<0, 0>,
        Mnemonic::Movhps | Mnemonic::Movhpd | Mnemonic::Movlhps => replace_half::<1, 0>,
        Mnemonic::Movhlps => replace_half::<0, 1>,
        Mnemonic::Pmovmskb => move_mask::<16>,
        Mnemonic::Movmskps => move_mask::<4>,
        Mnemonic::Movmskpd => move_mask::<2>,
        Mnemonic::Pinsrb => pick(from_memory, insert_lane::<false, Byte>, insert_lane::<true, Byte>),
        Mnemonic::Pinsrw => pick(from_memory, insert_lane::<false, Word>, insert_lane::<true, Word>),
        Mnemonic::Pinsrd => pick(from_memory, insert_lane::<false, Dword>, insert_lane::<true, Dword>),
        Mnemonic::Pinsrq => pick(from_memory, insert_lane::<false, Qword>, insert_lane::<true, Qword>),
        _ => return None,
    })
}
