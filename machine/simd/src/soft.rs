//! Floating point by integers: every rounding mode, every flag, NaNs as the processor selects them.
//!
//! This is the slow path of `float`, and what it is checked against in tests is the processor. A number's bits lie in
//! the low part of a `u64`; the format is a type parameter.

use crate::mxcsr::*;

/// A binary interchange format of IEEE 754.
pub(crate) trait Format {
    /// Stored bits of the significand.
    const M: u32;
    /// Bits of the exponent.
    const E: u32;
    const BIAS: i32 = (1 << (Self::E - 1)) - 1;
    const SIGN: u64 = 1 << (Self::M + Self::E);
    const INFINITY: u64 = ((1 << Self::E) - 1) << Self::M;
    const QUIET: u64 = 1 << (Self::M - 1);
    /// The NaN that an invalid operation gives.
    const INDEFINITE: u64 = Self::SIGN | Self::INFINITY | Self::QUIET;
}

pub(crate) struct F16;
pub(crate) struct F32;
pub(crate) struct F64;
impl Format for F16 {
    const M: u32 = 10;
    const E: u32 = 5;
}
impl Format for F32 {
    const M: u32 = 23;
    const E: u32 = 8;
}
impl Format for F64 {
    const M: u32 = 52;
    const E: u32 = 11;
}

pub(crate) fn magnitude<F: Format>(x: u64) -> u64 {
    x & !F::SIGN
}
pub(crate) fn is_nan<F: Format>(x: u64) -> bool {
    magnitude::<F>(x) > F::INFINITY
}
pub(crate) fn is_signalling<F: Format>(x: u64) -> bool {
    is_nan::<F>(x) && x & F::QUIET == 0
}
fn is_infinite<F: Format>(x: u64) -> bool {
    magnitude::<F>(x) == F::INFINITY
}
pub(crate) fn is_zero<F: Format>(x: u64) -> bool {
    magnitude::<F>(x) == 0
}
pub(crate) fn is_denormal<F: Format>(x: u64) -> bool {
    !is_zero::<F>(x) && magnitude::<F>(x) >> F::M == 0
}
fn is_negative<F: Format>(x: u64) -> bool {
    x & F::SIGN != 0
}
fn signed<F: Format>(negative: bool, magnitude: u64) -> u64 {
    if negative {
        F::SIGN | magnitude
    } else {
        magnitude
    }
}

/// The operand as the operation sees it: with DAZ a denormal is a zero.
pub(crate) fn operand<F: Format>(mx: Mxcsr, x: u64) -> u64 {
    if mx.0 & DAZ != 0 && is_denormal::<F>(x) {
        x & F::SIGN
    } else {
        x
    }
}

/// A finite number that is not zero as `significand * 2^exponent`, the significand's top bit at `F::M`.
fn unpack<F: Format>(x: u64) -> (i32, u64) {
    let stored = (magnitude::<F>(x) >> F::M) as i32;
    let fraction = x & ((1 << F::M) - 1);
    if stored == 0 {
        let shift = fraction.leading_zeros() - (63 - F::M);
        (1 - F::BIAS - F::M as i32 - shift as i32, fraction << shift)
    } else {
        (stored - F::BIAS - F::M as i32, fraction | 1 << F::M)
    }
}

/// `value >> shift` for any shift, and whether one bits were lost.
fn shift_right(value: u128, shift: u32) -> (u128, bool) {
    match shift {
        0 => (value, false),
        1..=127 => (value >> shift, value << (128 - shift) != 0),
        _ => (0, value != 0),
    }
}

/// Rounds `value / 2^shift` (a bit more than it if `sticky`) to an integer. Second: whether that is not exact.
fn round(rounding: u32, negative: bool, value: u128, sticky: bool, shift: u32) -> (u128, bool) {
    let (whole, lost) = shift_right(value, shift);
    if !lost && !sticky {
        return (whole, false);
    }
    let up = match rounding {
        NEAREST => {
            // Half is the bit below the last; above 128 there is nothing as large as half.
            let half = (1..=128).contains(&shift) && value >> (shift - 1) & 1 != 0;
            let below = sticky || shift > 1 && shift_right(value, shift - 1).1;
            half && (below || whole & 1 != 0)
        }
        DOWN => negative,
        UP => !negative,
        _ => false,
    };
    (whole + up as u128, true)
}

