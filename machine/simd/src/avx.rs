//! What AVX and AVX2 add to the operations of SSE, for each half of a 256-bit register.
//!
//! Most instructions with a VEX prefix do in both halves what the SSE instruction does in its one: they have no
//! functions here. `table::legacy` says which instruction that is, `upper_immediate` what the immediate operand is for
//! the upper half.

use crate::{Xmm, Ymm};
use core::array::from_fn;

/// `vpermilps` by a register: each lane is that of `a` which the low two bits of `b`'s lane name.
pub fn vpermilps(a: Xmm, b: Xmm) -> Xmm {
    let (a, b) = (a.u32x4(), b.u32x4());
    Xmm::from_u32x4(from_fn(|i| a[b[i] as usize & 3]))
}

/// `vpermilpd` by a register: bit 1 of `b`'s lane names the lane of `a`.
pub fn vpermilpd(a: Xmm, b: Xmm) -> Xmm {
    Xmm(from_fn(|i| a.0[b.0[i] as usize >> 1 & 1]))
}

/// `vpermilpd` by an immediate.
pub fn vpermilpd_i(_a: Xmm, b: Xmm, order: u8) -> Xmm {
    Xmm(from_fn(|i| b.0[order as usize >> i & 1]))
}

/// `vpblendd`: the lanes of `b` whose bits are set, else those of `a`.
pub fn vpblendd(a: Xmm, b: Xmm, which: u8) -> Xmm {
    crate::integer::blendps(a, b, which)
}

macro_rules! variable_shifts {
    ($($name:ident: $get:ident $from:ident, |$x:ident, $by:ident, $bits:ident| $shifted:expr;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: each lane by its own count.")]
            pub fn $name(a: Xmm, b: Xmm) -> Xmm {
                let (a, b) = (a.$get(), b.$get());
                Xmm::$from(from_fn(|i| {
                    let ($x, $by) = (a[i], b[i]);
                    let $bits = 128 / a.len() as u32;
                    $shifted
                }))
            }
        )*
    };
}

variable_shifts! {
    vpsllvd: u32x4 from_u32x4, |x, by, bits| if by < bits { x << by } else { 0 };
    vpsllvq: u64x2 from_u64x2, |x, by, bits| if by < bits as u64 { x << by } else { 0 };
    vpsrlvd: u32x4 from_u32x4, |x, by, bits| if by < bits { x >> by } else { 0 };
    vpsrlvq: u64x2 from_u64x2, |x, by, bits| if by < bits as u64 { x >> by } else { 0 };
    vpsravd: u32x4 from_u32x4, |x, by, bits| (x as i32 >> by.min(bits - 1)) as u32;
}

/// ZF and CF of `vtestps` and `vtestpd`: as `ptest`, of the bits of a mask alone.
pub fn test_masked(a: Xmm, b: Xmm, mask: u64) -> (bool, bool) {
    let mask = |x: Xmm| Xmm(x.0.map(|half| half & mask));
    crate::integer::ptest(mask(a), mask(b))
}

/// `vpermd` and `vpermps`: each lane is that of `b` which the low three bits of `a`'s lane name.
pub fn vpermd(a: Ymm, b: Ymm) -> Ymm {
    let lane = |register: Ymm, i: usize| register.0[i / 4].u32x4()[i % 4];
    let half = |half: usize| Xmm::from_u32x4(from_fn(|i| lane(b, lane(a, half * 4 + i) as usize & 7)));
    Ymm([half(0), half(1)])
}

/// `vpermq` and `vpermpd`: each quadword is that of `b` which two bits of the immediate name.
pub fn vpermq(b: Ymm, order: u8) -> Ymm {
    let quad = |i: usize| {
        let from = order as usize >> (2 * i) & 3;
        b.0[from / 2].0[from % 2]
    };
    Ymm([Xmm([quad(0), quad(1)]), Xmm([quad(2), quad(3)])])
}

/// `vperm2f128` and `vperm2i128`: each half is one of the four of `a` and `b`, or zero.
pub fn vperm2f128(a: Ymm, b: Ymm, control: u8) -> Ymm {
    let half = |control: u8| {
        let from = control as usize & 3;
        match control & 8 {
            0 if from < 2 => a.0[from],
            0 => b.0[from - 2],
            _ => Xmm::ZERO,
        }
    };
    Ymm([half(control), half(control >> 4)])
}
