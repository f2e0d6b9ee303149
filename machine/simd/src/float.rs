//! Floating point of SSE to SSE4.1: arithmetic, comparison, rounding.
//!
//! The host rounds to nearest and has no flags. Its result is what the processor gives where rounding is to nearest,
//! the operands are normal numbers or zeros, and the result is a normal number above the smallest binade or an exact
//! zero: then only PE can be raised, whatever DAZ, FTZ and the masks are. Once PE is set nothing else is to be done;
//! before, it is found out whether the result is exact. Everything else goes through `soft`, NaNs too: their bits are
//! not determined in WebAssembly.

use crate::mxcsr::{Mxcsr, PE};
use crate::soft::{self, F32, F64};
use crate::Xmm;
use core::array::from_fn;
use core::cmp::Ordering;

/// The host's square roots; `core` has none. Without an instruction for it, `None`.
mod host {
    #[inline(always)]
    pub fn sqrt64(x: f64) -> Option<f64> {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_mm_cvtsd_f64, _mm_set_sd, _mm_sqrt_pd};
            // SAFETY: SSE2 is part of x86-64.
            Some(unsafe { _mm_cvtsd_f64(_mm_sqrt_pd(_mm_set_sd(x))) })
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        {
            use core::arch::wasm32::{f64x2_extract_lane, f64x2_splat, f64x2_sqrt};
            Some(f64x2_extract_lane::<0>(f64x2_sqrt(f64x2_splat(x))))
        }
        #[cfg(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))))]
        {
            let _ = x;
            None
        }
    }

    #[inline(always)]
    pub fn sqrt32(x: f32) -> Option<f32> {
        // Rounding twice is harmless: a double has more than twice the bits and two.
        sqrt64(x as f64).map(|root| root as f32)
    }
}

/// The significand's bits without its trailing zeros, for a normal number.
fn odd(x: u64) -> u64 {
    let significand = x & ((1 << 52) - 1) | 1 << 52;
    significand >> significand.trailing_zeros()
}

/// Whether the product of two odd integers below 2^53 is `product`, or, if that is `None`, below 2^53.
fn product_is(a: u64, b: u64, product: Option<u64>) -> bool {
    let bits = 128 - a.leading_zeros() - b.leading_zeros();
    bits <= 54 && product.map_or(a * b < 1 << 53, |product| a * b == product)
}

/// The error term of a sum is zero (Knuth's algorithm; right while nothing overflows).
macro_rules! sum_is_exact {
    ($a:expr, $b:expr, $sum:expr) => {{
        let (a, b, sum) = ($a, $b, $sum);
        let part = sum - a;
        (a - (sum - part)) + (b - part) == 0.0
    }};
}

