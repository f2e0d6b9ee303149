//! Conversions between the 80-bit format and the others: integers, single and double precision,
//! packed decimal.

use crate::arith::Operand;
use crate::control::{status, Control};
use crate::f80::{Class, BIAS, EXPONENT_MAX, F80, INTEGER_BIT};
use crate::round::{round_pack, rounds_up, shift_right_jam, Rounded};

/// A binary interchange format of IEEE 754, narrower than F80.
#[derive(Clone, Copy)]
struct Format {
    /// Bits of the significand with the implicit one.
    precision: u32,
    /// Bits of the exponent.
    exponent_bits: u32,
}

const SINGLE: Format = Format {
    precision: 24,
    exponent_bits: 8,
};
const DOUBLE: Format = Format {
    precision: 53,
    exponent_bits: 11,
};

impl Format {
    /// The exponent field of infinities and NaNs.
    const fn exponent_max(self) -> u64 {
        (1 << self.exponent_bits) - 1
    }

    const fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    /// Bits of the fraction.
    const fn fraction_bits(self) -> u32 {
        self.precision - 1
    }

    /// Widens; every value is exact, a signalling NaN stays one.
    #[inline]
    fn widen(self, bits: u64) -> Operand {
        let negative = bits >> (self.fraction_bits() + self.exponent_bits) != 0;
        let exponent = (bits >> self.fraction_bits()) & self.exponent_max();
        let fraction = bits & ((1 << self.fraction_bits()) - 1);
        let significand = fraction << (64 - self.precision);
        if exponent.wrapping_sub(1) < self.exponent_max() - 1 {
            let exponent = (exponent as i32 + BIAS - self.bias()) as u16;
            return F80::with_sign(negative, exponent, INTEGER_BIT | significand).into();
        }
        if exponent != 0 {
            return F80::with_sign(negative, EXPONENT_MAX, INTEGER_BIT | significand).into();
        }
        if fraction == 0 {
            return F80::zero(negative).into();
        }
        let shift = significand.leading_zeros();
        let exponent = (1 + BIAS - self.bias() - shift as i32) as u16;
        Operand {
            value: F80::with_sign(negative, exponent, significand << shift),
            was_denormal: true,
        }
    }

    /// Rounds to this format. The result is for masked exceptions; unmasked underflow is reported for
    /// every tiny result, exact or not.
    fn narrow(self, control: Control, value: F80) -> (u64, u16) {
        let sign = (value.is_negative() as u64) << (self.fraction_bits() + self.exponent_bits);
        let special =
            |fraction: u64| sign | (self.exponent_max() << self.fraction_bits()) | fraction;
        let fraction = |significand: u64| (significand & !INTEGER_BIT) >> (64 - self.precision);
        match value.class() {
            Class::Zero => return (sign, 0),
            Class::Infinity => return (special(0), 0),
            Class::QuietNan => return (special(fraction(value.significand)), 0),
            Class::SignalingNan => {
                return (
                    special(fraction(value.quieted().significand)),
                    status::INVALID,
                )
            }
            Class::Unsupported => {
                let indefinite = F80::INDEFINITE.significand;
                let sign = 1 << (self.fraction_bits() + self.exponent_bits);
                return (sign | special(fraction(indefinite)), status::INVALID);
            }
            Class::Normal | Class::Denormal => {}
        }
        let number = value.normalized();
        let rounding = control.rounding();
        let drop = 64 - self.precision;
        // Rounds a significand that was shifted right; the result may carry into bit `precision`.
        let round = |shift: u32| {
            let (hi, lo) = shift_right_jam(number.significand, 0, drop + shift);
            let up = rounds_up(rounding, number.negative, hi & 1 != 0, lo);
            (hi + up as u64, lo != 0, up)
        };
        let mut flags = 0;
        let mut exponent = number.exponent - BIAS + self.bias();
        let (mut rounded, mut inexact, mut up) = round(0);
        let carry = (rounded >> self.precision) as i32;
        if exponent + carry < 1 {
            (rounded, inexact, up) = round((1 - exponent).min(127 - drop as i32) as u32);
            exponent = 1;
            if inexact || !control.masks(status::UNDERFLOW) {
                flags |= status::UNDERFLOW;
            }
        } else if exponent + carry >= self.exponent_max() as i32 {
            let infinite = rounds_up(rounding, number.negative, true, u64::MAX);
            let up = if infinite { status::C1 } else { 0 };
            let largest = special(0) - 1;
            let bits = if infinite { special(0) } else { largest };
            return (bits, status::OVERFLOW | status::PRECISION | up);
        }
        if inexact {
            flags |= status::PRECISION;
        }
        if up {
            flags |= status::C1;
        }
        // A carry, also one into the smallest normal number, comes out right by addition.
        let bits = (((exponent - 1) as u64) << self.fraction_bits()).wrapping_add(rounded);
        (sign | bits, flags)
    }
}

