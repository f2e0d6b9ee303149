//! Numbers with a 128-bit significand, in which the transcendental functions are computed, and fixed-point
//! fractions for their series.

use crate::arith::{divide_wide, wide_multiply};
use crate::f80::{Finite, BIAS};

/// (-1)^negative * significand * 2^(exponent - 127), bit 127 of the significand set; or 0 if the
/// significand is 0. Operations truncate: each is off by less than 2^-125 of its result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide {
    pub negative: bool,
    pub exponent: i32,
    pub significand: u128,
}

/// 1 as a fixed-point number with 127 bits after the point.
pub(crate) const ONE: u128 = 1 << 127;

impl From<Finite> for Wide {
    fn from(value: Finite) -> Wide {
        Wide {
            negative: value.negative,
            exponent: value.exponent - BIAS,
            significand: (value.significand as u128) << 64,
        }
    }
}

impl Wide {
    pub const ZERO: Wide = Wide {
        negative: false,
        exponent: 0,
        significand: 0,
    };

    pub const fn new(exponent: i32, significand: u128) -> Wide {
        Wide {
            negative: false,
            exponent,
            significand,
        }
    }

    /// An integer times 2^exponent.
    pub fn from_integer(value: u128, exponent: i32) -> Wide {
        if value == 0 {
            return Wide::ZERO;
        }
        let shift = value.leading_zeros();
        Wide::new(exponent + 127 - shift as i32, value << shift)
    }

    pub fn is_zero(self) -> bool {
        self.significand == 0
    }

    pub fn negated(self) -> Wide {
        Wide {
            negative: !self.negative,
            ..self
        }
    }

    pub fn with_sign(self, negative: bool) -> Wide {
        Wide { negative, ..self }
    }

    /// The same times 2^steps.
    pub fn scaled(self, steps: i32) -> Wide {
        Wide {
            exponent: self.exponent + steps,
            ..self
        }
    }

    pub fn multiply(self, other: Wide) -> Wide {
        let product = multiply_high(self.significand, other.significand);
        if product == 0 {
            return Wide::ZERO;
        }
        let shift = product.leading_zeros();
        Wide {
            negative: self.negative != other.negative,
            exponent: self.exponent + other.exponent + 1 - shift as i32,
            significand: product << shift,
        }
    }

    /// The sum; the smaller one's bits below the larger one's last are lost.
    pub fn add(self, other: Wide) -> Wide {
        if other.is_zero() {
            return self;
        }
        if self.is_zero() {
            return other;
        }
        let swapped = (self.exponent, self.significand) < (other.exponent, other.significand);
        let (a, b) = if swapped {
            (other, self)
        } else {
            (self, other)
        };
        let distance = (a.exponent - b.exponent) as u32;
        let smaller = b.significand.checked_shr(distance).unwrap_or(0);
        if a.negative == b.negative {
            let (sum, carry) = a.significand.overflowing_add(smaller);
            if carry {
                return Wide {
                    exponent: a.exponent + 1,
                    significand: sum >> 1 | ONE,
                    ..a
                };
            }
            return Wide {
                significand: sum,
                ..a
            };
        }
        let difference = a.significand - smaller;
        if difference == 0 {
            return Wide::ZERO;
        }
        let shift = difference.leading_zeros();
        Wide {
            exponent: a.exponent - shift as i32,
            significand: difference << shift,
            ..a
        }
    }

    /// The quotient; the divisor must not be 0.
    pub fn divide(self, other: Wide) -> Wide {
        if self.is_zero() {
            return Wide::ZERO;
        }
        let (mut dividend, mut exponent) = (self.significand, self.exponent - other.exponent);
        let divisor = other.significand;
        // Below the divisor, so that the quotient is a fraction of 128 bits.
        let mut lowest = 0;
        if dividend >= divisor {
            lowest = (dividend as u64 & 1) << 63;
            dividend >>= 1;
        } else {
            exponent -= 1;
        }
        let (high, rest) = divide_limb(dividend, lowest, divisor);
        let (low, _) = divide_limb(rest, 0, divisor);
        Wide {
            negative: self.negative != other.negative,
            exponent,
            significand: (high as u128) << 64 | low as u128,
        }
    }

    /// The magnitude as a fraction of 2^128; it must be below 1.
    pub fn fraction(self) -> u128 {
        debug_assert!(self.is_zero() || self.exponent < 0);
        self.significand
            .checked_shr((-1 - self.exponent) as u32)
            .unwrap_or(0)
    }
}

/// One 64-bit digit of the quotient of dividend.next by a divisor whose bit 127 is set, and the
/// remainder; the dividend must be below the divisor.
fn divide_limb(dividend: u128, next: u64, divisor: u128) -> (u64, u128) {
    let (d1, d0) = ((divisor >> 64) as u64, divisor as u64);
    let (u2, u1) = ((dividend >> 64) as u64, dividend as u64);
    // The digit estimated from the divisor's first half is at most 2 too large.
    let (mut digit, mut rest) = if u2 >= d1 {
        (u64::MAX, u1 as u128 + d1 as u128)
    } else {
        let (digit, rest) = divide_wide(u2, u1, d1);
        (digit, rest as u128)
    };
    let (mut high, mut low) = wide_multiply(digit, d0);
    while rest >> 64 == 0 && (rest as u64, next) < (high, low) {
        digit -= 1;
        rest += d1 as u128;
        let borrow;
        (low, borrow) = low.overflowing_sub(d0);
        high -= borrow as u64;
    }
    let remainder = (rest << 64 | next as u128).wrapping_sub((high as u128) << 64 | low as u128);
    (digit, remainder)
}

/// The high half of the 256-bit product, at most 3 too small: a product of fractions.
pub(crate) fn multiply_high(a: u128, b: u128) -> u128 {
    let (a1, a0) = ((a >> 64) as u64, a as u64);
    let (b1, b0) = ((b >> 64) as u64, b as u64);
    let (high, low) = wide_multiply(a1, b1);
    let (cross1, _) = wide_multiply(a1, b0);
    let (cross0, _) = wide_multiply(a0, b1);
    let product = (high as u128) << 64 | low as u128;
    product + cross1 as u128 + cross0 as u128
}