macro_rules! format {
    ($module:ident, $float:ident, $bits:ident, $int:ident, $format:ident, $sqrt:ident,
     $mul_exact:expr, $div_exact:expr, $sqrt_exact:expr) => {
        /// One lane's operations.
        pub(crate) mod $module {
            use super::*;
            use soft::Format;

            const ONE: $bits = 1 << $format::M;
            const INFINITY: $bits = $format::INFINITY as $bits;
            const MAGNITUDE: $bits = $bits::MAX >> 1;

            /// Normal or zero.
            #[inline(always)]
            pub fn plain(x: $bits) -> bool {
                // Signed comparisons: WebAssembly has no unsigned ones of 64-bit lanes.
                let x = (x & MAGNITUDE) as $int;
                (x == 0) | (x >= ONE as $int) & (x < INFINITY as $int)
            }

            #[inline(always)]
            pub fn zero(x: $bits) -> bool {
                x & MAGNITUDE == 0
            }

            /// Normal, above the smallest binade, where a result may have been tiny, and below the largest.
            #[inline(always)]
            pub fn inner(x: $bits) -> bool {
                let x = (x & MAGNITUDE) as $int;
                (x >= 2 * ONE as $int) & (x < (INFINITY - ONE) as $int)
            }

            #[inline(always)]
            pub fn host_add(a: $bits, b: $bits) -> ($bits, bool) {
                let r = ($float::from_bits(a) + $float::from_bits(b)).to_bits();
                (r, plain(a) & plain(b) & (inner(r) | zero(r)))
            }

            #[inline(always)]
            pub fn host_sub(a: $bits, b: $bits) -> ($bits, bool) {
                let r = ($float::from_bits(a) - $float::from_bits(b)).to_bits();
                (r, plain(a) & plain(b) & (inner(r) | zero(r)))
            }

            #[inline(always)]
            pub fn host_mul(a: $bits, b: $bits) -> ($bits, bool) {
                let r = ($float::from_bits(a) * $float::from_bits(b)).to_bits();
                (r, plain(a) & plain(b) & (inner(r) | zero(a) | zero(b)))
            }

            #[inline(always)]
            pub fn host_div(a: $bits, b: $bits) -> ($bits, bool) {
                let r = ($float::from_bits(a) / $float::from_bits(b)).to_bits();
                (r, plain(a) & plain(b) & (inner(r) | zero(a)) & !zero(b))
            }

            #[inline(always)]
            pub fn host_sqrt(_a: $bits, b: $bits) -> ($bits, bool) {
                match host::$sqrt($float::from_bits(b)) {
                    Some(r) => (r.to_bits(), plain(b) & (zero(b) | (b <= MAGNITUDE))),
                    None => (0, false),
                }
            }

            fn add_exact(a: $bits, b: $bits, r: $bits) -> bool {
                sum_is_exact!($float::from_bits(a), $float::from_bits(b), $float::from_bits(r))
            }
            fn sub_exact(a: $bits, b: $bits, r: $bits) -> bool {
                sum_is_exact!($float::from_bits(a), -$float::from_bits(b), $float::from_bits(r))
            }
            fn mul_exact(a: $bits, b: $bits, r: $bits) -> bool {
                zero(a) || zero(b) || $mul_exact(a, b, r)
            }
            fn div_exact(a: $bits, b: $bits, r: $bits) -> bool {
                zero(a) || $div_exact(a, b, r)
            }
            fn sqrt_exact(_a: $bits, b: $bits, r: $bits) -> bool {
                zero(b) || $sqrt_exact(b, r)
            }
            fn soft_sqrt(mx: &mut Mxcsr, _a: u64, b: u64) -> u64 {
                soft::sqrt::<$format>(mx, b)
            }

            format!(@lane $bits, add, host_add, add_exact, soft::add::<$format>);
            format!(@lane $bits, sub, host_sub, sub_exact, soft::sub::<$format>);
            format!(@lane $bits, mul, host_mul, mul_exact, soft::mul::<$format>);
            format!(@lane $bits, div, host_div, div_exact, soft::div::<$format>);
            format!(@lane $bits, sqrt, host_sqrt, sqrt_exact, soft_sqrt);

            #[inline(always)]
            pub fn host_min(a: $bits, b: $bits) -> ($bits, bool) {
                (if $float::from_bits(a) < $float::from_bits(b) { a } else { b }, plain(a) & plain(b))
            }
            #[inline(always)]
            pub fn host_max(a: $bits, b: $bits) -> ($bits, bool) {
                (if $float::from_bits(a) > $float::from_bits(b) { a } else { b }, plain(a) & plain(b))
            }
            #[inline(always)]
            pub fn min(mx: &mut Mxcsr, a: $bits, b: $bits) -> $bits {
                match host_min(a, b) {
                    (r, true) => r,
                    _ => soft::select::<$format>(mx, a as u64, b as u64, false) as $bits,
                }
            }
            #[inline(always)]
            pub fn max(mx: &mut Mxcsr, a: $bits, b: $bits) -> $bits {
                match host_max(a, b) {
                    (r, true) => r,
                    _ => soft::select::<$format>(mx, a as u64, b as u64, true) as $bits,
                }
            }

            #[inline(always)]
            pub fn compare(mx: &mut Mxcsr, a: $bits, b: $bits, signal: bool) -> Option<Ordering> {
                if plain(a) & plain(b) {
                    $float::from_bits(a).partial_cmp(&$float::from_bits(b))
                } else {
                    soft::compare::<$format>(mx, a as u64, b as u64, signal)
                }
            }

            /// One lane of CMPPS or CMPPD: all ones or zero. The legacy forms have predicates 0 to 7, AVX's 0 to 31.
            #[inline(always)]
            pub fn cmp(mx: &mut Mxcsr, a: $bits, b: $bits, predicate: u8) -> $bits {
                let (holds, signal) = super::predicate(predicate);
                let outcome = match compare(mx, a, b, signal) {
                    Some(Ordering::Less) => 1,
                    Some(Ordering::Equal) => 2,
                    Some(Ordering::Greater) => 4,
                    None => 8,
                };
                if holds & outcome != 0 { $bits::MAX } else { 0 }
            }

            pub fn round(mx: &mut Mxcsr, x: $bits, control: u8) -> $bits {
                let rounding = if control & 4 != 0 { mx.rounding() } else { control as u32 & 3 };
                soft::round_to_integral::<$format>(mx, rounding, control & 8 != 0, x as u64) as $bits
            }
        }
    };
    (@lane $bits:ident, $name:ident, $host:ident, $exact:ident, $soft:expr) => {
        #[inline(always)]
        pub fn $name(mx: &mut Mxcsr, a: $bits, b: $bits) -> $bits {
            let (r, ok) = $host(a, b);
            if ok && mx.nearest_and_inexact() {
                return r;
            }
            #[cold]
            #[inline(never)]
            fn exactly(mx: &mut Mxcsr, a: $bits, b: $bits, r: $bits, ok: bool) -> $bits {
                if ok && mx.nearest() {
                    if !$exact(a, b, r) {
                        mx.raise(PE);
                    }
                    return r;
                }
                $soft(mx, a as u64, b as u64) as $bits
            }
            exactly(mx, a, b, r, ok)
        }
    };
}

