//! What moves values between the halves of 256-bit registers.

use iced_x86::{Instruction, Mnemonic};
use simd::{Xmm, Ymm};

use super::{by_halves, is_memory, source};
use crate::decode::{Handler, Op};
use crate::instructions::pick;
use crate::{Cpu, Step};

/// The lowest `BYTES` of the source in all lanes.
fn broadcast<const BYTES: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let low = source(cpu, op)?.0[0];
    let value = match BYTES {
        1 => Xmm::from_u8x16([low.0[0] as u8; 16]),
        2 => Xmm::from_u16x8([low.0[0] as u16; 8]),
        4 => Xmm::from_u32x4([low.0[0] as u32; 4]),
        8 => Xmm([low.0[0]; 2]),
        _ => low,
    };
    cpu.set_ymm(op.a, by_halves(op, |_| value));
    Ok(())
}

/// VINSERTF128 and VINSERTI128.
fn insert_half(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let value = source(cpu, op)?.0[0];
    let mut result = cpu.ymm(op.b);
    result.0[op.immediate as usize & 1] = value;
    cpu.set_ymm(op.a, result);
    Ok(())
}

/// VEXTRACTF128 and VEXTRACTI128, from `Op::b`.
fn extract_half<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let value = cpu.ymm(op.b).0[op.immediate as usize & 1];
    if MEMORY {
        let va = cpu.address(op);
        return cpu.store128(va, value.0);
    }
    cpu.set_xmm(op.a, value);
    Ok(())
}

/// `HOW`: by the function's name in `simd::avx`.
fn permute<const HOW: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let b = source(cpu, op)?;
    let (a, immediate) = (cpu.ymm(op.b), op.immediate as u8);
    let result: Ymm = match HOW {
        VPERMD => simd::avx::vpermd(a, b),
        VPERMQ => simd::avx::vpermq(b, immediate),
        _ => simd::avx::vperm2f128(a, b, immediate),
    };
    cpu.set_ymm(op.a, result);
    Ok(())
}

const VPERMD: u8 = 0;
const VPERMQ: u8 = 1;
const VPERM2F128: u8 = 2;

pub fn select(instruction: &Instruction, _: &mut Op) -> Option<Handler> {
    Some(match instruction.mnemonic() {
        Mnemonic::Vpbroadcastb => broadcast::<1>,
        Mnemonic::Vpbroadcastw => broadcast::<2>,
        Mnemonic::Vpbroadcastd | Mnemonic::Vbroadcastss => broadcast::<4>,
        Mnemonic::Vpbroadcastq | Mnemonic::Vbroadcastsd => broadcast::<8>,
        Mnemonic::Vbroadcastf128 | Mnemonic::Vbroadcasti128 => broadcast::<16>,
        Mnemonic::Vinsertf128 | Mnemonic::Vinserti128 => insert_half,
        Mnemonic::Vextractf128 | Mnemonic::Vextracti128 => {
            pick(is_memory(instruction, 0), extract_half::<false>, extract_half::<true>)
        }
        Mnemonic::Vpermd | Mnemonic::Vpermps => permute::<VPERMD>,
        Mnemonic::Vpermq | Mnemonic::Vpermpd => permute::<VPERMQ>,
        Mnemonic::Vperm2f128 | Mnemonic::Vperm2i128 => permute::<VPERM2F128>,
        _ => return None,
    })
}