/// Rounds `value * 2^exponent` (a bit more if `sticky`) to the format; sets OE, UE, PE. The value is not zero.
pub(crate) fn pack<F: Format>(
    mx: &mut Mxcsr,
    rounding: u32,
    negative: bool,
    exponent: i32,
    value: u128,
    sticky: bool,
) -> u64 {
    // Room for the bits that are rounded off.
    let left = value.leading_zeros();
    let value = value << left;
    let exponent = exponent - left as i32;
    let smallest = 1 - F::BIAS;
    // The exponent of the leading bit, were there no limit to it.
    let leading = exponent + 127;
    let shift = 127 - F::M;
    let (significand, unbounded_inexact) = round(rounding, negative, value, sticky, shift);
    let carried = (significand >> (F::M + 1)) as i32;
    if leading + carried < smallest {
        // Tiny, which is decided after rounding.
        if mx.0 & FTZ != 0 && mx.masked(UE) {
            mx.raise(UE | PE);
            return signed::<F>(negative, 0);
        }
        if !mx.masked(UE) {
            // As with an unmasked overflow.
            mx.raise(if unbounded_inexact { UE | PE } else { UE });
            return signed::<F>(negative, 0);
        }
    } else if leading >= smallest {
        let leading = leading + carried;
        if leading > F::BIAS {
            // Unmasked, nothing is stored: PE is about the result without a limit to its exponent.
            mx.raise(if mx.masked(OE) || unbounded_inexact { OE | PE } else { OE });
            let infinite = match rounding {
                NEAREST => true,
                DOWN => negative,
                UP => !negative,
                _ => false,
            };
            return signed::<F>(negative, F::INFINITY - !infinite as u64);
        }
        if unbounded_inexact {
            mx.raise(PE);
        }
        let fraction = (significand >> carried) as u64 & ((1 << F::M) - 1);
        return signed::<F>(negative, ((leading + F::BIAS) as u64) << F::M | fraction);
    }
    // The spacing of denormals is that of the smallest normal binade.
    let (significand, inexact) = round(rounding, negative, value, sticky, shift + (smallest - leading) as u32);
    if inexact {
        // Rounding alone may have made the smallest normal number, which is not tiny.
        mx.raise(if leading + carried < smallest { UE | PE } else { PE });
    }
    // A carry into the exponent makes the smallest normal number.
    signed::<F>(negative, significand as u64)
}

/// The quieted NaN that an operation on `a` and `b` gives, if one of them is one.
fn select_nan<F: Format>(mx: &mut Mxcsr, a: u64, b: u64) -> Option<u64> {
    if !is_nan::<F>(a) && !is_nan::<F>(b) {
        return None;
    }
    if is_signalling::<F>(a) || is_signalling::<F>(b) {
        mx.raise(IE);
    }
    Some(F::QUIET | if is_nan::<F>(a) { a } else { b })
}

fn invalid<F: Format>(mx: &mut Mxcsr) -> u64 {
    mx.raise(IE);
    F::INDEFINITE
}

fn note_denormals<F: Format>(mx: &mut Mxcsr, operands: &[u64]) {
    if operands.iter().any(|&x| is_denormal::<F>(x)) {
        mx.raise(DE);
    }
}

/// The zero that a sum of opposite numbers gives.
fn cancelled<F: Format>(rounding: u32) -> u64 {
    signed::<F>(rounding == DOWN, 0)
}

pub(crate) fn add<F: Format>(mx: &mut Mxcsr, a: u64, b: u64) -> u64 {
    let (a, b) = (operand::<F>(*mx, a), operand::<F>(*mx, b));
    if let Some(nan) = select_nan::<F>(mx, a, b) {
        return nan;
    }
    if is_infinite::<F>(a) && is_infinite::<F>(b) && a != b {
        return invalid::<F>(mx);
    }
    note_denormals::<F>(mx, &[a, b]);
    if is_infinite::<F>(a) {
        return a;
    }
    if is_infinite::<F>(b) {
        return b;
    }
    let rounding = mx.rounding();
    match (is_zero::<F>(a), is_zero::<F>(b)) {
        (true, true) => return if a == b { a } else { cancelled::<F>(rounding) },
        (true, false) => {
            let (exponent, significand) = unpack::<F>(b);
            return pack::<F>(mx, rounding, is_negative::<F>(b), exponent, significand as u128, false);
        }
        (false, true) => {
            let (exponent, significand) = unpack::<F>(a);
            return pack::<F>(mx, rounding, is_negative::<F>(a), exponent, significand as u128, false);
        }
        (false, false) => {}
    }
    let (ea, sa) = unpack::<F>(a);
    let (eb, sb) = unpack::<F>(b);
    // The top bits at 117: room for a carry, and at least 64 bits below the operand with the lower exponent.
    let up = 117 - F::M;
    sum::<F>(
        mx,
        (is_negative::<F>(a), ea - up as i32, (sa as u128) << up),
        (is_negative::<F>(b), eb - up as i32, (sb as u128) << up),
    )
}

