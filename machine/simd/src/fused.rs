//! FMA: a product and a sum that are rounded once.

use crate::float::{fma32, fma64};
use crate::mxcsr::Mxcsr;
use crate::Xmm;
use core::array::from_fn;

/// What one of the FMA instructions does with its three operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fused(u8);

/// Which operands are multiplied, and which one is added: the three digits of the mnemonic less one, the two that are
/// multiplied in the order in which their NaNs win.
const ORDERS: [[usize; 3]; 3] = [[0, 2, 1], [1, 0, 2], [1, 2, 0]];
const ORDER: u8 = 3;
const NEGATIVE_PRODUCT: u8 = 1 << 2;
const NEGATIVE_ADDEND: u8 = 1 << 3;
/// The addends of odd lanes have the other sign.
const ALTERNATING: u8 = 1 << 4;
const DOUBLE: u8 = 1 << 5;
/// The low lane alone; the rest is the first operand's.
const SCALAR: u8 = 1 << 6;

/// The kinds of a sum, by the mnemonics' beginnings.
pub(crate) mod sum {
    use super::*;
    pub const VFMADD: u8 = 0;
    pub const VFMSUB: u8 = NEGATIVE_ADDEND;
    pub const VFNMADD: u8 = NEGATIVE_PRODUCT;
    pub const VFNMSUB: u8 = NEGATIVE_PRODUCT | NEGATIVE_ADDEND;
    pub const VFMADDSUB: u8 = NEGATIVE_ADDEND | ALTERNATING;
    pub const VFMSUBADD: u8 = ALTERNATING;
}

/// The lanes, by the mnemonics' ends.
pub(crate) mod lanes {
    use super::*;
    pub const PS: u8 = 0;
    pub const PD: u8 = DOUBLE;
    pub const SS: u8 = SCALAR;
    pub const SD: u8 = SCALAR | DOUBLE;
}

impl Fused {
    pub(crate) const fn new(sum: u8, order: u8, lanes: u8) -> Fused {
        Fused(sum | order | lanes)
    }

    /// As a number, from which `from_bits` makes it again.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// What `bits` gave. (Any number is the instruction of some mnemonic.)
    pub const fn from_bits(bits: u8) -> Fused {
        Fused(bits)
    }

    /// Which of the operands, numbered from 0, are multiplied, and then which one is added.
    pub const fn order(self) -> [usize; 3] {
        let order = (self.0 & ORDER) as usize;
        ORDERS[if order < 3 { order } else { 2 }]
    }

    /// Whether the numbers are doubles.
    pub const fn double(self) -> bool {
        self.0 & DOUBLE != 0
    }

    /// Whether it is the low lane alone.
    pub const fn scalar(self) -> bool {
        self.0 & SCALAR != 0
    }

    fn lane(self, mx: &mut Mxcsr, i: usize, operands: [u64; 3]) -> u64 {
        let [a, b, c] = self.order().map(|operand| operands[operand]);
        let subtracts = (self.0 & NEGATIVE_ADDEND != 0) != (self.0 & ALTERNATING != 0 && i % 2 == 1);
        if self.double() {
            let negated = |x: u64, negate: bool| if negate && !f64::from_bits(x).is_nan() { x ^ 1 << 63 } else { x };
            fma64(mx, negated(a, self.0 & NEGATIVE_PRODUCT != 0), b, negated(c, subtracts))
        } else {
            let negated = |x: u64, negate: bool| {
                let x = x as u32;
                if negate && !f32::from_bits(x).is_nan() { x ^ 1 << 31 } else { x }
            };
            u64::from(fma32(mx, negated(a, self.0 & NEGATIVE_PRODUCT != 0), b as u32, negated(c, subtracts)))
        }
    }

    /// The new value of the first operand.
    pub fn execute(self, mx: &mut Mxcsr, operands: [Xmm; 3]) -> Xmm {
        let [first, ..] = operands;
        match (self.double(), self.scalar()) {
            (true, true) => first.with_low64(self.lane(mx, 0, operands.map(|x| x.0[0]))),
            (true, false) => Xmm(from_fn(|i| self.lane(mx, i, operands.map(|x| x.0[i])))),
            (false, true) => first.with_low32(self.lane(mx, 0, operands.map(|x| u64::from(x.low32()))) as u32),
            (false, false) => {
                let operands = operands.map(Xmm::u32x4);
                Xmm::from_u32x4(from_fn(|i| self.lane(mx, i, operands.map(|x| u64::from(x[i]))) as u32))
            }
        }
    }
}
