//! Shifts, rotations, single bits and bit counts.

use iced_x86::{Instruction, Mnemonic, OpKind};
use simd::string::{crc32_16, crc32_32, crc32_64, crc32_8};

use super::arithmetic::rm_width;
use super::{is_memory, lazy, load_rm, operand_size, result_flags, set_zf, Byte, Dword, Qword, Width, Word};
use crate::decode::{Handler, Op};
use crate::flags::{operation, Flags, CF, OF, ZF};
use crate::state::RCX;
use crate::{Cpu, Step};

const ROL: u8 = 0;
const ROR: u8 = 1;
const RCL: u8 = 2;
const RCR: u8 = 3;
const SHL: u8 = 4;
const SHR: u8 = 5;
const SAR: u8 = 7;

/// One shift or rotation. `count` is not 0 and below 64 (32 for operands of up to 32 bits).
#[inline(always)]
fn shifted<const HOW: u8, W: Width>(flags: &Flags, value: u64, count: u32) -> (u64, Flags) {
    match HOW {
        SHL => {
            // As an addition of the value shifted by one less to itself.
            let half = value << (count - 1);
            let result = half << 1;
            (result & W::MASK, lazy::<W>(operation::ADD, result, half, half))
        }
        SHR => {
            let half = value >> (count - 1);
            let result = half >> 1;
            // Of a shift by one, OF is the value's sign.
            let of = if count == 1 && value & W::TOP != 0 { OF } else { 0 };
            (result, result_flags::<W>(result, half & CF | of))
        }
        SAR => {
            let half = W::signed(value) >> (count - 1);
            let result = (half >> 1) as u64 & W::MASK;
            (result, result_flags::<W>(result, half as u64 & CF))
        }
        ROL | ROR => {
            let by = count % W::BITS;
            let left = if HOW == ROL { by } else { (W::BITS - by) % W::BITS };
            let result = if left == 0 {
                value
            } else {
                (value << left | value >> (W::BITS - left)) & W::MASK
            };
            let top = result & W::TOP != 0;
            let (cf, of) = if HOW == ROL {
                (result & 1 != 0, top != (result & 1 != 0))
            } else {
                (top, top != (result & W::TOP >> 1 != 0))
            };
            (result, rotated(flags, cf, of))
        }
        _ => {
            // Through the carry: a rotation of one bit more.
            let bits = W::BITS + 1;
            let by = count % bits;
            let wide = u128::from(value) | u128::from(flags.cf()) << W::BITS;
            let left = if HOW == RCL { by } else { (bits - by) % bits };
            let turned = if left == 0 { wide } else { wide << left | wide >> (bits - left) };
            let result = turned as u64 & W::MASK;
            let cf = turned >> W::BITS & 1 != 0;
            let top = result & W::TOP != 0;
            let of = if HOW == RCL { top != cf } else { top != (result & W::TOP >> 1 != 0) };
            (result, rotated(flags, cf, of))
        }
    }
}

/// Rotations change CF and OF alone.
#[inline(always)]
fn rotated(flags: &Flags, cf: bool, of: bool) -> Flags {
    let others = flags.bits() & !(CF | OF);
    Flags::explicit(others | if cf { CF } else { 0 } | if of { OF } else { 0 })
}

/// By how much a shift goes: of up to 32 bits five bits count, of 64 bits six.
#[inline(always)]
fn shift_count<const BY_CL: bool, W: Width>(cpu: &Cpu, op: &Op) -> u32 {
    let count = if BY_CL { cpu.state.gpr[RCX] } else { op.immediate };
    count as u32 & if W::BITS == 64 { 63 } else { 31 }
}

fn shift<const HOW: u8, const BY_CL: bool, const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let count = shift_count::<BY_CL, W>(cpu, op);
    let va = if MEMORY { cpu.address(op) } else { 0 };
    if MEMORY {
        W::prepare(cpu, va)?;
    }
    let value = load_rm::<W, MEMORY>(cpu, op, op.a)?;
    if count == 0 {
        // The flags stay; a register of 32 bits is written all the same.
        if !MEMORY {
            W::set(cpu, op.a, value);
        }
        return Ok(());
    }
    let (result, flags) = shifted::<HOW, W>(&cpu.state.flags, value, count);
    if MEMORY {
        W::store(cpu, va, result)?;
    } else {
        W::set(cpu, op.a, result);
    }
    cpu.state.flags = flags;
    Ok(())
}