/// Adds and rounds two numbers (sign, exponent, significand) whose significands have the same top bit, below 127.
fn sum<F: Format>(mx: &mut Mxcsr, a: (bool, i32, u128), b: (bool, i32, u128)) -> u64 {
    let (large, small) = if (a.1, a.2) >= (b.1, b.2) { (a, b) } else { (b, a) };
    let (aligned, sticky) = shift_right(small.2, (large.1 - small.1) as u32);
    let total = if large.0 == small.0 {
        large.2 + aligned
    } else {
        // What was shifted out makes the difference a bit less than it would be: `sticky` means a bit more.
        large.2 - aligned - sticky as u128
    };
    let rounding = mx.rounding();
    if total == 0 {
        return cancelled::<F>(rounding);
    }
    pack::<F>(mx, rounding, large.0, large.1, total, sticky)
}

pub(crate) fn sub<F: Format>(mx: &mut Mxcsr, a: u64, b: u64) -> u64 {
    // A NaN keeps its sign.
    let b = if is_nan::<F>(b) { b } else { b ^ F::SIGN };
    add::<F>(mx, a, b)
}

pub(crate) fn mul<F: Format>(mx: &mut Mxcsr, a: u64, b: u64) -> u64 {
    let (a, b) = (operand::<F>(*mx, a), operand::<F>(*mx, b));
    if let Some(nan) = select_nan::<F>(mx, a, b) {
        return nan;
    }
    if is_infinite::<F>(a) && is_zero::<F>(b) || is_zero::<F>(a) && is_infinite::<F>(b) {
        return invalid::<F>(mx);
    }
    note_denormals::<F>(mx, &[a, b]);
    let negative = is_negative::<F>(a ^ b);
    if is_infinite::<F>(a) || is_infinite::<F>(b) {
        return signed::<F>(negative, F::INFINITY);
    }
    if is_zero::<F>(a) || is_zero::<F>(b) {
        return signed::<F>(negative, 0);
    }
    let (ea, sa) = unpack::<F>(a);
    let (eb, sb) = unpack::<F>(b);
    let rounding = mx.rounding();
    pack::<F>(mx, rounding, negative, ea + eb, sa as u128 * sb as u128, false)
}

pub(crate) fn div<F: Format>(mx: &mut Mxcsr, a: u64, b: u64) -> u64 {
    let (a, b) = (operand::<F>(*mx, a), operand::<F>(*mx, b));
    if let Some(nan) = select_nan::<F>(mx, a, b) {
        return nan;
    }
    if is_infinite::<F>(a) && is_infinite::<F>(b) || is_zero::<F>(a) && is_zero::<F>(b) {
        return invalid::<F>(mx);
    }
    let negative = is_negative::<F>(a ^ b);
    if is_zero::<F>(b) && !is_infinite::<F>(a) {
        mx.raise(ZE);
        return signed::<F>(negative, F::INFINITY);
    }
    note_denormals::<F>(mx, &[a, b]);
    if is_infinite::<F>(a) {
        return signed::<F>(negative, F::INFINITY);
    }
    if is_zero::<F>(a) || is_infinite::<F>(b) {
        return signed::<F>(negative, 0);
    }
    let (ea, sa) = unpack::<F>(a);
    let (eb, sb) = unpack::<F>(b);
    let dividend = (sa as u128) << 66;
    let rounding = mx.rounding();
    pack::<F>(
        mx,
        rounding,
        negative,
        ea - eb - 66,
        dividend / sb as u128,
        !dividend.is_multiple_of(sb as u128),
    )
}

