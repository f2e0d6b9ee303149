//! The transcendental functions (Intel SDM vol. 1, 8.3.5 to 8.3.10), computed with 128-bit significands and
//! rounded once: nearly always the correctly rounded result.
//!
//! Where processors differ, this follows AMD's, which judge the tests:
//! - Sine, cosine and tangent reduce their argument by a value of pi with 66 bits (Intel's do the same).
//! - Precision is raised for every result that is not a zero, an infinity or a NaN, though it may be exact.
//! - F2XM1 gives an argument beyond -1 to 1 back as it is, and FYL2XP1 gives right results beyond its
//!   documented range as long as the logarithm exists. Intel leaves both undefined.

use crate::arith::screen;
use crate::control::{status, Control};
use crate::f80::{Class, BIAS, F80};
use crate::round::{round_pack, Rounded};
use crate::wide::{multiply_high, Wide, ONE};

/// pi
const PI: Wide = Wide::new(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1);
/// The natural logarithm of 2.
const LN_2: Wide = Wide::new(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af);
/// 2 / ln(2)
const TWO_OVER_LN_2: Wide = Wide::new(1, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88);
/// Arctangents of 0, 1/8 and so on to 1.
const ARCTANGENTS: [Wide; 9] = [
    Wide::ZERO,
    Wide::new(-4, 0xfead_d4d5_617b_6e32_c897_989f_3e88_8ef7),
    Wide::new(-3, 0xfadb_afc9_6406_eb15_6dc7_9ef5_f7a2_17e5),
    Wide::new(-2, 0xb7b0_ca0f_26f7_8473_8aa3_2122_dcfe_4483),
    Wide::new(-2, 0xed63_382b_0dda_7b45_6fe4_45ec_bc3a_8d03),
    Wide::new(-1, 0x8f00_5d5e_f7f5_9f9b_5c83_5e16_65c4_3747),
    Wide::new(-1, 0xa4bc_7d19_34f7_0924_19a8_7f2a_457d_ac9e),
    Wide::new(-1, 0xb805_3e2b_c231_9e73_cb2d_a552_10a4_443d),
    Wide::new(-1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1),
];
const UNIT: Wide = Wide::new(0, ONE);

const INVALID: Rounded = (F80::INDEFINITE, status::INVALID);

/// 1 / divisor as a fraction of 2^128 (divisors from 2 on).
const fn reciprocal(divisor: u128) -> u128 {
    // For powers of two this is one unit too small, which does not count.
    u128::MAX / divisor
}

/// Reciprocals of first, first + step and so on.
const fn reciprocals<const N: usize>(first: u128, step: u128) -> [u128; N] {
    let mut table = [0; N];
    let mut index = 0;
    while index < N {
        table[index] = reciprocal(first + step * index as u128);
        index += 1;
    }
    table
}

/// Rounds a result that is not exact, or exact but reported as inexact.
fn round(control: Control, value: Wide, exact: bool, flags: u16) -> Rounded {
    let (hi, lo) = (
        (value.significand >> 64) as u64,
        value.significand as u64 | !exact as u64,
    );
    let (value, mut more) = round_pack(
        control.extended(),
        value.negative,
        value.exponent + BIAS,
        hi,
        lo,
    );
    more |= status::PRECISION;
    if value.class() == Class::Denormal {
        more |= status::UNDERFLOW;
    }
    (value, flags | more)
}

/// What a function of one argument has to say about NaNs and unsupported encodings.
fn screen_one(value: F80) -> Result<u16, Rounded> {
    screen(value.into(), F80::ONE.into())
}

/// Whether FSIN and its like refuse the argument: finite, of a magnitude of 2^63 or more. They set C2 then.
pub fn is_out_of_range(value: F80) -> bool {
    value.class() == Class::Normal && value.exponent() as i32 >= BIAS + 63
}

/// An angle reduced to a quadrant.
struct Angle {
    /// From -pi/4 to pi/4.
    rest: Wide,
    /// Number of quarter turns, modulo 4.
    quadrant: u8,
}