/// Single precision to an operand of an operation.
#[inline]
pub fn from_f32(bits: u32) -> Operand {
    SINGLE.widen(bits as u64)
}

/// Double precision to an operand of an operation.
#[inline]
pub fn from_f64(bits: u64) -> Operand {
    DOUBLE.widen(bits)
}

/// What loading a widened operand into a register gives: signalling NaNs become quiet.
#[inline]
pub fn load(operand: Operand) -> Rounded {
    if operand.was_denormal {
        return (operand.value, status::DENORMAL);
    }
    if operand.value.class() == Class::SignalingNan {
        return (operand.value.quieted(), status::INVALID);
    }
    (operand.value, 0)
}

/// To single precision; see `Rounded` for what the flags mean.
#[inline]
pub fn to_f32(control: Control, value: F80) -> (u32, u16) {
    let (bits, flags) = SINGLE.narrow(control, value);
    (bits as u32, flags)
}

/// To double precision.
#[inline]
pub fn to_f64(control: Control, value: F80) -> (u64, u16) {
    // A normal number of double precision's range and precision is exact.
    let exponent = value.exponent() as i32 - BIAS + 1023;
    if value.significand & INTEGER_BIT != 0
        && value.significand & 0x7ff == 0
        && exponent > 0
        && exponent < 0x7ff
    {
        let sign = (value.sign_exponent as u64 >> 15) << 63;
        let fraction = (value.significand << 1) >> 12;
        return (sign | ((exponent as u64) << 52) | fraction, 0);
    }
    DOUBLE.narrow(control, value)
}

/// An integer, exact.
#[inline]
pub fn from_i64(value: i64) -> F80 {
    if value == 0 {
        return F80::ZERO;
    }
    let magnitude = value.unsigned_abs();
    let shift = magnitude.leading_zeros();
    F80::with_sign(
        value < 0,
        (BIAS + 63) as u16 - shift as u16,
        magnitude << shift,
    )
}

/// The magnitude of a finite number rounded to an integer, with its flags; `None` from 2^64 on.
fn to_magnitude(control: Control, value: F80) -> Option<(u64, u16)> {
    if value.significand == 0 {
        return Some((0, 0));
    }
    let number = value.normalized();
    let shift = BIAS + 63 - number.exponent;
    if shift < 0 {
        return None;
    }
    let (hi, lo) = shift_right_jam(number.significand, 0, shift.min(128) as u32);
    let up = rounds_up(control.rounding(), number.negative, hi & 1 != 0, lo);
    let flags = match (lo != 0, up) {
        (false, _) => 0,
        (true, false) => status::PRECISION,
        (true, true) => status::PRECISION | status::C1,
    };
    Some((hi.checked_add(up as u64)?, flags))
}