format!(
    single,
    f32,
    u32,
    i32,
    F32,
    sqrt32,
    |a, b, r| f32::from_bits(a) as f64 * f32::from_bits(b) as f64 == f32::from_bits(r) as f64,
    |a, b, r| f32::from_bits(r) as f64 * f32::from_bits(b) as f64 == f32::from_bits(a) as f64,
    |a, r| f32::from_bits(r) as f64 * f32::from_bits(r) as f64 == f32::from_bits(a) as f64
);
format!(
    double,
    f64,
    u64,
    i64,
    F64,
    sqrt64,
    |a, b, _| product_is(odd(a), odd(b), None),
    |a, b, r| product_is(odd(r), odd(b), Some(odd(a))),
    // An exact root's square has the radicand's odd part, or half of it where the exponent is odd: then it is not exact.
    |a, r| product_is(odd(r), odd(r), Some(odd(a)))
);

/// The outcomes for which a predicate holds (1 less, 2 equal, 4 greater, 8 unordered), and whether quiet NaNs signal.
const fn predicate(number: u8) -> (u8, bool) {
    const LESS: u8 = 1;
    const EQUAL: u8 = 2;
    const GREATER: u8 = 4;
    const UNORDERED: u8 = 8;
    let holds = match number & 15 {
        0 => EQUAL,
        1 => LESS,
        2 => LESS | EQUAL,
        3 => UNORDERED,
        4 => LESS | GREATER | UNORDERED,
        5 => EQUAL | GREATER | UNORDERED,
        6 => GREATER | UNORDERED,
        7 => LESS | EQUAL | GREATER,
        8 => EQUAL | UNORDERED,
        9 => LESS | UNORDERED,
        10 => LESS | EQUAL | UNORDERED,
        11 => 0,
        12 => LESS | GREATER,
        13 => EQUAL | GREATER,
        14 => GREATER,
        _ => LESS | EQUAL | GREATER | UNORDERED,
    };
    // Of the first sixteen these signal; of the second sixteen the others.
    let signals = matches!(number & 15, 1 | 2 | 5 | 6 | 9 | 10 | 13 | 14);
    (holds, signals != (number & 16 != 0))
}