/// Reduces the magnitude of a finite number, not 0 and in range, by a multiple of pi/2, with pi cut off
/// after 66 bits.
fn reduce(value: F80) -> Angle {
    /// pi * 2^64, pi/2 * 2^65
    const PI_66: u128 = 0x3_243f_6a88_85a3_08d3;
    let number = value.absolute().normalized();
    let exponent = number.exponent - BIAS;
    if exponent < -1 {
        return Angle {
            rest: number.into(),
            quadrant: 0,
        };
    }
    // In units of 2^-65, exact.
    let scaled = (number.significand as u128) << (exponent + 2);
    let (turns, rest) = (scaled / PI_66, scaled % PI_66);
    if rest > PI_66 / 2 {
        let rest = Wide::from_integer(PI_66 - rest, -65).negated();
        Angle {
            rest,
            quadrant: (turns + 1) as u8 & 3,
        }
    } else {
        Angle {
            rest: Wide::from_integer(rest, -65),
            quadrant: turns as u8 & 3,
        }
    }
}

/// The alternating series 1 - x * f[0] * (1 - x * f[1] * ...) with x and the factors as fractions of 2^128,
/// in fixed point; below 1.
fn alternating_product(x: u128, factors: &[u128]) -> u128 {
    let sum = factors.iter().rev().fold(ONE, |sum, &factor| {
        ONE - multiply_high(sum, multiply_high(x, factor))
    });
    sum.min(ONE - 1)
}

impl Angle {
    /// rest * (1 - rest^2 / 2*3 * (1 - rest^2 / 4*5 * ...))
    fn sine(&self) -> Wide {
        const FACTORS: [u128; 14] = {
            let mut table = [0; 14];
            let mut index = 0;
            while index < 14 {
                let n = 2 * index as u128 + 2;
                table[index] = reciprocal(n * (n + 1));
                index += 1;
            }
            table
        };
        let fraction = self.rest.fraction();
        let series = alternating_product(multiply_high(fraction, fraction), &FACTORS);
        self.rest.multiply(Wide::from_integer(series, -127))
    }

    /// 1 - rest^2 / 1*2 * (1 - rest^2 / 3*4 * ...)
    fn cosine(&self) -> Wide {
        const FACTORS: [u128; 14] = {
            let mut table = [0; 14];
            let mut index = 0;
            while index < 14 {
                let n = 2 * index as u128 + 1;
                table[index] = reciprocal(n * (n + 1));
                index += 1;
            }
            table
        };
        let fraction = self.rest.fraction();
        let series = alternating_product(multiply_high(fraction, fraction), &FACTORS);
        Wide::from_integer(series, -127)
    }

    /// Sine of the whole angle with `turns` more quarter turns.
    fn sine_of_quadrant(&self, turns: u8) -> Wide {
        let value = if (self.quadrant + turns) & 1 == 0 {
            self.sine()
        } else {
            self.cosine()
        };
        if (self.quadrant + turns) & 2 == 0 {
            value
        } else {
            value.negated()
        }
    }
}

/// FSIN, of an argument in range
pub fn sine(control: Control, value: F80) -> Rounded {
    let flags = match screen_one(value) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    match value.class() {
        Class::Infinity => INVALID,
        Class::Zero => (value, flags),
        _ => {
            let sine = reduce(value).sine_of_quadrant(0);
            round(
                control,
                sine.with_sign(sine.negative != value.is_negative()),
                false,
                flags,
            )
        }
    }
}

/// FCOS, of an argument in range
pub fn cosine(control: Control, value: F80) -> Rounded {
    let flags = match screen_one(value) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    match value.class() {
        Class::Infinity => INVALID,
        Class::Zero => (F80::ONE, flags),
        _ => round(control, reduce(value).sine_of_quadrant(1), false, flags),
    }
}

/// FPTAN, of an argument in range, without the 1 that it pushes
pub fn tangent(control: Control, value: F80) -> Rounded {
    let flags = match screen_one(value) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    match value.class() {
        Class::Infinity => INVALID,
        Class::Zero => (value, flags),
        _ => {
            let angle = reduce(value);
            let tangent = angle.sine_of_quadrant(0).divide(angle.sine_of_quadrant(1));
            round(
                control,
                tangent.with_sign(tangent.negative != value.is_negative()),
                false,
                flags,
            )
        }
    }
}