pub(crate) fn sqrt<F: Format>(mx: &mut Mxcsr, a: u64) -> u64 {
    let a = operand::<F>(*mx, a);
    if let Some(nan) = select_nan::<F>(mx, a, a) {
        return nan;
    }
    if is_zero::<F>(a) {
        return a;
    }
    if is_negative::<F>(a) {
        return invalid::<F>(mx);
    }
    note_denormals::<F>(mx, &[a]);
    if is_infinite::<F>(a) {
        return a;
    }
    let (exponent, significand) = unpack::<F>(a);
    // An even exponent, and a root of at least 60 bits.
    let mut up = 122 - F::M;
    up += (exponent - up as i32) as u32 & 1;
    let radicand = (significand as u128) << up;
    let root = radicand.isqrt();
    let rounding = mx.rounding();
    pack::<F>(
        mx,
        rounding,
        false,
        (exponent - up as i32) / 2,
        root,
        root * root != radicand,
    )
}

/// `a * b + c` with one rounding; the NaN selected is the first of a, b, c in this order.
pub(crate) fn fma<F: Format>(mx: &mut Mxcsr, a: u64, b: u64, c: u64) -> u64 {
    let [a, b, c] = [a, b, c].map(|x| operand::<F>(*mx, x));
    let undefined = is_infinite::<F>(a) && is_zero::<F>(b) || is_zero::<F>(a) && is_infinite::<F>(b);
    if [a, b, c].iter().any(|&x| is_nan::<F>(x)) {
        // Infinity times zero plus a quiet NaN is that NaN, without an exception.
        if [a, b, c].iter().any(|&x| is_signalling::<F>(x)) {
            mx.raise(IE);
        }
        let nan = if is_nan::<F>(a) {
            a
        } else if is_nan::<F>(b) {
            b
        } else {
            c
        };
        return nan | F::QUIET;
    }
    let negative = is_negative::<F>(a ^ b);
    let infinite = is_infinite::<F>(a) || is_infinite::<F>(b);
    if undefined || infinite && is_infinite::<F>(c) && negative != is_negative::<F>(c) {
        return invalid::<F>(mx);
    }
    note_denormals::<F>(mx, &[a, b, c]);
    if infinite {
        return signed::<F>(negative, F::INFINITY);
    }
    if is_infinite::<F>(c) {
        return c;
    }
    let rounding = mx.rounding();
    if is_zero::<F>(a) || is_zero::<F>(b) {
        if is_zero::<F>(c) {
            return if negative == is_negative::<F>(c) { c } else { cancelled::<F>(rounding) };
        }
        let (exponent, significand) = unpack::<F>(c);
        return pack::<F>(mx, rounding, is_negative::<F>(c), exponent, significand as u128, false);
    }
    let (ea, sa) = unpack::<F>(a);
    let (eb, sb) = unpack::<F>(b);
    let product = sa as u128 * sb as u128;
    if is_zero::<F>(c) {
        return pack::<F>(mx, rounding, negative, ea + eb, product, false);
    }
    let (ec, sc) = unpack::<F>(c);
    // Both top bits at 125: one bit for the carry; the product has 20 zero bits below it at least.
    let up = product.leading_zeros() - 2;
    let up_c = 125 - F::M;
    sum::<F>(
        mx,
        (negative, ea + eb - up as i32, product << up),
        (is_negative::<F>(c), ec - up_c as i32, (sc as u128) << up_c),
    )
}

/// MIN and MAX give the second operand if one is a NaN or both are zeros.
pub(crate) fn select<F: Format>(mx: &mut Mxcsr, a: u64, b: u64, max: bool) -> u64 {
    let (a, b) = (operand::<F>(*mx, a), operand::<F>(*mx, b));
    if is_nan::<F>(a) || is_nan::<F>(b) {
        mx.raise(IE);
        return b;
    }
    note_denormals::<F>(mx, &[a, b]);
    let first = if max { order::<F>(a) > order::<F>(b) } else { order::<F>(a) < order::<F>(b) };
    if first {
        a
    } else {
        b
    }
}

/// A number (no NaN) as an integer of the same order.
fn order<F: Format>(x: u64) -> i64 {
    if is_negative::<F>(x) {
        -(magnitude::<F>(x) as i64)
    } else {
        x as i64
    }
}

