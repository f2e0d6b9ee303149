//! Rounding of exact results into the 80-bit format, with overflow, underflow and C1.

use crate::control::{status, Control, Rounding};
use crate::f80::{F80, INTEGER_BIT};

/// A result and what it raised: exceptions and C1, at their places in the status word.
///
/// The result is the one for masked exceptions, except that an unmasked overflow or underflow gives
/// the scaled result that goes into a register. It is for the caller to drop the result when an
/// unmasked exception forbids it.
pub type Rounded = (F80, u16);

/// What an unmasked overflow subtracts from the exponent, an unmasked underflow adds to it.
const EXPONENT_ADJUST: i32 = 0x6000;
/// The fraction 1/2 in the low word of a 128-bit significand.
pub(crate) const HALF: u64 = 1 << 63;

/// Shifts the fraction hi.lo right; bits that fall out are kept as a sticky bit 0 of `lo`.
#[inline]
pub(crate) const fn shift_right_jam(hi: u64, lo: u64, count: u32) -> (u64, u64) {
    match count {
        0 => (hi, lo),
        1..=63 => {
            let out = (lo << (64 - count) != 0) as u64;
            (hi >> count, (hi << (64 - count)) | (lo >> count) | out)
        }
        64 => (0, hi | (lo != 0) as u64),
        65..=127 => {
            let out = (hi << (128 - count) != 0 || lo != 0) as u64;
            (0, (hi >> (count - 64)) | out)
        }
        _ => (0, (hi != 0 || lo != 0) as u64),
    }
}

/// Whether a magnitude has to be rounded away from zero: `fraction` is what lies below its last
/// kept bit, as a fraction of 2^64 with sticky bit 0, `odd` that last bit.
#[inline]
pub(crate) const fn rounds_up(
    rounding: Rounding,
    negative: bool,
    odd: bool,
    fraction: u64,
) -> bool {
    match rounding {
        Rounding::Nearest => fraction > HALF || (fraction == HALF && odd),
        Rounding::Down => negative && fraction != 0,
        Rounding::Up => !negative && fraction != 0,
        Rounding::Zero => false,
    }
}

/// A significand after rounding.
struct Significand {
    value: u64,
    /// Rounding up carried out of bit 63; `value` then is 0.
    carry: bool,
    inexact: bool,
    up: bool,
}

/// Rounds hi.lo so that its lowest `drop` bits (0 to 63) of hi become 0.
fn round_significand(
    rounding: Rounding,
    negative: bool,
    hi: u64,
    lo: u64,
    drop: u32,
) -> Significand {
    let unit = 1u64 << drop;
    let kept = hi & !(unit - 1);
    let fraction = match drop {
        0 => lo,
        _ => (hi << (64 - drop)) | (lo != 0) as u64,
    };
    let up = rounds_up(rounding, negative, kept & unit != 0, fraction);
    let (value, carry) = if up {
        kept.overflowing_add(unit)
    } else {
        (kept, false)
    };
    Significand {
        value,
        carry,
        inexact: fraction != 0,
        up,
    }
}

/// Rounds (-1)^negative * hi.lo * 2^(exponent - 16383 - 63) as the control word says. Bit 63 of `hi`
/// must be set; bit 0 of `lo` may stand for everything below it.
#[inline]
pub(crate) fn round_pack(
    control: Control,
    negative: bool,
    exponent: i32,
    hi: u64,
    lo: u64,
) -> Rounded {
    debug_assert!(hi & INTEGER_BIT != 0);
    if control.is_common() && exponent > 0 && exponent < 0x7ffe {
        let up = lo > HALF || (lo == HALF && hi & 1 != 0);
        let (value, carry) = hi.overflowing_add(up as u64);
        let flags = if lo == 0 {
            0
        } else if up {
            status::PRECISION | status::C1
        } else {
            status::PRECISION
        };
        let exponent = exponent as u16 + carry as u16;
        return (
            F80::with_sign(negative, exponent, value | (carry as u64) << 63),
            flags,
        );
    }
    round_pack_any(control, negative, exponent, hi, lo)
}

/// `round_pack` for all modes and exponents.
#[cold]
fn round_pack_any(
    control: Control,
    negative: bool,
    mut exponent: i32,
    hi: u64,
    lo: u64,
) -> Rounded {
    let rounding = control.rounding();
    let drop = 64 - control.precision_bits();
    let mut rounded = round_significand(rounding, negative, hi, lo, drop);
    let mut flags = 0;
    // Tininess is detected after rounding.
    if exponent + (rounded.carry as i32) < 1 {
        if control.masks(status::UNDERFLOW) {
            return round_denormal(control, negative, exponent, hi, lo);
        }
        flags |= status::UNDERFLOW;
        exponent += EXPONENT_ADJUST;
        if exponent + (rounded.carry as i32) < 1 {
            // Too small even when scaled, which only FSCALE can give.
            return (F80::zero(negative), flags | status::PRECISION);
        }
    }
    if rounded.carry {
        rounded.value = INTEGER_BIT;
        exponent += 1;
    }
    if exponent > 0x7ffe {
        flags |= status::OVERFLOW;
        if control.masks(status::OVERFLOW) {
            flags |= status::PRECISION;
            return if rounds_up(rounding, negative, true, u64::MAX) {
                (F80::infinity(negative), flags | status::C1)
            } else {
                (F80::with_sign(negative, 0x7ffe, u64::MAX << drop), flags)
            };
        }
        exponent -= EXPONENT_ADJUST;
        if exponent > 0x7ffe {
            // Too large even when scaled, which only FSCALE can give.
            return (
                F80::infinity(negative),
                flags | status::PRECISION | status::C1,
            );
        }
    }
    if rounded.inexact {
        flags |= status::PRECISION;
    }
    if rounded.up {
        flags |= status::C1;
    }
    (
        F80::with_sign(negative, exponent as u16, rounded.value),
        flags,
    )
}

/// Rounds a number with an exponent of at most 0 to a denormal, for masked underflow.
fn round_denormal(control: Control, negative: bool, exponent: i32, hi: u64, lo: u64) -> Rounded {
    let drop = 64 - control.precision_bits();
    let (hi, lo) = shift_right_jam(hi, lo, (1 - exponent) as u32);
    let rounded = round_significand(control.rounding(), negative, hi, lo, drop);
    let mut flags = 0;
    if rounded.inexact {
        flags |= status::UNDERFLOW | status::PRECISION;
    }
    if rounded.up {
        flags |= status::C1;
    }
    let exponent = (rounded.value >> 63) as u16;
    (F80::with_sign(negative, exponent, rounded.value), flags)
}
