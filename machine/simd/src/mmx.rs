//! MMX and its later additions, on 64-bit values.
//!
//! The 128-bit functions serve here too. FPU state (tag word, top of stack) is the caller's.

use crate::{integer, Xmm};

/// As the 128-bit operation does it in its lower half.
macro_rules! low_half {
    ($($name:ident)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of MMX registers.")]
            #[inline]
            pub fn $name(a: u64, b: u64) -> u64 {
                integer::$name(Xmm([a, 0]), Xmm([b, 0])).0[0]
            }
        )*
    };
}

low_half! {
    paddb paddw paddd paddq psubb psubw psubd psubq paddsb paddsw paddusb paddusw psubsb psubsw psubusb psubusw
    pmullw pmulhw pmulhuw pmulhrsw pmuludq pmaddwd pmaddubsw pavgb pavgw pminub pmaxub pminsw pmaxsw
    pcmpeqb pcmpeqw pcmpeqd pcmpgtb pcmpgtw pcmpgtd pand pandn por pxor psignb psignw psignd pabsb pabsw pabsd
    psadbw psllw pslld psllq psrlw psrld psrlq psraw psrad punpcklbw punpcklwd punpckldq
}

/// The 128-bit operation takes lanes of `a`, then of `b`: here both are in its first operand.
macro_rules! joined {
    ($($name:ident)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of MMX registers.")]
            #[inline]
            pub fn $name(a: u64, b: u64) -> u64 {
                integer::$name(Xmm([a, b]), Xmm::ZERO).0[0]
            }
        )*
    };
}

joined! { packsswb packuswb packssdw phaddw phaddd phaddsw phsubw phsubd phsubsw }

/// The upper half of what the 128-bit operation on low lanes gives.
macro_rules! upper_half {
    ($($name:ident: $low:ident;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of MMX registers.")]
            #[inline]
            pub fn $name(a: u64, b: u64) -> u64 {
                integer::$low(Xmm([a, 0]), Xmm([b, 0])).0[1]
            }
        )*
    };
}

upper_half! { punpckhbw: punpcklbw; punpckhwd: punpcklwd; punpckhdq: punpckldq; }

/// `pshufb`: the indices have three bits.
#[inline]
pub fn pshufb(a: u64, b: u64) -> u64 {
    integer::pshufb(Xmm([a, 0]), Xmm([b & 0x8787_8787_8787_8787, 0])).0[0]
}

macro_rules! shifts {
    ($($name:ident)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: a shift of an MMX register by an immediate; `b` is not used.")]
            #[inline]
            pub fn $name(a: u64, _: u64, count: u8) -> u64 {
                integer::$name(Xmm([a, 0]), Xmm::ZERO, count).0[0]
            }
        )*
    };
}

shifts! { psllw_i pslld_i psllq_i psrlw_i psrld_i psrlq_i psraw_i psrad_i }

/// `pshufw`: words of `b` by four indices of two bits.
#[inline]
pub fn pshufw(_a: u64, b: u64, order: u8) -> u64 {
    integer::pshuflw(Xmm::ZERO, Xmm([b, 0]), order).0[0]
}

/// `palignr`: 8 bytes of `a:b` (`a` the upper half) from byte `count` on.
#[inline]
pub fn palignr(a: u64, b: u64, count: u8) -> u64 {
    integer::psrldq_i(Xmm([b, a]), Xmm::ZERO, count).0[0]
}

/// `pinsrw`: one word replaced.
#[inline]
pub fn pinsrw(a: u64, value: u16, index: u8) -> u64 {
    integer::pinsrw(Xmm([a, 0]), value, index & 3).0[0]
}

/// `pextrw`: one word.
#[inline]
pub fn pextrw(a: u64, index: u8) -> u16 {
    (a >> (16 * (index & 3))) as u16
}

pub use crate::integer::{maskmovq, mmx_pmovmskb as pmovmskb};