/// How two numbers compare; `None` if one is a NaN. Sets DE, and IE for a signalling NaN, or for any if `signal`.
pub(crate) fn compare<F: Format>(mx: &mut Mxcsr, a: u64, b: u64, signal: bool) -> Option<core::cmp::Ordering> {
    let (a, b) = (operand::<F>(*mx, a), operand::<F>(*mx, b));
    if is_nan::<F>(a) || is_nan::<F>(b) {
        if signal || is_signalling::<F>(a) || is_signalling::<F>(b) {
            mx.raise(IE);
        }
        return None;
    }
    note_denormals::<F>(mx, &[a, b]);
    Some(order::<F>(a).cmp(&order::<F>(b)))
}

/// From one format to another.
pub(crate) fn convert<F: Format, G: Format>(mx: &mut Mxcsr, x: u64) -> u64 {
    let x = operand::<F>(*mx, x);
    let negative = is_negative::<F>(x);
    if is_nan::<F>(x) {
        if is_signalling::<F>(x) {
            mx.raise(IE);
        }
        let fraction = x & (F::QUIET - 1);
        let fraction = if G::M >= F::M { fraction << (G::M - F::M) } else { fraction >> (F::M - G::M) };
        return signed::<G>(negative, G::INFINITY | G::QUIET | fraction);
    }
    if is_infinite::<F>(x) {
        return signed::<G>(negative, G::INFINITY);
    }
    if is_zero::<F>(x) {
        return signed::<G>(negative, 0);
    }
    note_denormals::<F>(mx, &[x]);
    let (exponent, significand) = unpack::<F>(x);
    let rounding = mx.rounding();
    pack::<G>(mx, rounding, negative, exponent, significand as u128, false)
}

/// From a signed integer.
pub(crate) fn from_integer<F: Format>(mx: &mut Mxcsr, x: i64) -> u64 {
    if x == 0 {
        return 0;
    }
    let rounding = mx.rounding();
    pack::<F>(mx, rounding, x < 0, 0, x.unsigned_abs() as u128, false)
}

/// To a signed integer of `bits` bits; what does not fit gives the integer indefinite (only the top bit set) and IE.
pub(crate) fn to_integer<F: Format>(mx: &mut Mxcsr, rounding: u32, bits: u32, x: u64) -> i64 {
    let x = operand::<F>(*mx, x);
    let indefinite = i64::MIN >> (64 - bits);
    if is_zero::<F>(x) {
        return 0;
    }
    if is_nan::<F>(x) || is_infinite::<F>(x) {
        mx.raise(IE);
        return indefinite;
    }
    let negative = is_negative::<F>(x);
    let (exponent, significand) = unpack::<F>(x);
    if exponent > 63 {
        mx.raise(IE);
        return indefinite;
    }
    let (whole, inexact) = if exponent >= 0 {
        ((significand as u128) << exponent, false)
    } else {
        round(rounding, negative, significand as u128, false, exponent.unsigned_abs())
    };
    let limit = (1u128 << (bits - 1)) - !negative as u128;
    if whole > limit {
        mx.raise(IE);
        return indefinite;
    }
    if inexact {
        mx.raise(PE);
    }
    if negative {
        (whole as i64).wrapping_neg()
    } else {
        whole as i64
    }
}

/// To an integral number of the same format (ROUNDPS and the like); PE unless `quiet`.
pub(crate) fn round_to_integral<F: Format>(mx: &mut Mxcsr, rounding: u32, quiet: bool, x: u64) -> u64 {
    let x = operand::<F>(*mx, x);
    if is_nan::<F>(x) {
        if is_signalling::<F>(x) {
            mx.raise(IE);
        }
        return x | F::QUIET;
    }
    if is_zero::<F>(x) || is_infinite::<F>(x) {
        return x;
    }
    let (exponent, significand) = unpack::<F>(x);
    if exponent >= 0 {
        return x;
    }
    let negative = is_negative::<F>(x);
    let (whole, inexact) = round(rounding, negative, significand as u128, false, exponent.unsigned_abs());
    if inexact && !quiet {
        mx.raise(PE);
    }
    if whole == 0 {
        return signed::<F>(negative, 0);
    }
    let top = 127 - whole.leading_zeros();
    let fraction = ((whole << (F::M - top)) as u64) & ((1 << F::M) - 1);
    signed::<F>(negative, (top as u64 + F::BIAS as u64) << F::M | fraction)
}