fn select_shift<const HOW: u8>(instruction: &Instruction) -> Handler {
    let size = operand_size(instruction, 0);
    let by_register = instruction.op_kind(1) == OpKind::Register;
    if by_register {
        rm_width!(instruction, 0, size, shift, HOW, true)
    } else {
        rm_width!(instruction, 0, size, shift, HOW, false)
    }
}

/// SHLD and SHRD.
fn shift_double<const LEFT: bool, const BY_CL: bool, const MEMORY: bool, W: Width>(
    cpu: &mut Cpu,
    op: &Op,
) -> Step {
    let count = shift_count::<BY_CL, W>(cpu, op);
    let va = if MEMORY { cpu.address(op) } else { 0 };
    if MEMORY {
        W::prepare(cpu, va)?;
    }
    let value = load_rm::<W, MEMORY>(cpu, op, op.a)?;
    if count == 0 {
        if !MEMORY {
            W::set(cpu, op.a, value);
        }
        return Ok(());
    }
    let source = W::get(cpu, op.b);
    // Of 16 bits with a larger count the result is undefined: the bits go round.
    let (result, cf) = if LEFT {
        let wide = u128::from(value) << W::BITS | u128::from(source);
        let wide = if W::BITS == 16 { wide << 16 | u128::from(value) } else { wide };
        let width = if W::BITS == 16 { 48 } else { 2 * W::BITS };
        let result = (wide << count >> (width - W::BITS)) as u64 & W::MASK;
        (result, wide >> (width - count) & 1 != 0)
    } else {
        let wide = u128::from(source) << W::BITS | u128::from(value);
        let wide = if W::BITS == 16 { wide | u128::from(value) << 32 } else { wide };
        ((wide >> count) as u64 & W::MASK, wide >> (count - 1) & 1 != 0)
    };
    if MEMORY {
        W::store(cpu, va, result)?;
    } else {
        W::set(cpu, op.a, result);
    }
    let of = if (result ^ value) & W::TOP != 0 { OF } else { 0 };
    cpu.state.flags = result_flags::<W>(result, of | u64::from(cf));
    Ok(())
}

fn select_shift_double<const LEFT: bool>(instruction: &Instruction) -> Handler {
    let size = operand_size(instruction, 0);
    if instruction.op_kind(2) == OpKind::Register {
        rm_width!(instruction, 0, size, shift_double, LEFT, true)
    } else {
        rm_width!(instruction, 0, size, shift_double, LEFT, false)
    }
}

/// BT, BTS, BTR and BTC.
const TEST: u8 = 0;
const SET: u8 = 1;
const RESET: u8 = 2;
const COMPLEMENT: u8 = 3;

fn bit<const HOW: u8, const IMMEDIATE: bool, const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let number = if IMMEDIATE { op.immediate } else { W::get(cpu, op.b) };
    let mut va = 0;
    let value = if MEMORY {
        let mut offset = cpu.offset(op);
        if !IMMEDIATE {
            // A signed number reaches beyond the operand.
            let distance = (W::signed(number) >> (3 + W::LOG)) << W::LOG;
            offset = offset.wrapping_add(distance as u64);
        }
        let cut = cpu.cut(op, offset);
        va = cpu.linear(op.segment, cut);
        if HOW != TEST {
            W::prepare(cpu, va)?;
        }
        W::load(cpu, va)?
    } else {
        W::get(cpu, op.a)
    };
    let mask = 1 << (number & u64::from(W::BITS - 1));
    let result = match HOW {
        SET => value | mask,
        RESET => value & !mask,
        COMPLEMENT => value ^ mask,
        _ => value,
    };
    if HOW != TEST {
        if MEMORY {
            W::store(cpu, va, result)?;
        } else {
            W::set(cpu, op.a, result);
        }
    }
    let others = cpu.state.flags.bits() & !CF;
    cpu.state.flags = Flags::explicit(others | u64::from(value & mask != 0));
    Ok(())
}

