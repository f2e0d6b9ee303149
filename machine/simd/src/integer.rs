//! Packed integers on 128 bits: SSE2 to SSE4.1. None of these touches MXCSR.

use crate::Xmm;
use core::array::from_fn;

/// Functions of two registers, lane by lane.
macro_rules! lanewise {
    ($($name:ident: $get:ident -> $from:ident, |$a:ident, $b:ident| $lane:expr;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`, lane by lane.")]
            #[inline]
            pub fn $name(a: Xmm, b: Xmm) -> Xmm {
                let (a, b) = (a.$get(), b.$get());
                Xmm::$from(from_fn(|i| {
                    let ($a, $b) = (a[i], b[i]);
                    $lane
                }))
            }
        )*
    };
}

lanewise! {
    paddb: u8x16 -> from_u8x16, |a, b| a.wrapping_add(b);
    paddw: u16x8 -> from_u16x8, |a, b| a.wrapping_add(b);
    paddd: u32x4 -> from_u32x4, |a, b| a.wrapping_add(b);
    paddq: u64x2 -> from_u64x2, |a, b| a.wrapping_add(b);
    psubb: u8x16 -> from_u8x16, |a, b| a.wrapping_sub(b);
    psubw: u16x8 -> from_u16x8, |a, b| a.wrapping_sub(b);
    psubd: u32x4 -> from_u32x4, |a, b| a.wrapping_sub(b);
    psubq: u64x2 -> from_u64x2, |a, b| a.wrapping_sub(b);
    paddsb: i8x16 -> from_i8x16, |a, b| a.saturating_add(b);
    paddsw: i16x8 -> from_i16x8, |a, b| a.saturating_add(b);
    paddusb: u8x16 -> from_u8x16, |a, b| a.saturating_add(b);
    paddusw: u16x8 -> from_u16x8, |a, b| a.saturating_add(b);
    psubsb: i8x16 -> from_i8x16, |a, b| a.saturating_sub(b);
    psubsw: i16x8 -> from_i16x8, |a, b| a.saturating_sub(b);
    psubusb: u8x16 -> from_u8x16, |a, b| a.saturating_sub(b);
    psubusw: u16x8 -> from_u16x8, |a, b| a.saturating_sub(b);
    pmullw: u16x8 -> from_u16x8, |a, b| a.wrapping_mul(b);
    pmulhw: i16x8 -> from_i16x8, |a, b| ((a as i32 * b as i32) >> 16) as i16;
    pmulhuw: u16x8 -> from_u16x8, |a, b| ((a as u32 * b as u32) >> 16) as u16;
    pmulhrsw: i16x8 -> from_i16x8, |a, b| ((((a as i32 * b as i32) >> 14) + 1) >> 1) as i16;
    pmulld: u32x4 -> from_u32x4, |a, b| a.wrapping_mul(b);
    pmuludq: u64x2 -> from_u64x2, |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff);
    pmuldq: i64x2 -> from_i64x2, |a, b| a as i32 as i64 * b as i32 as i64;
    pavgb: u8x16 -> from_u8x16, |a, b| ((a as u16 + b as u16 + 1) >> 1) as u8;
    pavgw: u16x8 -> from_u16x8, |a, b| ((a as u32 + b as u32 + 1) >> 1) as u16;
    pminub: u8x16 -> from_u8x16, |a, b| a.min(b);
    pmaxub: u8x16 -> from_u8x16, |a, b| a.max(b);
    pminsb: i8x16 -> from_i8x16, |a, b| a.min(b);
    pmaxsb: i8x16 -> from_i8x16, |a, b| a.max(b);
    pminuw: u16x8 -> from_u16x8, |a, b| a.min(b);
    pmaxuw: u16x8 -> from_u16x8, |a, b| a.max(b);
    pminsw: i16x8 -> from_i16x8, |a, b| a.min(b);
    pmaxsw: i16x8 -> from_i16x8, |a, b| a.max(b);
    pminud: u32x4 -> from_u32x4, |a, b| a.min(b);
    pmaxud: u32x4 -> from_u32x4, |a, b| a.max(b);
    pminsd: i32x4 -> from_i32x4, |a, b| a.min(b);
    pmaxsd: i32x4 -> from_i32x4, |a, b| a.max(b);
    pcmpeqb: u8x16 -> from_i8x16, |a, b| -((a == b) as i8);
    pcmpeqw: u16x8 -> from_i16x8, |a, b| -((a == b) as i16);
    pcmpeqd: u32x4 -> from_i32x4, |a, b| -((a == b) as i32);
    pcmpeqq: u64x2 -> from_i64x2, |a, b| -((a == b) as i64);
    pcmpgtb: i8x16 -> from_i8x16, |a, b| -((a > b) as i8);
    pcmpgtw: i16x8 -> from_i16x8, |a, b| -((a > b) as i16);
    pcmpgtd: i32x4 -> from_i32x4, |a, b| -((a > b) as i32);
    pcmpgtq: i64x2 -> from_i64x2, |a, b| -((a > b) as i64);
    pand: u64x2 -> from_u64x2, |a, b| a & b;
    pandn: u64x2 -> from_u64x2, |a, b| !a & b;
    por: u64x2 -> from_u64x2, |a, b| a | b;
    pxor: u64x2 -> from_u64x2, |a, b| a ^ b;
    psignb: i8x16 -> from_i8x16, |a, b| a.wrapping_mul(b.signum());
    psignw: i16x8 -> from_i16x8, |a, b| a.wrapping_mul(b.signum());
    psignd: i32x4 -> from_i32x4, |a, b| a.wrapping_mul(b.signum());
    pabsb: i8x16 -> from_i8x16, |_a, b| b.wrapping_abs();
    pabsw: i16x8 -> from_i16x8, |_a, b| b.wrapping_abs();
    pabsd: i32x4 -> from_i32x4, |_a, b| b.wrapping_abs();
}

/// Functions of the second register's low lanes, each made wider.
macro_rules! extend {
    ($($name:ident: $get:ident -> $from:ident $lane:ty;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: the low lanes of `b`, each made wider; `a` is not used.")]
            #[inline]
            pub fn $name(_a: Xmm, b: Xmm) -> Xmm {
                let b = b.$get();
                Xmm::$from(from_fn(|i| b[i] as $lane))
            }
        )*
    };
}

extend! {
    pmovsxbw: i8x16 -> from_i16x8 i16;
    pmovsxbd: i8x16 -> from_i32x4 i32;
    pmovsxbq: i8x16 -> from_i64x2 i64;
    pmovsxwd: i16x8 -> from_i32x4 i32;
    pmovsxwq: i16x8 -> from_i64x2 i64;
    pmovsxdq: i32x4 -> from_i64x2 i64;
    pmovzxbw: u8x16 -> from_u16x8 u16;
    pmovzxbd: u8x16 -> from_u32x4 u32;
    pmovzxbq: u8x16 -> from_u64x2 u64;
    pmovzxwd: u16x8 -> from_u32x4 u32;
    pmovzxwq: u16x8 -> from_u64x2 u64;
    pmovzxdq: u32x4 -> from_u64x2 u64;
}

/// Functions whose lane `i` comes from a pair of lanes of `a`, then of `b`.
macro_rules! horizontal {
    ($($name:ident: $get:ident -> $from:ident $half:literal, |$x:ident, $y:ident| $lane:expr;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: neighbours of `a`, then neighbours of `b`.")]
            #[inline]
            pub fn $name(a: Xmm, b: Xmm) -> Xmm {
                let (a, b) = (a.$get(), b.$get());
                Xmm::$from(from_fn(|i| {
                    let (from, i) = if i < $half { (&a, i) } else { (&b, i - $half) };
                    let ($x, $y) = (from[2 * i], from[2 * i + 1]);
                    $lane
                }))
            }
        )*
    };
}

horizontal! {
    phaddw: i16x8 -> from_i16x8 4, |x, y| x.wrapping_add(y);
    phaddd: i32x4 -> from_i32x4 2, |x, y| x.wrapping_add(y);
    phaddsw: i16x8 -> from_i16x8 4, |x, y| x.saturating_add(y);
    phsubw: i16x8 -> from_i16x8 4, |x, y| x.wrapping_sub(y);
    phsubd: i32x4 -> from_i32x4 2, |x, y| x.wrapping_sub(y);
    phsubsw: i16x8 -> from_i16x8 4, |x, y| x.saturating_sub(y);
}

/// Functions that interleave lanes of `a` and `b`, starting at a lane.
macro_rules! interleave {
    ($($name:ident: $get:ident -> $from:ident $start:literal;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: lanes of `a` and `b` in turn.")]
            #[inline]
            pub fn $name(a: Xmm, b: Xmm) -> Xmm {
                let (a, b) = (a.$get(), b.$get());
                Xmm::$from(from_fn(|i| if i % 2 == 0 { a[$start + i / 2] } else { b[$start + i / 2] }))
            }
        )*
    };
}

interleave! {
    punpcklbw: u8x16 -> from_u8x16 0;
    punpcklwd: u16x8 -> from_u16x8 0;
    punpckldq: u32x4 -> from_u32x4 0;
    punpcklqdq: u64x2 -> from_u64x2 0;
    punpckhbw: u8x16 -> from_u8x16 8;
    punpckhwd: u16x8 -> from_u16x8 4;
    punpckhdq: u32x4 -> from_u32x4 2;
    punpckhqdq: u64x2 -> from_u64x2 1;
}

/// Functions that make lanes half as wide, with saturation: those of `a`, then those of `b`.
macro_rules! narrow {
    ($($name:ident: $get:ident -> $from:ident $half:literal, $lane:ty as $wide:ty;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: signed lanes of `a`, then of `b`, saturated.")]
            #[inline]
            pub fn $name(a: Xmm, b: Xmm) -> Xmm {
                let (a, b) = (a.$get(), b.$get());
                Xmm::$from(from_fn(|i| {
                    let x = if i < $half { a[i] } else { b[i - $half] };
                    x.clamp(<$lane>::MIN as $wide, <$lane>::MAX as $wide) as $lane
                }))
            }
        )*
    };
}

narrow! {
    packsswb: i16x8 -> from_i8x16 8, i8 as i16;
    packuswb: i16x8 -> from_u8x16 8, u8 as i16;
    packssdw: i32x4 -> from_i16x8 4, i16 as i32;
    packusdw: i32x4 -> from_u16x8 4, u16 as i32;
}

/// Shifts by one count for all lanes: `$name` takes it from the low 64 bits of `b`, `$name_i` from the immediate.
macro_rules! shifts {
    ($($name:ident $immediate:ident: $get:ident -> $from:ident $bits:literal, $shift:tt, $kind:ident;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "` by the low 64 bits of `b`.")]
            #[inline]
            pub fn $name(a: Xmm, b: Xmm) -> Xmm {
                shifts!(@$kind a, b.0[0], $get, $from, $bits, $shift)
            }

            #[doc = concat!("`", stringify!($name), "` of `a` by an immediate; the second register is not used.")]
            #[inline]
            pub fn $immediate(a: Xmm, _: Xmm, count: u8) -> Xmm {
                shifts!(@$kind a, count as u64, $get, $from, $bits, $shift)
            }
        )*
    };
    (@logical $a:ident, $count:expr, $get:ident, $from:ident, $bits:literal, $shift:tt) => {{
        let count = $count;
        if count >= $bits {
            return Xmm::ZERO;
        }
        let (a, count) = ($a.$get(), count as u32);
        Xmm::$from(from_fn(|i| a[i] $shift count))
    }};
    (@arithmetic $a:ident, $count:expr, $get:ident, $from:ident, $bits:literal, $shift:tt) => {{
        let count = $count.min($bits - 1) as u32;
        let a = $a.$get();
        Xmm::$from(from_fn(|i| a[i] $shift count))
    }};
}