/// The four forms of an operation of two operands.
macro_rules! arithmetic {
    ($($lane:ident $host:ident: $ps:ident $pd:ident $ss:ident $sd:ident, $exact:literal;)*) => {
        $(
            #[doc = concat!("`", stringify!($ps), "`: four singles.")]
            #[inline]
            pub fn $ps(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
                let (a, b) = (a.u32x4(), b.u32x4());
                if $exact || mx.nearest_and_inexact() {
                    let (mut result, mut bad) = ([0; 4], [0u32; 4]);
                    for i in 0..4 {
                        let (r, ok) = single::$host(a[i], b[i]);
                        (result[i], bad[i]) = (r, (ok as u32).wrapping_sub(1));
                    }
                    if bad[0] | bad[1] | bad[2] | bad[3] == 0 {
                        return Xmm::from_u32x4(result);
                    }
                }
                Xmm::from_u32x4(from_fn(|i| single::$lane(mx, a[i], b[i])))
            }

            #[doc = concat!("`", stringify!($pd), "`: two doubles.")]
            #[inline]
            pub fn $pd(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
                let (a, b) = (a.0, b.0);
                if $exact || mx.nearest_and_inexact() {
                    let lanes: [(u64, bool); 2] = from_fn(|i| double::$host(a[i], b[i]));
                    if lanes[0].1 & lanes[1].1 {
                        return Xmm(from_fn(|i| lanes[i].0));
                    }
                }
                Xmm(from_fn(|i| double::$lane(mx, a[i], b[i])))
            }

            #[doc = concat!("`", stringify!($ss), "`: the low single; the rest is `a`'s.")]
            #[inline]
            pub fn $ss(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
                a.with_low32(single::$lane(mx, a.low32(), b.low32()))
            }

            #[doc = concat!("`", stringify!($sd), "`: the low double; the rest is `a`'s.")]
            #[inline]
            pub fn $sd(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
                a.with_low64(double::$lane(mx, a.0[0], b.0[0]))
            }
        )*
    };
}

arithmetic! {
    add host_add: addps addpd addss addsd, false;
    sub host_sub: subps subpd subss subsd, false;
    mul host_mul: mulps mulpd mulss mulsd, false;
    div host_div: divps divpd divss divsd, false;
    sqrt host_sqrt: sqrtps sqrtpd sqrtss sqrtsd, false;
    min host_min: minps minpd minss minsd, true;
    max host_max: maxps maxpd maxss maxsd, true;
}

/// The four forms of an operation with an immediate.
macro_rules! with_immediate {
    ($($ps:ident $pd:ident $ss:ident $sd:ident, |$mx:ident, $a:ident, $b:ident, $imm:ident|
       $single:expr, $double:expr;)*) => {
        $(
            #[doc = concat!("`", stringify!($ps), "`: four singles.")]
            #[inline]
            pub fn $ps($mx: &mut Mxcsr, a: Xmm, b: Xmm, $imm: u8) -> Xmm {
                let (a, b) = (a.u32x4(), b.u32x4());
                Xmm::from_u32x4(from_fn(|i| { let ($a, $b) = (a[i], b[i]); let _ = $a; $single }))
            }

            #[doc = concat!("`", stringify!($pd), "`: two doubles.")]
            #[inline]
            pub fn $pd($mx: &mut Mxcsr, a: Xmm, b: Xmm, $imm: u8) -> Xmm {
                Xmm(from_fn(|i| { let ($a, $b) = (a.0[i], b.0[i]); let _ = $a; $double }))
            }

            #[doc = concat!("`", stringify!($ss), "`: the low single; the rest is `a`'s.")]
            #[inline]
            pub fn $ss($mx: &mut Mxcsr, a: Xmm, b: Xmm, $imm: u8) -> Xmm {
                a.with_low32({ let ($a, $b) = (a.low32(), b.low32()); let _ = $a; $single })
            }

            #[doc = concat!("`", stringify!($sd), "`: the low double; the rest is `a`'s.")]
            #[inline]
            pub fn $sd($mx: &mut Mxcsr, a: Xmm, b: Xmm, $imm: u8) -> Xmm {
                a.with_low64({ let ($a, $b) = (a.0[0], b.0[0]); let _ = $a; $double })
            }
        )*
    };
}

