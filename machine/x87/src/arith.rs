//! Addition, subtraction, multiplication, division, square root and comparison.

use crate::control::{status, Control, Rounding};
use crate::f80::{Class, Finite, BIAS, EXPONENT_MAX, F80, INTEGER_BIT};
use crate::round::{round_pack, shift_right_jam, Rounded, HALF};

/// An operand: its value, and whether it was a denormal before it was widened to 80 bits.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// The value. A widened signalling NaN is still signalling.
    pub value: F80,
    /// A denormal of the memory format, which is a normal number in 80 bits.
    pub was_denormal: bool,
}

impl From<F80> for Operand {
    #[inline]
    fn from(value: F80) -> Operand {
        Operand {
            value,
            was_denormal: false,
        }
    }
}

impl Operand {
    /// Whether it raises the denormal-operand exception.
    #[inline]
    fn is_denormal(self) -> bool {
        self.was_denormal || self.value.class() == Class::Denormal
    }
}

/// The operations of the first half of the x87 opcodes, in the order of their encoding (2 and 3 are
/// the comparisons).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// destination + source
    Add,
    /// destination * source
    Multiply,
    /// destination - source
    Subtract,
    /// source - destination
    SubtractReversed,
    /// destination / source
    Divide,
    /// source / destination
    DivideReversed,
}

impl Operation {
    /// Applies the operation.
    #[inline]
    pub fn apply(self, control: Control, destination: Operand, source: Operand) -> Rounded {
        match self {
            Operation::Add => add(control, destination, source),
            Operation::Multiply => multiply(control, destination, source),
            Operation::Subtract => subtract(control, destination, source),
            Operation::SubtractReversed => subtract(control, source, destination),
            Operation::Divide => divide(control, destination, source),
            Operation::DivideReversed => divide(control, source, destination),
        }
    }
}

const INVALID: Rounded = (F80::INDEFINITE, status::INVALID);

/// What both operands have to say before the operation itself: unsupported encodings and NaNs are an
/// answer (`Err`), otherwise the denormal-operand flag comes back.
pub(crate) fn screen(a: Operand, b: Operand) -> Result<u16, Rounded> {
    let (class_a, class_b) = (a.value.class(), b.value.class());
    if class_a == Class::Unsupported || class_b == Class::Unsupported {
        return Err(INVALID);
    }
    let nan = |class| matches!(class, Class::SignalingNan | Class::QuietNan);
    if nan(class_a) || nan(class_b) {
        return Err(propagate_nan(a.value, b.value));
    }
    let denormal = a.is_denormal() || b.is_denormal();
    Ok(if denormal { status::DENORMAL } else { 0 })
}

/// The NaN that two operands, at least one of them a NaN, give (Intel SDM vol. 1, table 4-7).
pub(crate) fn propagate_nan(a: F80, b: F80) -> Rounded {
    use Class::{QuietNan, SignalingNan};
    let (class_a, class_b) = (a.class(), b.class());
    let signaling = class_a == SignalingNan || class_b == SignalingNan;
    let flags = if signaling { status::INVALID } else { 0 };
    let larger = || {
        let (a, b) = (a.quieted(), b.quieted());
        if a.significand != b.significand {
            return if a.significand > b.significand { a } else { b };
        }
        // Of equal significands the positive one.
        if a.is_negative() {
            b
        } else {
            a
        }
    };
    let value = match (class_a, class_b) {
        (SignalingNan, SignalingNan) | (QuietNan, QuietNan) => larger(),
        (QuietNan, _) => a,
        (_, QuietNan) => b,
        (SignalingNan, _) => a.quieted(),
        _ => b.quieted(),
    };
    (value, flags)
}

/// a + b
#[inline]
pub fn add(control: Control, a: Operand, b: Operand) -> Rounded {
    if a.value.is_normal() && b.value.is_normal() && !a.was_denormal && !b.was_denormal {
        let negative = (a.value.is_negative(), b.value.is_negative());
        return add_normal(control, a.value, b.value, negative);
    }
    add_any(control, a, b, false)
}

/// a - b
#[inline]
pub fn subtract(control: Control, a: Operand, b: Operand) -> Rounded {
    if a.value.is_normal() && b.value.is_normal() && !a.was_denormal && !b.was_denormal {
        let negative = (a.value.is_negative(), !b.value.is_negative());
        return add_normal(control, a.value, b.value, negative);
    }
    add_any(control, a, b, true)
}