shifts! {
    psllw psllw_i: u16x8 -> from_u16x8 16, <<, logical;
    pslld pslld_i: u32x4 -> from_u32x4 32, <<, logical;
    psllq psllq_i: u64x2 -> from_u64x2 64, <<, logical;
    psrlw psrlw_i: u16x8 -> from_u16x8 16, >>, logical;
    psrld psrld_i: u32x4 -> from_u32x4 32, >>, logical;
    psrlq psrlq_i: u64x2 -> from_u64x2 64, >>, logical;
    psraw psraw_i: i16x8 -> from_i16x8 16, >>, arithmetic;
    psrad psrad_i: i32x4 -> from_i32x4 32, >>, arithmetic;
}

/// `pslldq`: `a` to the left by bytes.
#[inline]
pub fn pslldq_i(a: Xmm, _: Xmm, count: u8) -> Xmm {
    if count > 15 {
        return Xmm::ZERO;
    }
    Xmm::from_u128(a.u128() << (8 * count as u32))
}

/// `psrldq`: `a` to the right by bytes.
#[inline]
pub fn psrldq_i(a: Xmm, _: Xmm, count: u8) -> Xmm {
    if count > 15 {
        return Xmm::ZERO;
    }
    Xmm::from_u128(a.u128() >> (8 * count as u32))
}

