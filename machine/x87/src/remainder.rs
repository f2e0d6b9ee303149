//! Partial remainders, scaling and the separation of exponent and significand.

use crate::arith::{divide_wide, screen};
use crate::control::{status, Control};
use crate::convert::from_i64;
use crate::f80::{Class, Finite, BIAS, F80, INTEGER_BIT};
use crate::round::{round_pack, Rounded};

/// Whether the quotient of a remainder is truncated (FPREM) or rounded to the nearest (FPREM1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quotient {
    /// Toward zero, FPREM.
    Truncated,
    /// To the nearest, ties to even, as IEEE 754 has it, FPREM1.
    Nearest,
}

/// FPREM and FPREM1: what remains of a after subtraction of b times the quotient. The flags hold C2 if
/// the reduction is only partial, otherwise the quotient's three lowest bits in C0, C3 and C1.
pub fn remainder(control: Control, a: F80, b: F80, quotient: Quotient) -> Rounded {
    let flags = match screen(a.into(), b.into()) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    match (a.class(), b.class()) {
        (Class::Infinity, _) | (_, Class::Zero) => return (F80::INDEFINITE, status::INVALID),
        (Class::Zero, _) => return (a, flags),
        (_, Class::Infinity) => {
            let a = a.normalized();
            let (value, more) = pack(control, a);
            return (value, flags | more);
        }
        _ => {}
    }
    let (a, b) = (a.normalized(), b.normalized());
    let difference = a.exponent - b.exponent;
    if difference >= 64 {
        // A number of bits between 32 and 63, so that a multiple of 32 is left.
        let bits = (difference & 0x1f) | 0x20;
        let (_, rest) = reduce(a.significand, b.significand, bits as u32);
        let (value, more) = pack_rest(control, a.negative, b.exponent + difference - bits, rest);
        return (value, flags | more | status::C2);
    }
    let (mut q, mut rest, mut exponent, mut negative) = if difference < 0 {
        (0, a.significand, a.exponent, a.negative)
    } else {
        let (q, rest) = reduce(a.significand, b.significand, difference as u32);
        (q, rest, b.exponent, a.negative)
    };
    if quotient == Quotient::Nearest && difference >= -1 {
        // Twice the rest, which is aligned with b unless a lies one binary place below it.
        let (twice, divisor) = if difference < 0 {
            (rest as u128, b.significand as u128)
        } else {
            ((rest as u128) << 1, b.significand as u128)
        };
        if twice > divisor || (twice == divisor && q & 1 != 0) {
            q = q.wrapping_add(1);
            negative = !negative;
            if difference < 0 {
                // 2b - a at a's exponent: below b, since a is at least b / 2.
                rest = ((b.significand as u128) * 2 - rest as u128) as u64;
                exponent = a.exponent;
            } else {
                rest = b.significand - rest;
            }
        }
    }
    let (value, more) = pack_rest(
        control,
        if rest == 0 { a.negative } else { negative },
        exponent,
        rest,
    );
    let bit = |index: u32, flag: u16| if q >> index & 1 != 0 { flag } else { 0 };
    (
        value,
        flags | more | bit(0, status::C1) | bit(1, status::C3) | bit(2, status::C0),
    )
}

/// Quotient (its lowest 64 bits) and remainder of a * 2^shift by b; both have bit 63 set, shift is at
/// most 63.
fn reduce(a: u64, b: u64, shift: u32) -> (u64, u64) {
    let first = (a >= b) as u64;
    let a = if a >= b { a - b } else { a };
    if shift == 0 {
        return (first, a);
    }
    // a < b now: a * 2^shift is (a >> (64 - shift)) . (a << shift), and its high word is below b.
    let (q, rest) = divide_wide(a >> (64 - shift), a << shift, b);
    (q | first << shift, rest)
}

fn pack(control: Control, a: Finite) -> Rounded {
    round_pack(control.extended(), a.negative, a.exponent, a.significand, 0)
}

fn pack_rest(control: Control, negative: bool, exponent: i32, rest: u64) -> Rounded {
    if rest == 0 {
        return (F80::zero(negative), 0);
    }
    let shift = rest.leading_zeros();
    pack(
        control,
        Finite {
            negative,
            exponent: exponent - shift as i32,
            significand: rest << shift,
        },
    )
}

/// FSCALE: a * 2^b with b truncated to an integer.
pub fn scale(control: Control, a: F80, b: F80) -> Rounded {
    let flags = match screen(a.into(), b.into()) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    match (a.class(), b.class()) {
        (Class::Infinity, Class::Infinity) if b.is_negative() => {
            return (F80::INDEFINITE, status::INVALID)
        }
        (Class::Zero, Class::Infinity) if !b.is_negative() => {
            return (F80::INDEFINITE, status::INVALID)
        }
        (Class::Infinity | Class::Zero, _) => return (a, flags),
        (_, Class::Infinity) if b.is_negative() => return (F80::zero(a.is_negative()), flags),
        (_, Class::Infinity) => return (F80::infinity(a.is_negative()), flags),
        _ => {}
    }
    // Everything beyond 2^16 over- or underflows, even when the exponent is adjusted.
    let exponent = b.exponent() as i32 - BIAS;
    let steps = match b.class() {
        Class::Normal if exponent > 16 => 1 << 17,
        Class::Normal if exponent >= 0 => (b.significand >> (63 - exponent)) as i32,
        _ => 0,
    };
    let steps = if b.is_negative() { -steps } else { steps };
    let a = a.normalized();
    let (value, more) = round_pack(
        control.extended(),
        a.negative,
        a.exponent + steps,
        a.significand,
        0,
    );
    (value, flags | more)
}

/// FXTRACT: the unbiased exponent as a number, and the significand with the exponent of 1.0.
pub fn extract(a: F80) -> (F80, F80, u16) {
    let flags = match screen(a.into(), F80::ONE.into()) {
        Ok(flags) => flags,
        Err((value, flags)) => return (value, value, flags),
    };
    match a.class() {
        Class::Infinity => (F80::infinity(false), a, flags),
        Class::Zero => (F80::infinity(true), a, status::ZERO_DIVIDE),
        _ => {
            let a = a.normalized();
            debug_assert!(a.significand & INTEGER_BIT != 0);
            let significand = F80::with_sign(a.negative, BIAS as u16, a.significand);
            (from_i64((a.exponent - BIAS) as i64), significand, flags)
        }
    }
}
