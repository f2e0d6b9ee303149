//! Conversions between integers and floating point, and between its formats.
//!
//! What does not fit an integer gives the integer indefinite (only the top bit set) and IE.

use crate::float::{double, single};
use crate::mxcsr::{Mxcsr, PE, ZERO};
use crate::soft::{self, F16, F32, F64};
use crate::Xmm;
use core::array::from_fn;

macro_rules! to_integers {
    ($($name:ident $truncating:ident: $bits:ident as $format:ident -> $int:ident $width:literal;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: by MXCSR's rounding.")]
            #[inline]
            pub fn $name(mx: &mut Mxcsr, x: $bits) -> $int {
                let rounding = mx.rounding();
                soft::to_integer::<$format>(mx, rounding, $width, x as u64) as $int
            }

            #[doc = concat!("`", stringify!($truncating), "`: toward zero.")]
            #[inline]
            pub fn $truncating(mx: &mut Mxcsr, x: $bits) -> $int {
                to_integers!(@fast $format, $int, mx, x);
                soft::to_integer::<$format>(mx, ZERO, $width, x as u64) as $int
            }
        )*
    };
    (@fast F32, $int:ident, $mx:ident, $x:ident) => { to_integers!(@host f32 single $int $mx $x) };
    (@fast F64, $int:ident, $mx:ident, $x:ident) => { to_integers!(@host f64 double $int $mx $x) };
    (@host $float:ident $module:ident $int:ident $mx:ident $x:ident) => {
        let value = $float::from_bits($x);
        let whole = value as $int;
        // Rust's conversion saturates; what lies between the limits has not been.
        if $module::plain($x) && whole != $int::MAX && whole != $int::MIN {
            if whole as $float != value {
                $mx.raise(PE);
            }
            return whole;
        }
    };
}

to_integers! {
    cvtss2si32 cvttss2si32: u32 as F32 -> i32 32;
    cvtss2si64 cvttss2si64: u32 as F32 -> i64 64;
    cvtsd2si32 cvttsd2si32: u64 as F64 -> i32 32;
    cvtsd2si64 cvttsd2si64: u64 as F64 -> i64 64;
}

macro_rules! from_integers {
    ($($name:ident: $int:ident -> $bits:ident $float:ident $format:ident;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: by MXCSR's rounding.")]
            #[inline]
            pub fn $name(mx: &mut Mxcsr, x: $int) -> $bits {
                if mx.nearest_and_inexact() {
                    return (x as $float).to_bits();
                }
                soft::from_integer::<$format>(mx, x as i64) as $bits
            }
        )*
    };
}

from_integers! {
    cvtsi2ss32: i32 -> u32 f32 F32;
    cvtsi2ss64: i64 -> u32 f32 F32;
    cvtsi2sd64: i64 -> u64 f64 F64;
}

/// `cvtsi2sd` of 32 bits, which is always exact.
#[inline]
pub fn cvtsi2sd32(x: i32) -> u64 {
    (x as f64).to_bits()
}

/// A double of a single.
#[inline]
fn widen(mx: &mut Mxcsr, x: u32) -> u64 {
    if single::plain(x) {
        (f32::from_bits(x) as f64).to_bits()
    } else {
        soft::convert::<F32, F64>(mx, x as u64)
    }
}

/// A single of a double.
#[inline]
fn narrow(mx: &mut Mxcsr, x: u64) -> u32 {
    let value = f64::from_bits(x);
    // Far from the single format's limits, so that only PE can be raised.
    if double::zero(x) || mx.nearest() && (1e-37..1e38).contains(&f64::from_bits(x & !(1 << 63))) {
        let result = value as f32;
        if result as f64 != value {
            mx.raise(PE);
        }
        return result.to_bits();
    }
    soft::convert::<F64, F32>(mx, x) as u32
}

/// `cvtss2sd`: the low lane; the rest is `a`'s.
#[inline]
pub fn cvtss2sd(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
    a.with_low64(widen(mx, b.low32()))
}

/// `cvtsd2ss`: the low lane; the rest is `a`'s.
#[inline]
pub fn cvtsd2ss(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
    a.with_low32(narrow(mx, b.0[0]))
}

/// `cvtps2pd`: the two low singles of `b`.
#[inline]
pub fn cvtps2pd(mx: &mut Mxcsr, _a: Xmm, b: Xmm) -> Xmm {
    let b = b.u32x4();
    Xmm([widen(mx, b[0]), widen(mx, b[1])])
}