/// 2^x - 1 with |x| below 1
fn power_minus_1(x: Wide) -> Wide {
    /// Reciprocals of 2, 3 and so on.
    const FACTORS: [u128; 19] = reciprocals(2, 1);
    /// How often the argument is halved.
    const HALVINGS: i32 = 3;
    // e^t - 1 = t * (1 + t/2 * (1 + t/3 * ...)), then e^2t - 1 = (e^t - 1) * (e^t - 1 + 2).
    let t = x.multiply(LN_2).scaled(-HALVINGS);
    let fraction = t.fraction();
    let series = FACTORS.iter().rev().fold(ONE, |sum, &factor| {
        let term = multiply_high(sum, multiply_high(fraction, factor));
        if t.negative {
            ONE - term
        } else {
            ONE + term
        }
    });
    let mut result = t.multiply(Wide::from_integer(series, -127));
    for _ in 0..HALVINGS {
        result = result.multiply(result.add(UNIT.scaled(1)));
    }
    result
}

/// F2XM1: 2^x - 1
pub fn exp2_minus_1(control: Control, value: F80) -> Rounded {
    let flags = match screen_one(value) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    match value.class() {
        Class::Zero => return (value, flags),
        Class::Infinity if value.is_negative() => return (F80::ONE.negated(), flags),
        Class::Infinity => return (value, flags),
        _ => {}
    }
    if value.exponent() as i32 >= BIAS {
        // 1 is its own result; -1/2 is the one of -1.
        let minus_one = value == F80::ONE.negated();
        let result = if minus_one {
            F80::new(0xbffe, F80::ONE.significand)
        } else {
            value
        };
        return (result, flags | status::PRECISION);
    }
    round(
        control,
        power_minus_1(value.normalized().into()),
        false,
        flags,
    )
}

/// log2((1 + z) / (1 - z)) = 2/ln(2) * z * (1 + z^2/3 + z^4/5 + ...), |z| below 0.172
fn log2_of_ratio(z: Wide) -> Wide {
    /// Reciprocals of 3, 5 and so on.
    const FACTORS: [u128; 25] = reciprocals(3, 2);
    let fraction = z.fraction();
    let square = multiply_high(fraction, fraction);
    // The factors have 128 bits after the point, the sum has 127.
    let sum = FACTORS
        .iter()
        .rev()
        .fold(0, |sum, &factor| multiply_high(square, sum + (factor >> 1)));
    z.multiply(Wide::from_integer(ONE + sum, -127))
        .multiply(TWO_OVER_LN_2)
}

/// log2 of a positive number, and whether it is exact.
fn log2(value: Wide) -> (Wide, bool) {
    // To a significand between the square roots of 1/2 and 2.
    const SQRT_2: u128 = 0xb504_f333_f9de_6484 << 64;
    let above = (value.significand > SQRT_2) as i32;
    let power = value.exponent + above;
    let significand = Wide::new(-above, value.significand);
    let integer = Wide::from_integer(power.unsigned_abs() as u128, 0).with_sign(power < 0);
    if significand.significand == ONE {
        return (integer, true);
    }
    let z = significand
        .add(UNIT.negated())
        .divide(significand.add(UNIT));
    (integer.add(log2_of_ratio(z)), false)
}

/// log2(x + 1) of a number that is not 0 and above -1, and whether it is exact.
fn log2_plus_1(x: Wide) -> (Wide, bool) {
    if x.exponent < -2 {
        // Without the sum, which would lose bits.
        return (log2_of_ratio(x.divide(x.add(UNIT.scaled(1)))), false);
    }
    log2(x.add(UNIT))
}

/// y * logarithm, where y is finite and not 0.
fn scale_log(control: Control, y: F80, (logarithm, exact): (Wide, bool), flags: u16) -> Rounded {
    if logarithm.is_zero() {
        return (F80::zero(y.is_negative()), flags);
    }
    round(
        control,
        Wide::from(y.normalized()).multiply(logarithm),
        exact,
        flags,
    )
}