#[inline]
fn add_normal(control: Control, a: F80, b: F80, negative: (bool, bool)) -> Rounded {
    let finite = |value: F80, negative| Finite {
        negative,
        exponent: value.exponent() as i32,
        significand: value.significand,
    };
    add_finite(control, finite(a, negative.0), finite(b, negative.1))
}

#[inline]
fn add_finite(control: Control, a: Finite, b: Finite) -> Rounded {
    // The one with the larger magnitude first.
    let swapped = (a.exponent, a.significand) < (b.exponent, b.significand);
    let (a, b) = if swapped { (b, a) } else { (a, b) };
    let (hi, lo) = shift_right_jam(b.significand, 0, (a.exponent - b.exponent) as u32);
    if a.negative == b.negative {
        let (sum, carry) = a.significand.overflowing_add(hi);
        if !carry {
            return round_pack(control, a.negative, a.exponent, sum, lo);
        }
        let lo = (sum << 63) | (lo >> 1) | (lo & 1);
        return round_pack(
            control,
            a.negative,
            a.exponent + 1,
            (sum >> 1) | INTEGER_BIT,
            lo,
        );
    }
    let (lo, borrow) = 0u64.overflowing_sub(lo);
    let hi = a.significand - hi - borrow as u64;
    if hi | lo == 0 {
        return (F80::zero(control.rounding() == Rounding::Down), 0);
    }
    // hi is 0 only after a difference of at most one in the exponents: nothing was jammed.
    let (hi, lo, shift) = if hi == 0 {
        let shift = lo.leading_zeros();
        (lo << shift, 0, shift + 64)
    } else {
        let shift = hi.leading_zeros();
        let below = if shift == 0 { 0 } else { lo >> (64 - shift) };
        ((hi << shift) | below, lo << shift, shift)
    };
    round_pack(control, a.negative, a.exponent - shift as i32, hi, lo)
}

/// a + b or a - b with operands of every kind.
#[cold]
fn add_any(control: Control, a: Operand, b: Operand, subtract: bool) -> Rounded {
    let flags = match screen(a, b) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    let (a, mut b) = (a.value, b.value);
    if subtract {
        b = b.negated();
    }
    match (a.class(), b.class()) {
        (Class::Infinity, Class::Infinity) if a.is_negative() != b.is_negative() => INVALID,
        (Class::Infinity, _) => (a, flags),
        (_, Class::Infinity) => (b, flags),
        (Class::Zero, Class::Zero) => {
            let negative = if a.is_negative() == b.is_negative() {
                a.is_negative()
            } else {
                control.rounding() == Rounding::Down
            };
            (F80::zero(negative), flags)
        }
        // The other operand still is rounded to the precision.
        (Class::Zero, _) => repack(control, b.normalized(), flags),
        (_, Class::Zero) => repack(control, a.normalized(), flags),
        _ => {
            let (value, more) = add_finite(control, a.normalized(), b.normalized());
            (value, flags | more)
        }
    }
}

fn repack(control: Control, value: Finite, flags: u16) -> Rounded {
    let (value, more) = round_pack(
        control,
        value.negative,
        value.exponent,
        value.significand,
        0,
    );
    (value, flags | more)
}

/// The 128-bit product as (high, low).
#[inline]
pub(crate) fn wide_multiply(a: u64, b: u64) -> (u64, u64) {
    // WebAssembly has no such instruction: the compiler would call a function that returns through memory.
    if cfg!(target_family = "wasm") {
        multiply_halves(a, b)
    } else {
        let product = a as u128 * b as u128;
        ((product >> 64) as u64, product as u64)
    }
}

/// The 128-bit product from four products of 32-bit halves.
#[inline]
fn multiply_halves(a: u64, b: u64) -> (u64, u64) {
    const LOW: u64 = 0xffff_ffff;
    let (a1, a0) = (a >> 32, a & LOW);
    let (b1, b0) = (b >> 32, b & LOW);
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 32);
    let other = a0 * b1 + (middle & LOW);
    let high = a1 * b1 + (middle >> 32) + (other >> 32);
    (high, (other << 32) | (low & LOW))
}