fn select_bit<const HOW: u8>(instruction: &Instruction) -> Handler {
    let size = operand_size(instruction, 0);
    if instruction.op_kind(1) == OpKind::Register {
        rm_width!(instruction, 0, size, bit, HOW, false)
    } else {
        rm_width!(instruction, 0, size, bit, HOW, true)
    }
}

/// BSF and BSR. Of 0, the destination stays as it is, as on all processors.
fn scan<const FORWARD: bool, const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    if value == 0 {
        set_zf(cpu, true);
        return Ok(());
    }
    let result = if FORWARD { value.trailing_zeros() } else { 63 - value.leading_zeros() };
    W::set(cpu, op.a, u64::from(result));
    set_zf(cpu, false);
    Ok(())
}

/// TZCNT and LZCNT.
fn count_zeros<const TRAILING: bool, const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    let result = if value == 0 {
        W::BITS
    } else if TRAILING {
        value.trailing_zeros()
    } else {
        value.leading_zeros() - (64 - W::BITS)
    };
    W::set(cpu, op.a, u64::from(result));
    let others = cpu.state.flags.bits() & !(ZF | CF);
    let zf = if result == 0 { ZF } else { 0 };
    cpu.state.flags = Flags::explicit(others | zf | u64::from(value == 0));
    Ok(())
}

fn count_ones<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    W::set(cpu, op.a, u64::from(value.count_ones()));
    cpu.state.flags = Flags::explicit(if value == 0 { ZF } else { 0 });
    Ok(())
}

// -- BMI1 and BMI2 ------------------------------------------------------------------

/// PF, which is undefined, is the result's, as it is for compiled code.
fn bmi_flags<W: Width>(result: u64, cf: bool) -> Flags {
    result_flags::<W>(result, u64::from(cf))
}

fn and_not<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = load_rm::<W, MEMORY>(cpu, op, op.c)?;
    let result = !W::get(cpu, op.b) & source;
    W::set(cpu, op.a, result);
    cpu.state.flags = bmi_flags::<W>(result, false);
    Ok(())
}

/// BLSI (0), BLSMSK (1) and BLSR (2): destination in `a`, source in `b`.
fn lowest_bit<const HOW: u8, const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    let (result, cf) = match HOW {
        0 => (source & source.wrapping_neg(), source != 0),
        1 => ((source ^ source.wrapping_sub(1)) & W::MASK, source == 0),
        _ => (source & source.wrapping_sub(1), source == 0),
    };
    W::set(cpu, op.a, result);
    cpu.state.flags = bmi_flags::<W>(result, cf);
    Ok(())
}

fn extract_bits<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    let control = W::get(cpu, op.c);
    let (start, length) = (control & 0xff, control >> 8 & 0xff);
    let shifted = if start < 64 { source >> start } else { 0 };
    let result = if length < 64 { shifted & ((1 << length) - 1) } else { shifted };
    W::set(cpu, op.a, result);
    cpu.state.flags = bmi_flags::<W>(result, false);
    Ok(())
}

fn zero_high_bits<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    let from = W::get(cpu, op.c) & 0xff;
    let result = if from < u64::from(W::BITS) { source & ((1 << from) - 1) } else { source };
    W::set(cpu, op.a, result);
    cpu.state.flags = bmi_flags::<W>(result, from >= u64::from(W::BITS));
    Ok(())
}

fn multiply_without_flags<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = load_rm::<W, MEMORY>(cpu, op, op.c)?;
    let product = u128::from(W::get(cpu, crate::state::RDX as u8)) * u128::from(source);
    // The high half wins where both are one register.
    W::set(cpu, op.b, product as u64);
    W::set(cpu, op.a, (product >> W::BITS) as u64);
    Ok(())
}

fn deposit<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let mut mask = load_rm::<W, MEMORY>(cpu, op, op.c)?;
    let mut source = W::get(cpu, op.b);
    let mut result = 0;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if source & 1 != 0 {
            result |= lowest;
        }
        source >>= 1;
        mask ^= lowest;
    }
    W::set(cpu, op.a, result);
    Ok(())
}

fn extract<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let mut mask = load_rm::<W, MEMORY>(cpu, op, op.c)?;
    let source = W::get(cpu, op.b);
    let mut result = 0;
    let mut at = 0;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if source & lowest != 0 {
            result |= 1 << at;
        }
        at += 1;
        mask ^= lowest;
    }
    W::set(cpu, op.a, result);
    Ok(())
}