with_immediate! {
    vcmpps vcmppd vcmpss vcmpsd, |mx, a, b, imm| single::cmp(mx, a, b, imm & 31), double::cmp(mx, a, b, imm & 31);
    cmpps cmppd cmpss cmpsd, |mx, a, b, imm| single::cmp(mx, a, b, imm & 7), double::cmp(mx, a, b, imm & 7);
    roundps roundpd roundss roundsd, |mx, a, b, imm| single::round(mx, b, imm), double::round(mx, b, imm);
}

/// Where COMISS and its like leave their outcome in RFLAGS; OF, SF and AF are cleared.
pub const ZF: u32 = 1 << 6;
/// Set with ZF and CF if the operands are unordered.
pub const PF: u32 = 1 << 2;
/// The first operand is less.
pub const CF: u32 = 1 << 0;

fn outcome_flags(outcome: Option<Ordering>) -> u32 {
    match outcome {
        Some(Ordering::Less) => CF,
        Some(Ordering::Equal) => ZF,
        Some(Ordering::Greater) => 0,
        None => ZF | PF | CF,
    }
}

/// `comiss`: the new ZF, PF, CF at their places in RFLAGS; OF, SF and AF become zero. Any NaN raises IE.
#[inline]
pub fn comiss(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> u32 {
    outcome_flags(single::compare(mx, a.low32(), b.low32(), true))
}

/// `ucomiss`: as `comiss`, but only a signalling NaN raises IE.
#[inline]
pub fn ucomiss(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> u32 {
    outcome_flags(single::compare(mx, a.low32(), b.low32(), false))
}

/// `comisd`: see `comiss`.
#[inline]
pub fn comisd(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> u32 {
    outcome_flags(double::compare(mx, a.0[0], b.0[0], true))
}

/// `ucomisd`: see `ucomiss`.
#[inline]
pub fn ucomisd(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> u32 {
    outcome_flags(double::compare(mx, a.0[0], b.0[0], false))
}

/// `haddps`: sums of neighbours of `a`, then of `b`.
#[inline]
pub fn haddps(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
    let (a, b) = (a.u32x4(), b.u32x4());
    let even = Xmm::from_u32x4([a[0], a[2], b[0], b[2]]);
    addps(mx, even, Xmm::from_u32x4([a[1], a[3], b[1], b[3]]))
}

/// `hsubps`: differences of neighbours of `a`, then of `b`.
#[inline]
pub fn hsubps(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
    let (a, b) = (a.u32x4(), b.u32x4());
    let even = Xmm::from_u32x4([a[0], a[2], b[0], b[2]]);
    subps(mx, even, Xmm::from_u32x4([a[1], a[3], b[1], b[3]]))
}

/// `haddpd`: the sum of `a`'s halves, then of `b`'s.
#[inline]
pub fn haddpd(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
    addpd(mx, Xmm([a.0[0], b.0[0]]), Xmm([a.0[1], b.0[1]]))
}

/// `hsubpd`: the difference of `a`'s halves, then of `b`'s.
#[inline]
pub fn hsubpd(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
    subpd(mx, Xmm([a.0[0], b.0[0]]), Xmm([a.0[1], b.0[1]]))
}

/// `addsubps`: even lanes subtracted, odd ones added.
#[inline]
pub fn addsubps(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
    let (a, b) = (a.u32x4(), b.u32x4());
    Xmm::from_u32x4(from_fn(|i| {
        if i % 2 == 0 {
            single::sub(mx, a[i], b[i])
        } else {
            single::add(mx, a[i], b[i])
        }
    }))
}

/// `addsubpd`: the low lane subtracted, the high one added.
#[inline]
pub fn addsubpd(mx: &mut Mxcsr, a: Xmm, b: Xmm) -> Xmm {
    Xmm([double::sub(mx, a.0[0], b.0[0]), double::add(mx, a.0[1], b.0[1])])
}

/// `dpps`: the sum of those products that bits 7-4 select, in the lanes that bits 3-0 select; zero elsewhere.
///
/// Each of the three steps (products, two sums, their sum) is taken only if the one before raised nothing unmasked.
#[inline]
pub fn dpps(mx: &mut Mxcsr, a: Xmm, b: Xmm, which: u8) -> Xmm {
    let (a, b) = (a.u32x4(), b.u32x4());
    let products: [u32; 4] = from_fn(|i| if which >> (4 + i) & 1 != 0 { single::mul(mx, a[i], b[i]) } else { 0 });
    if mx.ends_step() {
        return Xmm::ZERO;
    }
    let low = single::add(mx, products[0], products[1]);
    let high = single::add(mx, products[2], products[3]);
    if mx.ends_step() {
        return Xmm::ZERO;
    }
    let sum = single::add(mx, low, high);
    Xmm::from_u32x4(from_fn(|i| if which >> i & 1 != 0 { sum } else { 0 }))
}

/// `dppd`: as `dpps`, two lanes, bits 5-4 and 1-0.
#[inline]
pub fn dppd(mx: &mut Mxcsr, a: Xmm, b: Xmm, which: u8) -> Xmm {
    let products: [u64; 2] = from_fn(|i| if which >> (4 + i) & 1 != 0 { double::mul(mx, a.0[i], b.0[i]) } else { 0 });
    if mx.ends_step() {
        return Xmm::ZERO;
    }
    let sum = double::add(mx, products[0], products[1]);
    Xmm(from_fn(|i| if which >> i & 1 != 0 { sum } else { 0 }))
}

/// An approximation of a single's reciprocal: the nearest number with 12 significant bits (the relative error is at
/// most 2^-12, the manuals allow 1.5 * 2^-12; processors of different makers differ). No flags; denormals are zeros.
fn reciprocal(x: u32) -> u32 {
    let (sign, magnitude) = (x & 0x8000_0000, x & 0x7fff_ffff);
    match magnitude {
        0..=0x007f_ffff => sign | 0x7f80_0000,
        0x7f80_0000 => sign,
        0x7f80_0001.. => x | 0x0040_0000,
        // Above 2^126 the reciprocal is tiny: zero.
        0x7e80_0001.. => sign,
        _ => short((1.0 / f32::from_bits(x) as f64) as f32),
    }
}

/// As `reciprocal`, of the square root.
fn reciprocal_root(x: u32) -> u32 {
    let magnitude = x & 0x7fff_ffff;
    match (x, magnitude) {
        (_, 0..=0x007f_ffff) => x & 0x8000_0000 | 0x7f80_0000,
        (_, 0x7f80_0001..) => x | 0x0040_0000,
        (0x8000_0000.., _) => 0xffc0_0000,
        (0x7f80_0000, _) => 0,
        _ => {
            let mut mx = Mxcsr::default();
            let root = soft::sqrt::<F64>(&mut mx, (f32::from_bits(x) as f64).to_bits());
            short((1.0 / f64::from_bits(root)) as f32)
        }
    }
}

/// Rounded to 12 significant bits.
fn short(x: f32) -> u32 {
    (x.to_bits() + 0x800) & !0xfff
}

/// `rcpps`: approximate reciprocals of `b`'s singles.
pub fn rcpps(_a: Xmm, b: Xmm) -> Xmm {
    Xmm::from_u32x4(b.u32x4().map(reciprocal))
}

/// `rcpss`: the low lane; the rest is `a`'s.
pub fn rcpss(a: Xmm, b: Xmm) -> Xmm {
    a.with_low32(reciprocal(b.low32()))
}

/// `rsqrtps`: approximate reciprocals of the square roots of `b`'s singles.
pub fn rsqrtps(_a: Xmm, b: Xmm) -> Xmm {
    Xmm::from_u32x4(b.u32x4().map(reciprocal_root))
}

/// `rsqrtss`: the low lane; the rest is `a`'s.
pub fn rsqrtss(a: Xmm, b: Xmm) -> Xmm {
    a.with_low32(reciprocal_root(b.low32()))
}

/// A sum of doubles whose last bit says, too, whether bits below it were lost (rounding to odd): what is rounded to
/// nearest afterwards, in a format with two bits less or more, is as if it were rounded once.
#[inline(always)]
fn sum_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let part = sum - a;
    let error = (a - (sum - part)) + (b - part);
    let bits = sum.to_bits();
    // The sum was rounded to an even number: the odd one is its neighbour on the side of the error.
    if error == 0.0 || bits & 1 != 0 {
        sum
    } else if (error > 0.0) == (sum > 0.0) {
        f64::from_bits(bits + 1)
    } else {
        f64::from_bits(bits - 1)
    }
}

/// Exponents with which nothing of what `fma64_of_host` computes overflows or is denormal.
const MODERATE: core::ops::Range<u64> = 1023 - 400..1023 + 400;

fn moderate(x: u64) -> bool {
    MODERATE.contains(&(x >> 52 & 0x7ff))
}

/// Two numbers whose sum is a product (Veltkamp's and Dekker's algorithm).
fn exact_product(a: f64, b: f64) -> (f64, f64) {
    const SPLITTER: f64 = 134_217_729.0;
    let halves = |x: f64| {
        let scaled = SPLITTER * x;
        let high = scaled - (scaled - x);
        (high, x - high)
    };
    let ((ah, al), (bh, bl)) = (halves(a), halves(b));
    let product = a * b;
    (product, al * bl - (((product - ah * bh) - al * bh) - ah * bl))
}

/// `a * b + c` of moderate doubles, rounded to nearest once (Boldo and Melquiond, "Emulation of a FMA and correctly
/// rounded sums: proved algorithms using rounding to odd").
fn fma64_of_host(a: f64, b: f64, c: f64) -> f64 {
    let exact_sum = |a: f64, b: f64| {
        let sum = a + b;
        let part = sum - a;
        (sum, (a - (sum - part)) + (b - part))
    };
    let (product, product_rest) = exact_product(a, b);
    let (low, low_rest) = exact_sum(c, product_rest);
    let (high, high_rest) = exact_sum(product, low);
    high + sum_to_odd(high_rest, low_rest)
}

/// `a * b + c` of singles, rounded once: the FMA instructions' lane. A NaN result is the first of a, b, c that is one;
/// the forms 132, 213 and 231 say which operand is which, and negate the product (`a`) or `c` unless it is a NaN.
pub fn fma32(mx: &mut Mxcsr, a: u32, b: u32, c: u32) -> u32 {
    if mx.nearest_and_inexact() && single::plain(a) && single::plain(b) && single::plain(c) {
        let [x, y, z] = [a, b, c].map(|x| f32::from_bits(x) as f64);
        // The product is exact, and the sum is one of numbers far from the borders of doubles.
        let result = (sum_to_odd(x * y, z) as f32).to_bits();
        if single::inner(result) {
            return result;
        }
    }
    soft::fma::<F32>(mx, a as u64, b as u64, c as u64) as u32
}

/// As `fma32`, of doubles.
pub fn fma64(mx: &mut Mxcsr, a: u64, b: u64, c: u64) -> u64 {
    if mx.nearest_and_inexact() && moderate(a) && moderate(b) && (moderate(c) || double::zero(c)) {
        return fma64_of_host(f64::from_bits(a), f64::from_bits(b), f64::from_bits(c)).to_bits();
    }
    soft::fma::<F64>(mx, a, b, c)
}