/// a * b
#[inline]
pub fn multiply(control: Control, a: Operand, b: Operand) -> Rounded {
    if a.value.is_normal() && b.value.is_normal() && !a.was_denormal && !b.was_denormal {
        return multiply_finite(control, a.value.normalized(), b.value.normalized());
    }
    multiply_any(control, a, b)
}

#[inline]
fn multiply_finite(control: Control, a: Finite, b: Finite) -> Rounded {
    let (hi, lo) = wide_multiply(a.significand, b.significand);
    let negative = a.negative != b.negative;
    let exponent = a.exponent + b.exponent - BIAS;
    if hi & INTEGER_BIT != 0 {
        round_pack(control, negative, exponent + 1, hi, lo)
    } else {
        round_pack(control, negative, exponent, (hi << 1) | (lo >> 63), lo << 1)
    }
}

#[cold]
fn multiply_any(control: Control, a: Operand, b: Operand) -> Rounded {
    let flags = match screen(a, b) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    let (a, b) = (a.value, b.value);
    let negative = a.is_negative() != b.is_negative();
    match (a.class(), b.class()) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => INVALID,
        (Class::Infinity, _) | (_, Class::Infinity) => (F80::infinity(negative), flags),
        (Class::Zero, _) | (_, Class::Zero) => (F80::zero(negative), flags),
        _ => {
            let (value, more) = multiply_finite(control, a.normalized(), b.normalized());
            (value, flags | more)
        }
    }
}

/// Quotient and remainder of hi.lo by a divisor whose bit 63 is set; `hi` must be below it.
///
/// Two steps of schoolbook division in base 2^32 (Knuth, The Art of Computer Programming vol. 2,
/// 4.3.1, algorithm D): faster than the general 128-bit division that a compiler calls.
#[inline]
pub(crate) fn divide_wide(hi: u64, lo: u64, divisor: u64) -> (u64, u64) {
    debug_assert!(divisor & INTEGER_BIT != 0 && hi < divisor);
    const LOW: u64 = 0xffff_ffff;
    let (d1, d0) = (divisor >> 32, divisor & LOW);
    let step = |remainder: u64, digit: u64| {
        let mut q = remainder / d1;
        let mut r = remainder % d1;
        while q > LOW || q * d0 > ((r << 32) | digit) {
            q -= 1;
            r += d1;
            if r > LOW {
                break;
            }
        }
        let rest = ((remainder << 32) | digit).wrapping_sub(q.wrapping_mul(divisor));
        (q, rest)
    };
    let (q1, rest) = step(hi, lo >> 32);
    let (q0, rest) = step(rest, lo & LOW);
    ((q1 << 32) | q0, rest)
}

/// a / b
#[inline]
pub fn divide(control: Control, a: Operand, b: Operand) -> Rounded {
    if a.value.is_normal() && b.value.is_normal() && !a.was_denormal && !b.was_denormal {
        return divide_finite(control, a.value.normalized(), b.value.normalized());
    }
    divide_any(control, a, b)
}

#[inline]
fn divide_finite(control: Control, a: Finite, b: Finite) -> Rounded {
    let exponent = a.exponent - b.exponent + BIAS;
    let (exponent, hi, lo) = if a.significand >= b.significand {
        (exponent, a.significand >> 1, a.significand << 63)
    } else {
        (exponent - 1, a.significand, 0)
    };
    let (quotient, remainder) = divide_wide(hi, lo, b.significand);
    let fraction = if remainder == 0 {
        0
    } else {
        // Where twice the remainder stands to the divisor, without overflow.
        match remainder.cmp(&(b.significand - remainder)) {
            core::cmp::Ordering::Less => 1,
            core::cmp::Ordering::Equal => HALF,
            core::cmp::Ordering::Greater => HALF | 1,
        }
    };
    round_pack(
        control,
        a.negative != b.negative,
        exponent,
        quotient,
        fraction,
    )
}