/// FYL2X: y * log2(x)
pub fn y_log2_x(control: Control, y: F80, x: F80) -> Rounded {
    let flags = match screen(y.into(), x.into()) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    let negative = y.is_negative();
    match (y.class(), x.class()) {
        (Class::Zero, Class::Zero) => INVALID,
        (Class::Infinity, Class::Zero) => (F80::infinity(!negative), flags),
        (_, Class::Zero) => (F80::infinity(!negative), status::ZERO_DIVIDE),
        _ if x.is_negative() => INVALID,
        (Class::Zero, Class::Infinity) => INVALID,
        (_, Class::Infinity) => (F80::infinity(negative), flags),
        (Class::Zero | Class::Infinity, _) => {
            // The sign of the logarithm decides.
            if x == F80::ONE {
                return if y.class() == Class::Infinity {
                    INVALID
                } else {
                    (y, flags)
                };
            }
            let below = x.exponent() < BIAS as u16;
            (
                F80::new(y.sign_exponent ^ (below as u16) << 15, y.significand),
                flags,
            )
        }
        _ => scale_log(control, y, log2(x.normalized().into()), flags),
    }
}

/// FYL2XP1: y * log2(x + 1)
pub fn y_log2_x_plus_1(control: Control, y: F80, x: F80) -> Rounded {
    let flags = match screen(y.into(), x.into()) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    let negative = y.is_negative() != x.is_negative();
    match (y.class(), x.class()) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => INVALID,
        (_, Class::Infinity) if x.is_negative() => INVALID,
        (Class::Infinity, _) | (_, Class::Infinity) => (F80::infinity(negative), flags),
        (Class::Zero, _) | (_, Class::Zero) => (F80::zero(negative), flags),
        _ => {
            let number = Wide::from(x.normalized());
            if x.is_negative() && number.exponent >= 0 {
                // At most -1: there is no logarithm.
                return (x, flags | status::PRECISION);
            }
            scale_log(control, y, log2_plus_1(number), flags)
        }
    }
}

/// The arctangent of a ratio between 0 and 1.
fn arctangent_of(ratio: Wide) -> Wide {
    /// Reciprocals of 3, 5 and so on.
    const FACTORS: [u128; 16] = reciprocals(3, 2);
    // The nearest multiple of 1/8, and atan(r) = atan(c) + atan((r - c) / (1 + r * c)).
    let eighths = if ratio.exponent >= 0 {
        8
    } else {
        ((ratio.fraction() >> 124) as usize).div_ceil(2)
    };
    let mut rest = ratio;
    if eighths > 0 {
        let nearest = Wide::from_integer(eighths as u128, -3);
        rest = ratio
            .add(nearest.negated())
            .divide(UNIT.add(ratio.multiply(nearest)));
    }
    let fraction = rest.fraction();
    let square = multiply_high(fraction, fraction);
    let sum = FACTORS
        .iter()
        .rev()
        .fold(0, |sum, &factor| multiply_high(square, (factor >> 1) - sum));
    let series = (ONE - sum).min(ONE - 1);
    ARCTANGENTS[eighths].add(rest.multiply(Wide::from_integer(series, -127)))
}

/// FPATAN: the angle of the point (x, y), from -pi to pi
pub fn arctangent(control: Control, y: F80, x: F80) -> Rounded {
    let flags = match screen(y.into(), x.into()) {
        Ok(flags) => flags,
        Err(answer) => return answer,
    };
    let (left, below) = (x.is_negative(), y.is_negative());
    // Angles of infinities and of zeros, as multiples of pi/4.
    let quarters = match (y.class(), x.class()) {
        (Class::Infinity, Class::Infinity) => Some(if left { 3 } else { 1 }),
        (Class::Infinity, _) => Some(2),
        (_, Class::Infinity) | (Class::Zero, _) => Some(if left { 4 } else { 0 }),
        (_, Class::Zero) => Some(2),
        _ => None,
    };
    let angle = match quarters {
        Some(0) => return (F80::zero(below), flags),
        Some(quarters) => PI.multiply(Wide::from_integer(quarters, -2)),
        None => {
            let (a, b) = (
                Wide::from(y.absolute().normalized()),
                Wide::from(x.absolute().normalized()),
            );
            let steep = (a.exponent, a.significand) > (b.exponent, b.significand);
            let angle = if steep {
                PI.scaled(-1).add(arctangent_of(b.divide(a)).negated())
            } else {
                arctangent_of(a.divide(b))
            };
            if left {
                PI.add(angle.negated())
            } else {
                angle
            }
        }
    };
    round(control, angle.with_sign(below), false, flags)
}

#[cfg(test)]
mod tests;