/// To an integer of `bits` bits, which is sign-extended; out of range gives the smallest one ("integer
/// indefinite") and the invalid exception.
fn to_integer(control: Control, value: F80, bits: u32) -> (i64, u16) {
    let smallest = -1i64 << (bits - 1);
    let invalid = (smallest, status::INVALID);
    if matches!(
        value.class(),
        Class::Unsupported | Class::SignalingNan | Class::QuietNan | Class::Infinity
    ) {
        return invalid;
    }
    let Some((magnitude, flags)) = to_magnitude(control, value) else {
        return invalid;
    };
    let limit = 1u64 << (bits - 1);
    if value.is_negative() {
        if magnitude > limit {
            return invalid;
        }
        return ((magnitude as i64).wrapping_neg(), flags);
    }
    if magnitude >= limit {
        return invalid;
    }
    (magnitude as i64, flags)
}

/// To a 16-bit integer.
#[inline]
pub fn to_i16(control: Control, value: F80) -> (i16, u16) {
    let (value, flags) = to_integer(control, value, 16);
    (value as i16, flags)
}

/// To a 32-bit integer.
#[inline]
pub fn to_i32(control: Control, value: F80) -> (i32, u16) {
    let (value, flags) = to_integer(control, value, 32);
    (value as i32, flags)
}

/// To a 64-bit integer.
#[inline]
pub fn to_i64(control: Control, value: F80) -> (i64, u16) {
    to_integer(control, value, 64)
}

/// FRNDINT: to an integral value in the same format.
pub fn round_to_integral(control: Control, value: F80) -> Rounded {
    let flags = match crate::arith::screen(value.into(), F80::ZERO.into()) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    if matches!(value.class(), Class::Infinity | Class::Zero) {
        return (value, flags);
    }
    if value.exponent() as i32 >= BIAS + 63 {
        return (value, flags);
    }
    let Some((magnitude, more)) = to_magnitude(control, value) else {
        return (value, flags);
    };
    if magnitude == 0 {
        return (F80::zero(value.is_negative()), flags | more);
    }
    let shift = magnitude.leading_zeros();
    let exponent = BIAS + 63 - shift as i32;
    let (result, _) = round_pack(
        control.extended(),
        value.is_negative(),
        exponent,
        magnitude << shift,
        0,
    );
    (result, flags | more)
}

/// "Packed BCD indefinite".
const DECIMAL_INDEFINITE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff];
/// The first integer that does not fit into 18 digits.
const DECIMAL_LIMIT: u64 = 1_000_000_000_000_000_000;

/// 18 packed decimal digits, least significant first, and the sign in bit 7 of the last byte. Digits
/// above 9 count with their value, as in the processor's microcode.
pub fn from_decimal(bytes: [u8; 10]) -> F80 {
    let digits = bytes[..9].iter().rev();
    let magnitude = digits.fold(0u64, |sum, &byte| {
        sum * 100 + (byte >> 4) as u64 * 10 + (byte & 15) as u64
    });
    let value = from_i64(magnitude as i64);
    if bytes[9] & 0x80 != 0 {
        value.negated()
    } else {
        value
    }
}

/// To packed decimal.
pub fn to_decimal(control: Control, value: F80) -> ([u8; 10], u16) {
    let invalid = (DECIMAL_INDEFINITE, status::INVALID);
    if matches!(
        value.class(),
        Class::Unsupported | Class::SignalingNan | Class::QuietNan | Class::Infinity
    ) {
        return invalid;
    }
    let Some((mut magnitude, flags)) = to_magnitude(control, value) else {
        return invalid;
    };
    if magnitude >= DECIMAL_LIMIT {
        return invalid;
    }
    let mut bytes = [0; 10];
    for byte in &mut bytes[..9] {
        let pair = (magnitude % 100) as u8;
        magnitude /= 100;
        *byte = ((pair / 10) << 4) | (pair % 10);
    }
    bytes[9] = (value.is_negative() as u8) << 7;
    (bytes, flags)
}