fn rotate_without_flags<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    let by = op.immediate as u32 % W::BITS;
    let result = if by == 0 { value } else { value >> by | value << (W::BITS - by) };
    W::set(cpu, op.a, result & W::MASK);
    Ok(())
}

/// SHLX, SHRX and SARX.
fn shift_without_flags<const HOW: u8, const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    let by = W::get(cpu, op.c) as u32 % W::BITS;
    let result = match HOW {
        SHL => value << by,
        SHR => value >> by,
        _ => (W::signed(value) >> by) as u64,
    };
    W::set(cpu, op.a, result & W::MASK);
    Ok(())
}

/// CRC32, of which the destination's upper half becomes 0.
fn crc<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    let crc = cpu.state.gpr[op.a as usize & 15] as u32;
    let crc = match W::BITS {
        8 => crc32_8(crc, source as u8),
        16 => crc32_16(crc, source as u16),
        32 => crc32_32(crc, source as u32),
        _ => crc32_64(crc, source),
    };
    Qword::set(cpu, op.a, u64::from(crc));
    Ok(())
}

pub fn select(instruction: &Instruction) -> Option<Handler> {
    let size = || operand_size(instruction, 0);
    Some(match instruction.mnemonic() {
        Mnemonic::Rol => select_shift::<ROL>(instruction),
        Mnemonic::Ror => select_shift::<ROR>(instruction),
        Mnemonic::Rcl => select_shift::<RCL>(instruction),
        Mnemonic::Rcr => select_shift::<RCR>(instruction),
        Mnemonic::Shl | Mnemonic::Sal => select_shift::<SHL>(instruction),
        Mnemonic::Shr => select_shift::<SHR>(instruction),
        Mnemonic::Sar => select_shift::<SAR>(instruction),
        Mnemonic::Shld => select_shift_double::<true>(instruction),
        Mnemonic::Shrd => select_shift_double::<false>(instruction),
        Mnemonic::Bt => select_bit::<TEST>(instruction),
        Mnemonic::Bts => select_bit::<SET>(instruction),
        Mnemonic::Btr => select_bit::<RESET>(instruction),
        Mnemonic::Btc => select_bit::<COMPLEMENT>(instruction),
        Mnemonic::Bsf => rm_width!(instruction, 1, size(), scan, true),
        Mnemonic::Bsr => rm_width!(instruction, 1, size(), scan, false),
        Mnemonic::Tzcnt => rm_width!(instruction, 1, size(), count_zeros, true),
        Mnemonic::Lzcnt => rm_width!(instruction, 1, size(), count_zeros, false),
        Mnemonic::Popcnt => rm_width!(instruction, 1, size(), count_ones),
        Mnemonic::Andn => rm_width!(instruction, 2, size(), and_not),
        Mnemonic::Blsi => rm_width!(instruction, 1, size(), lowest_bit, 0),
        Mnemonic::Blsmsk => rm_width!(instruction, 1, size(), lowest_bit, 1),
        Mnemonic::Blsr => rm_width!(instruction, 1, size(), lowest_bit, 2),
        Mnemonic::Bextr => rm_width!(instruction, 1, size(), extract_bits),
        Mnemonic::Bzhi => rm_width!(instruction, 1, size(), zero_high_bits),
        Mnemonic::Mulx => rm_width!(instruction, 2, size(), multiply_without_flags),
        Mnemonic::Pdep => rm_width!(instruction, 2, size(), deposit),
        Mnemonic::Pext => rm_width!(instruction, 2, size(), extract),
        Mnemonic::Rorx => rm_width!(instruction, 1, size(), rotate_without_flags),
        Mnemonic::Shlx => rm_width!(instruction, 1, size(), shift_without_flags, SHL),
        Mnemonic::Shrx => rm_width!(instruction, 1, size(), shift_without_flags, SHR),
        Mnemonic::Sarx => rm_width!(instruction, 1, size(), shift_without_flags, SAR),
        Mnemonic::Crc32 => rm_width!(instruction, 1, operand_size(instruction, 1), crc),
        _ => return None,
    })
}
