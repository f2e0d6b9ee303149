//! Moves between XMM registers, memory and general registers; single lanes and masks.

use iced_x86::{Instruction, Mnemonic};
use simd::Xmm;

use super::is_general;
use crate::decode::{Handler, Op};
use crate::exception::GENERAL_PROTECTION;
use crate::instructions::{is_memory, operand_size, pick, Byte, Dword, Qword, Width, Word};
use crate::{Cpu, Step};

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

/// MASKMOVDQU.
fn masked_store(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let value = cpu.state.xmm[op.b as usize & 15];
    let selected = simd::integer::maskmovdqu(cpu.state.xmm[op.c as usize & 15]);
    cpu.store_selected(op, &value.u8x16(), selected)
}

/// Whether it moves a whole register, and memory has to be aligned for it, with a VEX prefix, too.
pub fn is_aligned_move(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::Movaps
            | Mnemonic::Movapd
            | Mnemonic::Movdqa
            | Mnemonic::Movntps
            | Mnemonic::Movntpd
            | Mnemonic::Movntdq
            | Mnemonic::Movntdqa
    )
}

/// `mnemonic`: the instruction's, or that of the SSE instruction that it is with a VEX prefix.
pub fn select(instruction: &Instruction, mnemonic: Mnemonic) -> Option<Handler> {
    let to_memory = is_memory(instruction, 0);
    let from_memory = is_memory(instruction, 1);
    let whole = |aligned: bool| match (to_memory, from_memory, aligned) {
        (true, _, true) => store_whole::<true> as Handler,
        (true, _, false) => store_whole::<false>,
        (_, true, true) => load_whole::<true>,
        (_, true, false) => load_whole::<false>,
        _ => move_all,
    };
    Some(match mnemonic {
        _ if is_aligned_move(mnemonic) => whole(true),
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
        Mnemonic::Pextrb => pick(to_memory, extract_lane::<false, Byte>, extract_lane::<true, Byte>),
        Mnemonic::Pextrw => pick(to_memory, extract_lane::<false, Word>, extract_lane::<true, Word>),
        Mnemonic::Pextrd | Mnemonic::Extractps => {
            pick(to_memory, extract_lane::<false, Dword>, extract_lane::<true, Dword>)
        }
        Mnemonic::Pextrq => pick(to_memory, extract_lane::<false, Qword>, extract_lane::<true, Qword>),
        Mnemonic::Pinsrb => pick(from_memory, insert_lane::<false, Byte>, insert_lane::<true, Byte>),
        Mnemonic::Pinsrw => pick(from_memory, insert_lane::<false, Word>, insert_lane::<true, Word>),
        Mnemonic::Pinsrd => pick(from_memory, insert_lane::<false, Dword>, insert_lane::<true, Dword>),
        Mnemonic::Pinsrq => pick(from_memory, insert_lane::<false, Qword>, insert_lane::<true, Qword>),
        Mnemonic::Maskmovdqu => masked_store,
        _ => return None,
    })
}