/// `palignr`: 16 bytes of `a:b` (`a` the upper half) from byte `count` on.
#[inline]
pub fn palignr(a: Xmm, b: Xmm, count: u8) -> Xmm {
    let (a, b) = (a.u128(), b.u128());
    Xmm::from_u128(match count as u32 {
        0 => b,
        n @ 1..=15 => b >> (8 * n) | a << (128 - 8 * n),
        n @ 16..=31 => a >> (8 * (n - 16)),
        _ => 0,
    })
}

/// `pmaddwd`: sums of neighbouring products of signed words.
#[inline]
pub fn pmaddwd(a: Xmm, b: Xmm) -> Xmm {
    let (a, b) = (a.i16x8(), b.i16x8());
    let product = |i: usize| a[i] as i32 * b[i] as i32;
    Xmm::from_i32x4(from_fn(|i| product(2 * i).wrapping_add(product(2 * i + 1))))
}

/// `pmaddubsw`: saturated sums of neighbouring products of unsigned bytes of `a` and signed ones of `b`.
#[inline]
pub fn pmaddubsw(a: Xmm, b: Xmm) -> Xmm {
    let (a, b) = (a.u8x16(), b.i8x16());
    let product = |i: usize| a[i] as i16 * b[i] as i16;
    Xmm::from_i16x8(from_fn(|i| product(2 * i).saturating_add(product(2 * i + 1))))
}