#[cold]
fn divide_any(control: Control, a: Operand, b: Operand) -> Rounded {
    let flags = match screen(a, b) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    let (a, b) = (a.value, b.value);
    let negative = a.is_negative() != b.is_negative();
    match (a.class(), b.class()) {
        (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => INVALID,
        (Class::Infinity, _) => (F80::infinity(negative), flags),
        (_, Class::Infinity) => (F80::zero(negative), flags),
        // Division by zero comes before the denormal operand (Intel SDM vol. 1, 8.6).
        (_, Class::Zero) => (F80::infinity(negative), status::ZERO_DIVIDE),
        (Class::Zero, _) => (F80::zero(negative), flags),
        _ => {
            let (value, more) = divide_finite(control, a.normalized(), b.normalized());
            (value, flags | more)
        }
    }
}

/// The square root.
pub fn square_root(control: Control, a: F80) -> Rounded {
    let flags = match screen(a.into(), F80::ZERO.into()) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    match a.class() {
        Class::Zero => return (a, flags),
        _ if a.is_negative() => return INVALID,
        Class::Infinity => return (a, flags),
        _ => {}
    }
    let a = a.normalized();
    // radicand = root^2 with the root's bit 63 set; its exponent has to be even.
    let unbiased = a.exponent - BIAS;
    let radicand = (a.significand as u128) << (63 + (unbiased & 1));
    let root = radicand.isqrt() as u64;
    let remainder = radicand - root as u128 * root as u128;
    // (root + 1/2)^2 = root^2 + root + 1/4, which an integer never equals.
    let fraction = if remainder == 0 {
        0
    } else if remainder > root as u128 {
        HALF | 1
    } else {
        1
    };
    let (value, more) = round_pack(control, false, (unbiased >> 1) + BIAS, root, fraction);
    (value, flags | more)
}

/// How two values compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// The first is greater.
    Greater,
    /// The first is less.
    Less,
    /// They are equal; zeros of both signs are.
    Equal,
    /// At least one is a NaN or not supported.
    Unordered,
}

impl Relation {
    /// C3, C2 and C0 as the comparison instructions set them.
    #[inline]
    pub const fn conditions(self) -> u16 {
        match self {
            Relation::Greater => 0,
            Relation::Less => status::C0,
            Relation::Equal => status::C3,
            Relation::Unordered => status::C3 | status::C2 | status::C0,
        }
    }
}

/// Compares a with b, and says which exceptions that raises. With `quiet`, as FUCOM does, quiet NaNs
/// are no invalid operation.
pub fn compare(a: Operand, b: Operand, quiet: bool) -> (Relation, u16) {
    let flags = match screen(a, b) {
        Ok(flags) => flags,
        Err((_, flags)) => {
            return (
                Relation::Unordered,
                if quiet { flags } else { status::INVALID },
            );
        }
    };
    let (a, b) = (a.value, b.value);
    let key = |value: F80| {
        if value.significand == 0 {
            return 0;
        }
        // A pseudo-denormal has the value of the normal number with exponent 1.
        let pseudo = (value.exponent() == 0) as u64 & (value.significand >> 63);
        let magnitude =
            (((value.exponent() as u64 | pseudo) as i128) << 64) | value.significand as i128;
        debug_assert!(value.exponent() <= EXPONENT_MAX);
        if value.is_negative() {
            -magnitude
        } else {
            magnitude
        }
    };
    let relation = match key(a).cmp(&key(b)) {
        core::cmp::Ordering::Less => Relation::Less,
        core::cmp::Ordering::Equal => Relation::Equal,
        core::cmp::Ordering::Greater => Relation::Greater,
    };
    (relation, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [u64; 8] = [
        0,
        1,
        0xffff_ffff,
        1 << 32,
        INTEGER_BIT,
        INTEGER_BIT | 1,
        0xfedc_ba98_7654_3210,
        u64::MAX,
    ];

    #[test]
    fn product_of_halves_is_the_product() {
        for a in EDGES {
            for b in EDGES {
                let product = a as u128 * b as u128;
                assert_eq!(
                    multiply_halves(a, b),
                    ((product >> 64) as u64, product as u64),
                    "{a:x} {b:x}"
                );
            }
        }
    }

    #[test]
    fn quotient_of_halves_is_the_quotient() {
        for divisor in EDGES
            .into_iter()
            .filter(|divisor| divisor & INTEGER_BIT != 0)
        {
            for hi in EDGES.into_iter().filter(|&hi| hi < divisor) {
                for lo in EDGES {
                    let dividend = (hi as u128) << 64 | lo as u128;
                    let expected = (dividend / divisor as u128, dividend % divisor as u128);
                    let (quotient, rest) = divide_wide(hi, lo, divisor);
                    assert_eq!(
                        (quotient as u128, rest as u128),
                        expected,
                        "{hi:x} {lo:x} {divisor:x}"
                    );
                }
            }
        }
    }
}