/// `cvtpd2ps`: two singles, and zero above.
#[inline]
pub fn cvtpd2ps(mx: &mut Mxcsr, _a: Xmm, b: Xmm) -> Xmm {
    Xmm::from_u32x4([narrow(mx, b.0[0]), narrow(mx, b.0[1]), 0, 0])
}

/// `cvtdq2ps`: four singles of signed dwords.
#[inline]
pub fn cvtdq2ps(mx: &mut Mxcsr, _a: Xmm, b: Xmm) -> Xmm {
    let b = b.i32x4();
    if mx.nearest_and_inexact() {
        return Xmm::from_f32x4(from_fn(|i| b[i] as f32));
    }
    Xmm::from_u32x4(from_fn(|i| cvtsi2ss32(mx, b[i])))
}

/// `cvtdq2pd`: two doubles of the low signed dwords; exact.
#[inline]
pub fn cvtdq2pd(_a: Xmm, b: Xmm) -> Xmm {
    let b = b.i32x4();
    Xmm::from_f64x2([b[0] as f64, b[1] as f64])
}

macro_rules! packed_to_integers {
    ($($name:ident: $get:ident $lane:ident, |$lanes:ident| $all:expr;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: signed dwords; zero above them.")]
            #[inline]
            pub fn $name(mx: &mut Mxcsr, _a: Xmm, b: Xmm) -> Xmm {
                let $lanes = b.$get().map(|x| $lane(mx, x));
                Xmm::from_i32x4($all)
            }
        )*
    };
}

packed_to_integers! {
    cvtps2dq: u32x4 cvtss2si32, |x| x;
    cvttps2dq: u32x4 cvttss2si32, |x| x;
    cvtpd2dq: u64x2 cvtsd2si32, |x| [x[0], x[1], 0, 0];
    cvttpd2dq: u64x2 cvttsd2si32, |x| [x[0], x[1], 0, 0];
}

/// `cvtpi2ps`: the low two singles from an MMX value; the rest is `a`'s.
#[inline]
pub fn cvtpi2ps(mx: &mut Mxcsr, a: Xmm, b: u64) -> Xmm {
    a.with_low64(cvtsi2ss32(mx, b as i32) as u64 | (cvtsi2ss32(mx, (b >> 32) as i32) as u64) << 32)
}

/// `cvtpi2pd`: two doubles from an MMX value; exact.
#[inline]
pub fn cvtpi2pd(b: u64) -> Xmm {
    cvtdq2pd(Xmm::ZERO, Xmm([b, 0]))
}

macro_rules! to_mmx {
    ($($name:ident: $get:ident $lane:ident;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: an MMX value of two signed dwords from the low two lanes.")]
            #[inline]
            pub fn $name(mx: &mut Mxcsr, b: Xmm) -> u64 {
                let b = b.$get();
                $lane(mx, b[0]) as u32 as u64 | ($lane(mx, b[1]) as u32 as u64) << 32
            }
        )*
    };
}

to_mmx! {
    cvtps2pi: u32x4 cvtss2si32;
    cvttps2pi: u32x4 cvttss2si32;
    cvtpd2pi: u64x2 cvtsd2si32;
    cvttpd2pi: u64x2 cvttsd2si32;
}

/// `vcvtph2ps`: four singles of the low four halves of `b`. DAZ does not count, and a denormal raises no DE.
#[inline]
pub fn vcvtph2ps(mx: &mut Mxcsr, b: Xmm) -> Xmm {
    let b = b.u16x8();
    let mut own = Mxcsr::default();
    let result = Xmm::from_u32x4(from_fn(|i| soft::convert::<F16, F32>(&mut own, b[i] as u64) as u32));
    mx.raise(own.0 & crate::mxcsr::IE);
    result
}

/// `vcvtps2ph`: four halves, and zero above. FTZ does not count. Bit 2 of the immediate: MXCSR's rounding.
#[inline]
pub fn vcvtps2ph(mx: &mut Mxcsr, b: Xmm, control: u8) -> Xmm {
    use crate::mxcsr::{FLAGS, FTZ, RC_SHIFT};
    let b = b.u32x4();
    let mut own = Mxcsr(mx.0 & !FTZ);
    if control & 4 == 0 {
        own.0 = own.0 & !(3 << RC_SHIFT) | (control as u32 & 3) << RC_SHIFT;
    }
    let lanes: [u64; 4] = from_fn(|i| soft::convert::<F32, F16>(&mut own, b[i] as u64));
    mx.raise(own.0 & FLAGS);
    Xmm([lanes[0] | lanes[1] << 16 | lanes[2] << 32 | lanes[3] << 48, 0])
}