/// `psadbw`: for each half the sum of the absolute differences of its bytes.
#[inline]
pub fn psadbw(a: Xmm, b: Xmm) -> Xmm {
    let (a, b) = (a.u8x16(), b.u8x16());
    let sum = |half: usize| (0..8).map(|i| a[8 * half + i].abs_diff(b[8 * half + i]) as u64).sum();
    Xmm([sum(0), sum(1)])
}

/// `mpsadbw`: eight sums of absolute differences of four bytes of `b` with a window that moves over `a`.
#[inline]
pub fn mpsadbw(a: Xmm, b: Xmm, select: u8) -> Xmm {
    let (a, b) = (a.u8x16(), b.u8x16());
    let (window, block) = ((select as usize >> 2 & 1) * 4, (select as usize & 3) * 4);
    Xmm::from_u16x8(from_fn(|i| {
        (0..4).map(|k| a[window + i + k].abs_diff(b[block + k]) as u16).sum()
    }))
}

/// `phminposuw`: the smallest unsigned word of `b` and, above it, the lowest index where it is; the rest is zero.
#[inline]
pub fn phminposuw(_a: Xmm, b: Xmm) -> Xmm {
    let b = b.u16x8();
    let mut smallest = 0;
    for i in 1..8 {
        if b[i] < b[smallest] {
            smallest = i;
        }
    }
    Xmm([b[smallest] as u64 | (smallest as u64) << 16, 0])
}

/// `pshufb`: bytes of `a` by the indices in `b`; zero where an index has its top bit set.
#[inline]
pub fn pshufb(a: Xmm, b: Xmm) -> Xmm {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    {
        // Swizzle gives zero for every index above 15.
        use core::arch::wasm32::{i8x16_swizzle, u64x2, u64x2_extract_lane, u8x16_splat, v128_and};
        let index = v128_and(u64x2(b.0[0], b.0[1]), u8x16_splat(0x8f));
        let bytes = i8x16_swizzle(u64x2(a.0[0], a.0[1]), index);
        Xmm([u64x2_extract_lane::<0>(bytes), u64x2_extract_lane::<1>(bytes)])
    }
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    {
        let (a, b) = (a.u8x16(), b.u8x16());
        Xmm::from_u8x16(from_fn(|i| if b[i] & 0x80 != 0 { 0 } else { a[b[i] as usize & 15] }))
    }
}

/// `pshufd`: dwords of `b` by four indices of two bits.
#[inline]
pub fn pshufd(_a: Xmm, b: Xmm, order: u8) -> Xmm {
    let b = b.u32x4();
    Xmm::from_u32x4(from_fn(|i| b[order as usize >> (2 * i) & 3]))
}

/// `pshuflw`: the low four words of `b` by four indices of two bits; the upper half as it is.
#[inline]
pub fn pshuflw(_a: Xmm, b: Xmm, order: u8) -> Xmm {
    let w = b.u16x8();
    Xmm::from_u16x8(from_fn(|i| if i < 4 { w[order as usize >> (2 * i) & 3] } else { w[i] }))
}

/// `pshufhw`: the upper four words of `b` by four indices of two bits; the lower half as it is.
#[inline]
pub fn pshufhw(_a: Xmm, b: Xmm, order: u8) -> Xmm {
    let w = b.u16x8();
    Xmm::from_u16x8(from_fn(|i| if i < 4 { w[i] } else { w[4 + (order as usize >> (2 * (i - 4)) & 3)] }))
}

/// `shufps`: two dwords of `a`, then two of `b`.
#[inline]
pub fn shufps(a: Xmm, b: Xmm, order: u8) -> Xmm {
    let (a, b) = (a.u32x4(), b.u32x4());
    Xmm::from_u32x4(from_fn(|i| if i < 2 { a } else { b }[order as usize >> (2 * i) & 3]))
}

/// `shufpd`: a qword of `a`, then one of `b`.
#[inline]
pub fn shufpd(a: Xmm, b: Xmm, order: u8) -> Xmm {
    Xmm([a.0[order as usize & 1], b.0[order as usize >> 1 & 1]])
}

/// `pblendw`: words of `b` where the immediate's bit is set, else of `a`.
#[inline]
pub fn pblendw(a: Xmm, b: Xmm, which: u8) -> Xmm {
    let (a, b) = (a.u16x8(), b.u16x8());
    Xmm::from_u16x8(from_fn(|i| if which >> i & 1 != 0 { b[i] } else { a[i] }))
}

/// `blendps`: as `pblendw`, dwords. Also AVX2's `vpblendd`.
#[inline]
pub fn blendps(a: Xmm, b: Xmm, which: u8) -> Xmm {
    let (a, b) = (a.u32x4(), b.u32x4());
    Xmm::from_u32x4(from_fn(|i| if which >> i & 1 != 0 { b[i] } else { a[i] }))
}

/// `blendpd`: as `pblendw`, qwords.
#[inline]
pub fn blendpd(a: Xmm, b: Xmm, which: u8) -> Xmm {
    Xmm(from_fn(|i| if which >> i & 1 != 0 { b.0[i] } else { a.0[i] }))
}

/// `pblendvb`: bytes of `b` where the mask's byte has its top bit set, else of `a`. The legacy form's mask is XMM0.
#[inline]
pub fn pblendvb(a: Xmm, b: Xmm, mask: Xmm) -> Xmm {
    let (a, b, mask) = (a.u8x16(), b.u8x16(), mask.i8x16());
    Xmm::from_u8x16(from_fn(|i| if mask[i] < 0 { b[i] } else { a[i] }))
}

/// `blendvps`: as `pblendvb`, dwords.
#[inline]
pub fn blendvps(a: Xmm, b: Xmm, mask: Xmm) -> Xmm {
    let (a, b, mask) = (a.u32x4(), b.u32x4(), mask.i32x4());
    Xmm::from_u32x4(from_fn(|i| if mask[i] < 0 { b[i] } else { a[i] }))
}

/// `blendvpd`: as `pblendvb`, qwords.
#[inline]
pub fn blendvpd(a: Xmm, b: Xmm, mask: Xmm) -> Xmm {
    let mask = mask.i64x2();
    Xmm(from_fn(|i| if mask[i] < 0 { b.0[i] } else { a.0[i] }))
}

/// `movshdup`: the odd dwords of `b`, each twice.
#[inline]
pub fn movshdup(_a: Xmm, b: Xmm) -> Xmm {
    let b = b.u32x4();
    Xmm::from_u32x4([b[1], b[1], b[3], b[3]])
}

/// `movsldup`: the even dwords of `b`, each twice.
#[inline]
pub fn movsldup(_a: Xmm, b: Xmm) -> Xmm {
    let b = b.u32x4();
    Xmm::from_u32x4([b[0], b[0], b[2], b[2]])
}

/// `movddup`: the low qword of `b` twice.
#[inline]
pub fn movddup(_a: Xmm, b: Xmm) -> Xmm {
    Xmm([b.0[0]; 2])
}

/// `pmovmskb`: the top bits of the bytes.
#[inline]
pub fn pmovmskb(a: Xmm) -> u32 {
    mmx_pmovmskb(a.0[0]) | mmx_pmovmskb(a.0[1]) << 8
}

/// `pmovmskb` of a 64-bit register.
#[inline]
pub fn mmx_pmovmskb(a: u64) -> u32 {
    // The multiplication gathers the bits at 0, 8, ... 56 in the top byte, without carries.
    ((a >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

/// `movmskps`: the signs of the four singles.
#[inline]
pub fn movmskps(a: Xmm) -> u32 {
    let a = a.u32x4();
    a[0] >> 31 | a[1] >> 31 << 1 | a[2] >> 31 << 2 | a[3] >> 31 << 3
}

/// `movmskpd`: the signs of the two doubles.
#[inline]
pub fn movmskpd(a: Xmm) -> u32 {
    (a.0[0] >> 63 | a.0[1] >> 63 << 1) as u32
}

macro_rules! elements {
    ($($insert:ident $extract:ident: $get:ident $from:ident $lane:ty, $mask:literal;)*) => {
        $(
            #[doc = concat!("`", stringify!($insert), "`: one lane replaced; the index counts modulo the lanes.")]
            #[inline]
            pub fn $insert(a: Xmm, value: $lane, index: u8) -> Xmm {
                let mut a = a.$get();
                a[index as usize & $mask] = value;
                Xmm::$from(a)
            }

            #[doc = concat!("`", stringify!($extract), "`: one lane; the index counts modulo the lanes.")]
            #[inline]
            pub fn $extract(a: Xmm, index: u8) -> $lane {
                a.$get()[index as usize & $mask]
            }
        )*
    };
}

elements! {
    pinsrb pextrb: u8x16 from_u8x16 u8, 15;
    pinsrw pextrw: u16x8 from_u16x8 u16, 7;
    pinsrd pextrd: u32x4 from_u32x4 u32, 3;
    pinsrq pextrq: u64x2 from_u64x2 u64, 1;
}

/// `extractps`: one dword.
#[inline]
pub fn extractps(a: Xmm, index: u8) -> u32 {
    pextrd(a, index)
}

/// `insertps` from a register: the immediate's bits 7-6 select a dword of `b`, 5-4 where it goes, 3-0 what is zeroed.
///
/// From memory, whose operand is 4 bytes, bits 7-6 do not count: clear them, or use `insertps_m32`.
#[inline]
pub fn insertps(a: Xmm, b: Xmm, control: u8) -> Xmm {
    insertps_m32(a, b.u32x4()[control as usize >> 6], control)
}

/// `insertps` from memory.
#[inline]
pub fn insertps_m32(a: Xmm, value: u32, control: u8) -> Xmm {
    let mut a = a.u32x4();
    a[control as usize >> 4 & 3] = value;
    Xmm::from_u32x4(from_fn(|i| if control >> i & 1 != 0 { 0 } else { a[i] }))
}

/// `maskmovdqu`: which bytes are stored, as bits. Without any set, nothing is written.
#[inline]
pub fn maskmovdqu(mask: Xmm) -> u32 {
    pmovmskb(mask)
}

/// `maskmovq`: which bytes are stored, as bits.
#[inline]
pub fn maskmovq(mask: u64) -> u32 {
    mmx_pmovmskb(mask)
}

/// `ptest` and AVX's `vptest` of a half: ZF if `a & b` is zero, CF if `!a & b` is zero.
#[inline]
pub fn ptest(a: Xmm, b: Xmm) -> (bool, bool) {
    (pand(a, b) == Xmm::ZERO, pandn(a, b) == Xmm::ZERO)
}
