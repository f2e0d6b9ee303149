//! From mnemonics of iced-x86 to this crate's functions, by form.
//!
//! A form is the type of its function; the interpreter needs one handler for each. `a` is the destination (the first
//! source of VEX forms), `b` the register or memory operand, read with the size that `Instruction::memory_size` gives
//! and zero-extended: 16 bytes for most, 8 or 4 for `sd`, `ss` and the conversions that use half a register, 8 to 2
//! for `pmovzx` and `pmovsx`. Instructions of one source (`pabsb`, `pshufd`, `sqrtps`) do not use `a`; those that merge
//! (`sqrtss`, `cvtsd2ss`, `roundss`) do.
//!
//! | function | form |
//! |---|---|
//! | `packed` | xmm, xmm/m |
//! | `packed_imm` | xmm, xmm/m, imm8; the shifts by an immediate too (`a` is shifted, `b` is not used) |
//! | `packed_xmm0` | xmm, xmm/m, and XMM0 as a third operand |
//! | `float` | xmm, xmm/m, with MXCSR: `ps`, `pd`, `ss` and `sd` |
//! | `float_imm` | the same with imm8 |
//! | `compare` | xmm, xmm/m, with MXCSR; the outcome goes to RFLAGS |
//! | `mmx`, `mmx_imm` | mm, mm/m |
//! | `avx`, `avx_imm` | as `packed` and `packed_imm`, of what only VEX prefixes have |
//! | `avx_compare` | as `float_imm`: the comparisons with the predicates of AVX |
//! | `fused` | FMA |
//!
//! A mnemonic may have several forms, so that the caller looks at the operands before it chooses a table: `mmx` for MMX
//! registers, `packed_imm` where the last operand is an immediate (the shifts), and `Mnemonic::Cmpsd` only where the
//! instruction is not the string comparison.
//!
//! In no table are: moves, loads and stores (`movq`, `movss`, `movhlps`, `maskmovdqu` ...), `pinsr*`, `pextr*`,
//! `insertps` (its memory form differs: `integer::insertps`, `insertps_m32`), `pmovmskb`, `movmskp*`, `ptest`, the
//! conversions from and to general registers and MMX, `pcmp?str?`, `crc32`: for these call the functions of `integer`,
//! `mmx`, `convert` and `string`.

use crate::avx as a;
use crate::fused::{lanes, sum, Fused};
use crate::{crypto as c, float as f, integer as i, mmx as m, Mxcsr, Xmm};
use crate::convert as v;
use iced_x86::Mnemonic;

/// Of two registers.
pub type Packed = fn(Xmm, Xmm) -> Xmm;
/// Of two registers and an immediate.
pub type PackedImm = fn(Xmm, Xmm, u8) -> Xmm;
/// Of three registers.
pub type PackedXmm0 = fn(Xmm, Xmm, Xmm) -> Xmm;
/// Of two registers, with exceptions.
pub type Float = fn(&mut Mxcsr, Xmm, Xmm) -> Xmm;
/// Of two registers and an immediate, with exceptions.
pub type FloatImm = fn(&mut Mxcsr, Xmm, Xmm, u8) -> Xmm;
/// Of two registers, with exceptions; gives ZF, PF and CF at their places in RFLAGS.
pub type Compare = fn(&mut Mxcsr, Xmm, Xmm) -> u32;
/// Of two MMX registers.
pub type Mmx = fn(u64, u64) -> u64;
/// Of two MMX registers and an immediate.
pub type MmxImm = fn(u64, u64, u8) -> u64;

macro_rules! table {
    ($(#[$doc:meta])* $name:ident: $kind:ty; $($($mnemonic:ident)|+ => $function:path,)*) => {
        $(#[$doc])*
        pub fn $name(mnemonic: Mnemonic) -> Option<$kind> {
            Some(match mnemonic {
                $($(Mnemonic::$mnemonic)|+ => $function,)*
                _ => return None,
            })
        }
    };
}

table! {
    /// xmm, xmm/m.
    packed: Packed;
    Paddb => i::paddb,
    Paddw => i::paddw,
    Paddd => i::paddd,
    Paddq => i::paddq,
    Psubb => i::psubb,
    Psubw => i::psubw,
    Psubd => i::psubd,
    Psubq => i::psubq,
    Paddsb => i::paddsb,
    Paddsw => i::paddsw,
    Paddusb => i::paddusb,
    Paddusw => i::paddusw,
    Psubsb => i::psubsb,
    Psubsw => i::psubsw,
    Psubusb => i::psubusb,
    Psubusw => i::psubusw,
    Pmullw => i::pmullw,
    Pmulhw => i::pmulhw,
    Pmulhuw => i::pmulhuw,
    Pmulhrsw => i::pmulhrsw,
    Pmulld => i::pmulld,
    Pmuludq => i::pmuludq,
    Pmuldq => i::pmuldq,
    Pavgb => i::pavgb,
    Pavgw => i::pavgw,
    Pminub => i::pminub,
    Pmaxub => i::pmaxub,
    Pminsb => i::pminsb,
    Pmaxsb => i::pmaxsb,
    Pminuw => i::pminuw,
    Pmaxuw => i::pmaxuw,
    Pminsw => i::pminsw,
    Pmaxsw => i::pmaxsw,
    Pminud => i::pminud,
    Pmaxud => i::pmaxud,
    Pminsd => i::pminsd,
    Pmaxsd => i::pmaxsd,
    Pcmpeqb => i::pcmpeqb,
    Pcmpeqw => i::pcmpeqw,
    Pcmpeqd => i::pcmpeqd,
    Pcmpeqq => i::pcmpeqq,
    Pcmpgtb => i::pcmpgtb,
    Pcmpgtw => i::pcmpgtw,
    Pcmpgtd => i::pcmpgtd,
    Pcmpgtq => i::pcmpgtq,
    Pand | Andps | Andpd => i::pand,
    Pandn | Andnps | Andnpd => i::pandn,
    Por | Orps | Orpd => i::por,
    Pxor | Xorps | Xorpd => i::pxor,
    Psignb => i::psignb,
    Psignw => i::psignw,
    Psignd => i::psignd,
    Pabsb => i::pabsb,
    Pabsw => i::pabsw,
    Pabsd => i::pabsd,
    Pmovsxbw => i::pmovsxbw,
    Pmovsxbd => i::pmovsxbd,
    Pmovsxbq => i::pmovsxbq,
    Pmovsxwd => i::pmovsxwd,
    Pmovsxwq => i::pmovsxwq,
    Pmovsxdq => i::pmovsxdq,
    Pmovzxbw => i::pmovzxbw,
    Pmovzxbd => i::pmovzxbd,
    Pmovzxbq => i::pmovzxbq,
    Pmovzxwd => i::pmovzxwd,
    Pmovzxwq => i::pmovzxwq,
    Pmovzxdq => i::pmovzxdq,
    Phaddw => i::phaddw,
    Phaddd => i::phaddd,
    Phaddsw => i::phaddsw,
    Phsubw => i::phsubw,
    Phsubd => i::phsubd,
    Phsubsw => i::phsubsw,
    Punpcklbw => i::punpcklbw,
    Punpcklwd => i::punpcklwd,
    Punpckldq | Unpcklps => i::punpckldq,
    Punpcklqdq | Unpcklpd => i::punpcklqdq,
    Punpckhbw => i::punpckhbw,
    Punpckhwd => i::punpckhwd,
    Punpckhdq | Unpckhps => i::punpckhdq,
    Punpckhqdq | Unpckhpd => i::punpckhqdq,
    Packsswb => i::packsswb,
    Packuswb => i::packuswb,
    Packssdw => i::packssdw,
    Packusdw => i::packusdw,
    Psllw => i::psllw,
    Pslld => i::pslld,
    Psllq => i::psllq,
    Psrlw => i::psrlw,
    Psrld => i::psrld,
    Psrlq => i::psrlq,
    Psraw => i::psraw,
    Psrad => i::psrad,
    Pmaddwd => i::pmaddwd,
    Pmaddubsw => i::pmaddubsw,
    Psadbw => i::psadbw,
    Phminposuw => i::phminposuw,
    Pshufb => i::pshufb,
    Movshdup => i::movshdup,
    Movsldup => i::movsldup,
    Movddup => i::movddup,
    Aesenc => c::aesenc,
    Aesenclast => c::aesenclast,
    Aesdec => c::aesdec,
    Aesdeclast => c::aesdeclast,
    Aesimc => c::aesimc,
    Sha1nexte => c::sha1nexte,
    Sha1msg1 => c::sha1msg1,
    Sha1msg2 => c::sha1msg2,
    Sha256msg1 => c::sha256msg1,
    Sha256msg2 => c::sha256msg2,
    Rcpps => f::rcpps,
    Rcpss => f::rcpss,
    Rsqrtps => f::rsqrtps,
    Rsqrtss => f::rsqrtss,
    Cvtdq2pd => v::cvtdq2pd,
}

table! {
    /// xmm, xmm/m, imm8.
    packed_imm: PackedImm;
    Psllw => i::psllw_i,
    Pslld => i::pslld_i,
    Psllq => i::psllq_i,
    Psrlw => i::psrlw_i,
    Psrld => i::psrld_i,
    Psrlq => i::psrlq_i,
    Psraw => i::psraw_i,
    Psrad => i::psrad_i,
    Pslldq => i::pslldq_i,
    Psrldq => i::psrldq_i,
    Palignr => i::palignr,
    Mpsadbw => i::mpsadbw,
    Pshufd => i::pshufd,
    Pshuflw => i::pshuflw,
    Pshufhw => i::pshufhw,
    Shufps => i::shufps,
    Shufpd => i::shufpd,
    Pblendw => i::pblendw,
    Blendps => i::blendps,
    Blendpd => i::blendpd,
    Aeskeygenassist => c::aeskeygenassist,
    Pclmulqdq => c::pclmulqdq,
    Sha1rnds4 => c::sha1rnds4,
}

table! {
    /// xmm, xmm/m, XMM0.
    packed_xmm0: PackedXmm0;
    Pblendvb => i::pblendvb,
    Blendvps => i::blendvps,
    Blendvpd => i::blendvpd,
    Sha256rnds2 => c::sha256rnds2,
}

table! {
    /// xmm, xmm/m, with MXCSR.
    float: Float;
    Addps => f::addps,
    Addpd => f::addpd,
    Addss => f::addss,
    Addsd => f::addsd,
    Subps => f::subps,
    Subpd => f::subpd,
    Subss => f::subss,
    Subsd => f::subsd,
    Mulps => f::mulps,
    Mulpd => f::mulpd,
    Mulss => f::mulss,
    Mulsd => f::mulsd,
    Divps => f::divps,
    Divpd => f::divpd,
    Divss => f::divss,
    Divsd => f::divsd,
    Sqrtps => f::sqrtps,
    Sqrtpd => f::sqrtpd,
    Sqrtss => f::sqrtss,
    Sqrtsd => f::sqrtsd,
    Minps => f::minps,
    Minpd => f::minpd,
    Minss => f::minss,
    Minsd => f::minsd,
    Maxps => f::maxps,
    Maxpd => f::maxpd,
    Maxss => f::maxss,
    Maxsd => f::maxsd,
    Haddps => f::haddps,
    Haddpd => f::haddpd,
    Hsubps => f::hsubps,
    Hsubpd => f::hsubpd,
    Addsubps => f::addsubps,
    Addsubpd => f::addsubpd,
    Cvtss2sd => v::cvtss2sd,
    Cvtsd2ss => v::cvtsd2ss,
    Cvtps2pd => v::cvtps2pd,
    Cvtpd2ps => v::cvtpd2ps,
    Cvtdq2ps => v::cvtdq2ps,
    Cvtps2dq => v::cvtps2dq,
    Cvttps2dq => v::cvttps2dq,
    Cvtpd2dq => v::cvtpd2dq,
    Cvttpd2dq => v::cvttpd2dq,
}

table! {
    /// xmm, xmm/m, imm8, with MXCSR.
    float_imm: FloatImm;
    Cmpps => f::cmpps,
    Cmppd => f::cmppd,
    Cmpss => f::cmpss,
    Cmpsd => f::cmpsd,
    Roundps => f::roundps,
    Roundpd => f::roundpd,
    Roundss => f::roundss,
    Roundsd => f::roundsd,
    Dpps => f::dpps,
    Dppd => f::dppd,
}

table! {
    /// xmm, xmm/m, with MXCSR, to RFLAGS.
    compare: Compare;
    Comiss => f::comiss,
    Comisd => f::comisd,
    Ucomiss => f::ucomiss,
    Ucomisd => f::ucomisd,
}

table! {
    /// mm, mm/m64 (mm/m32 for `punpckl*`).
    mmx: Mmx;
    Paddb => m::paddb,
    Paddw => m::paddw,
    Paddd => m::paddd,
    Paddq => m::paddq,
    Psubb => m::psubb,
    Psubw => m::psubw,
    Psubd => m::psubd,
    Psubq => m::psubq,
    Paddsb => m::paddsb,
    Paddsw => m::paddsw,
    Paddusb => m::paddusb,
    Paddusw => m::paddusw,
    Psubsb => m::psubsb,
    Psubsw => m::psubsw,
    Psubusb => m::psubusb,
    Psubusw => m::psubusw,
    Pmullw => m::pmullw,
    Pmulhw => m::pmulhw,
    Pmulhuw => m::pmulhuw,
    Pmulhrsw => m::pmulhrsw,
    Pmuludq => m::pmuludq,
    Pmaddwd => m::pmaddwd,
    Pmaddubsw => m::pmaddubsw,
    Pavgb => m::pavgb,
    Pavgw => m::pavgw,
    Pminub => m::pminub,
    Pmaxub => m::pmaxub,
    Pminsw => m::pminsw,
    Pmaxsw => m::pmaxsw,
    Pcmpeqb => m::pcmpeqb,
    Pcmpeqw => m::pcmpeqw,
    Pcmpeqd => m::pcmpeqd,
    Pcmpgtb => m::pcmpgtb,
    Pcmpgtw => m::pcmpgtw,
    Pcmpgtd => m::pcmpgtd,
    Pand => m::pand,
    Pandn => m::pandn,
    Por => m::por,
    Pxor => m::pxor,
    Psignb => m::psignb,
    Psignw => m::psignw,
    Psignd => m::psignd,
    Pabsb => m::pabsb,
    Pabsw => m::pabsw,
    Pabsd => m::pabsd,
    Psadbw => m::psadbw,
    Psllw => m::psllw,
    Pslld => m::pslld,
    Psllq => m::psllq,
    Psrlw => m::psrlw,
    Psrld => m::psrld,
    Psrlq => m::psrlq,
    Psraw => m::psraw,
    Psrad => m::psrad,
    Punpcklbw => m::punpcklbw,
    Punpcklwd => m::punpcklwd,
    Punpckldq => m::punpckldq,
    Packsswb => m::packsswb,
    Packuswb => m::packuswb,
    Packssdw => m::packssdw,
    Phaddw => m::phaddw,
    Phaddd => m::phaddd,
    Phaddsw => m::phaddsw,
    Phsubw => m::phsubw,
    Phsubd => m::phsubd,
    Phsubsw => m::phsubsw,
    Punpckhbw => m::punpckhbw,
    Punpckhwd => m::punpckhwd,
    Punpckhdq => m::punpckhdq,
    Pshufb => m::pshufb,
}

table! {
    /// mm, mm/m64, imm8; shifts by an immediate too.
    mmx_imm: MmxImm;
    Psllw => m::psllw_i,
    Pslld => m::pslld_i,
    Psllq => m::psllq_i,
    Psrlw => m::psrlw_i,
    Psrld => m::psrld_i,
    Psrlq => m::psrlq_i,
    Psraw => m::psraw_i,
    Psrad => m::psrad_i,
    Pshufw => m::pshufw,
    Palignr => m::palignr,
}

table! {
    /// As `packed`, of what only VEX prefixes have.
    avx: Packed;
    Vpermilps => a::vpermilps,
    Vpermilpd => a::vpermilpd,
    Vpsllvd => a::vpsllvd,
    Vpsllvq => a::vpsllvq,
    Vpsrlvd => a::vpsrlvd,
    Vpsrlvq => a::vpsrlvq,
    Vpsravd => a::vpsravd,
}

table! {
    /// As `packed_imm`, of what only VEX prefixes have.
    avx_imm: PackedImm;
    Vpermilps => i::pshufd,
    Vpermilpd => a::vpermilpd_i,
    Vpblendd => a::vpblendd,
}

table! {
    /// As `float_imm`, with predicates 0 to 31.
    avx_compare: FloatImm;
    Vcmpps => f::vcmpps,
    Vcmppd => f::vcmppd,
    Vcmpss => f::vcmpss,
    Vcmpsd => f::vcmpsd,
}

macro_rules! fused_table {
    ($($sum:ident: $($order:literal $ps:ident $pd:ident $($ss:ident $sd:ident)?,)*)*) => {
        /// The instructions of FMA.
        pub fn fused(mnemonic: Mnemonic) -> Option<Fused> {
            Some(match mnemonic {
                $($(
                    Mnemonic::$ps => Fused::new(sum::$sum, $order, lanes::PS),
                    Mnemonic::$pd => Fused::new(sum::$sum, $order, lanes::PD),
                    $(
                        Mnemonic::$ss => Fused::new(sum::$sum, $order, lanes::SS),
                        Mnemonic::$sd => Fused::new(sum::$sum, $order, lanes::SD),
                    )?
                )*)*
                _ => return None,
            })
        }
    };
}

fused_table! {
    VFMADD:
        0 Vfmadd132ps Vfmadd132pd Vfmadd132ss Vfmadd132sd,
        1 Vfmadd213ps Vfmadd213pd Vfmadd213ss Vfmadd213sd,
        2 Vfmadd231ps Vfmadd231pd Vfmadd231ss Vfmadd231sd,
    VFMSUB:
        0 Vfmsub132ps Vfmsub132pd Vfmsub132ss Vfmsub132sd,
        1 Vfmsub213ps Vfmsub213pd Vfmsub213ss Vfmsub213sd,
        2 Vfmsub231ps Vfmsub231pd Vfmsub231ss Vfmsub231sd,
    VFNMADD:
        0 Vfnmadd132ps Vfnmadd132pd Vfnmadd132ss Vfnmadd132sd,
        1 Vfnmadd213ps Vfnmadd213pd Vfnmadd213ss Vfnmadd213sd,
        2 Vfnmadd231ps Vfnmadd231pd Vfnmadd231ss Vfnmadd231sd,
    VFNMSUB:
        0 Vfnmsub132ps Vfnmsub132pd Vfnmsub132ss Vfnmsub132sd,
        1 Vfnmsub213ps Vfnmsub213pd Vfnmsub213ss Vfnmsub213sd,
        2 Vfnmsub231ps Vfnmsub231pd Vfnmsub231ss Vfnmsub231sd,
    VFMADDSUB:
        0 Vfmaddsub132ps Vfmaddsub132pd,
        1 Vfmaddsub213ps Vfmaddsub213pd,
        2 Vfmaddsub231ps Vfmaddsub231pd,
    VFMSUBADD:
        0 Vfmsubadd132ps Vfmsubadd132pd,
        1 Vfmsubadd213ps Vfmsubadd213pd,
        2 Vfmsubadd231ps Vfmsubadd231pd,
}

macro_rules! legacy {
    ($($vex:ident $legacy:ident,)*) => {
        /// The SSE instruction that does in 128 bits what an AVX instruction does in each half of its registers.
        ///
        /// Where the two have other operands or another effect on the upper half, or where halves are not apart
        /// (conversions between sizes, `vmovddup`), that is the caller's to know.
        pub fn legacy(mnemonic: Mnemonic) -> Option<Mnemonic> {
            Some(match mnemonic {
                $(Mnemonic::$vex => Mnemonic::$legacy,)*
                _ => return None,
            })
        }
    };
}

legacy! {
    Vpaddb Paddb, Vpaddw Paddw, Vpaddd Paddd, Vpaddq Paddq, Vpsubb Psubb, Vpsubw Psubw, Vpsubd Psubd, Vpsubq Psubq,
    Vpaddsb Paddsb, Vpaddsw Paddsw, Vpaddusb Paddusb, Vpaddusw Paddusw, Vpsubsb Psubsb, Vpsubsw Psubsw,
    Vpsubusb Psubusb, Vpsubusw Psubusw, Vpmullw Pmullw, Vpmulhw Pmulhw, Vpmulhuw Pmulhuw, Vpmulhrsw Pmulhrsw,
    Vpmulld Pmulld, Vpmuludq Pmuludq, Vpmuldq Pmuldq, Vpavgb Pavgb, Vpavgw Pavgw, Vpminub Pminub, Vpmaxub Pmaxub,
    Vpminsb Pminsb, Vpmaxsb Pmaxsb, Vpminuw Pminuw, Vpmaxuw Pmaxuw, Vpminsw Pminsw, Vpmaxsw Pmaxsw, Vpminud Pminud,
    Vpmaxud Pmaxud, Vpminsd Pminsd, Vpmaxsd Pmaxsd, Vpcmpeqb Pcmpeqb, Vpcmpeqw Pcmpeqw, Vpcmpeqd Pcmpeqd,
    Vpcmpeqq Pcmpeqq, Vpcmpgtb Pcmpgtb, Vpcmpgtw Pcmpgtw, Vpcmpgtd Pcmpgtd, Vpcmpgtq Pcmpgtq, Vpand Pand,
    Vandps Andps, Vandpd Andpd, Vpandn Pandn, Vandnps Andnps, Vandnpd Andnpd, Vpor Por, Vorps Orps, Vorpd Orpd,
    Vpxor Pxor, Vxorps Xorps, Vxorpd Xorpd, Vpsignb Psignb, Vpsignw Psignw, Vpsignd Psignd, Vpabsb Pabsb,
    Vpabsw Pabsw, Vpabsd Pabsd, Vpmovsxbw Pmovsxbw, Vpmovsxbd Pmovsxbd, Vpmovsxbq Pmovsxbq, Vpmovsxwd Pmovsxwd,
    Vpmovsxwq Pmovsxwq, Vpmovsxdq Pmovsxdq, Vpmovzxbw Pmovzxbw, Vpmovzxbd Pmovzxbd, Vpmovzxbq Pmovzxbq,
    Vpmovzxwd Pmovzxwd, Vpmovzxwq Pmovzxwq, Vpmovzxdq Pmovzxdq, Vphaddw Phaddw, Vphaddd Phaddd, Vphaddsw Phaddsw,
    Vphsubw Phsubw, Vphsubd Phsubd, Vphsubsw Phsubsw, Vpunpcklbw Punpcklbw, Vpunpcklwd Punpcklwd,
    Vpunpckldq Punpckldq, Vunpcklps Unpcklps, Vpunpcklqdq Punpcklqdq, Vunpcklpd Unpcklpd, Vpunpckhbw Punpckhbw,
    Vpunpckhwd Punpckhwd, Vpunpckhdq Punpckhdq, Vunpckhps Unpckhps, Vpunpckhqdq Punpckhqdq, Vunpckhpd Unpckhpd,
    Vpacksswb Packsswb, Vpackuswb Packuswb, Vpackssdw Packssdw, Vpackusdw Packusdw, Vpsllw Psllw, Vpslld Pslld,
    Vpsllq Psllq, Vpsrlw Psrlw, Vpsrld Psrld, Vpsrlq Psrlq, Vpsraw Psraw, Vpsrad Psrad, Vpmaddwd Pmaddwd,
    Vpmaddubsw Pmaddubsw, Vpsadbw Psadbw, Vphminposuw Phminposuw, Vpshufb Pshufb, Vmovshdup Movshdup,
    Vmovsldup Movsldup, Vmovddup Movddup, Vaesenc Aesenc, Vaesenclast Aesenclast, Vaesdec Aesdec,
    Vaesdeclast Aesdeclast, Vaesimc Aesimc, Vrcpps Rcpps, Vrcpss Rcpss, Vrsqrtps Rsqrtps, Vrsqrtss Rsqrtss,
    Vcvtdq2pd Cvtdq2pd, Vpslldq Pslldq, Vpsrldq Psrldq, Vpalignr Palignr, Vmpsadbw Mpsadbw, Vpshufd Pshufd,
    Vpshuflw Pshuflw, Vpshufhw Pshufhw, Vshufps Shufps, Vshufpd Shufpd, Vpblendw Pblendw, Vblendps Blendps,
    Vblendpd Blendpd, Vaeskeygenassist Aeskeygenassist, Vpclmulqdq Pclmulqdq, Vpblendvb Pblendvb, Vblendvps Blendvps,
    Vblendvpd Blendvpd, Vaddps Addps, Vaddpd Addpd, Vaddss Addss, Vaddsd Addsd, Vsubps Subps, Vsubpd Subpd,
    Vsubss Subss, Vsubsd Subsd, Vmulps Mulps, Vmulpd Mulpd, Vmulss Mulss, Vmulsd Mulsd, Vdivps Divps, Vdivpd Divpd,
    Vdivss Divss, Vdivsd Divsd, Vsqrtps Sqrtps, Vsqrtpd Sqrtpd, Vsqrtss Sqrtss, Vsqrtsd Sqrtsd, Vminps Minps,
    Vminpd Minpd, Vminss Minss, Vminsd Minsd, Vmaxps Maxps, Vmaxpd Maxpd, Vmaxss Maxss, Vmaxsd Maxsd, Vhaddps Haddps,
    Vhaddpd Haddpd, Vhsubps Hsubps, Vhsubpd Hsubpd, Vaddsubps Addsubps, Vaddsubpd Addsubpd, Vcvtss2sd Cvtss2sd,
    Vcvtsd2ss Cvtsd2ss, Vcvtps2pd Cvtps2pd, Vcvtpd2ps Cvtpd2ps, Vcvtdq2ps Cvtdq2ps, Vcvtps2dq Cvtps2dq,
    Vcvttps2dq Cvttps2dq, Vcvtpd2dq Cvtpd2dq, Vcvttpd2dq Cvttpd2dq, Vcmpps Cmpps, Vcmppd Cmppd, Vcmpss Cmpss,
    Vcmpsd Cmpsd, Vroundps Roundps, Vroundpd Roundpd, Vroundss Roundss, Vroundsd Roundsd, Vdpps Dpps, Vdppd Dppd,
    Vcomiss Comiss, Vcomisd Comisd, Vucomiss Ucomiss, Vucomisd Ucomisd, Vmovaps Movaps, Vmovapd Movapd,
    Vmovdqa Movdqa, Vmovups Movups, Vmovupd Movupd, Vmovdqu Movdqu, Vlddqu Lddqu, Vmovntps Movntps, Vmovntpd Movntpd,
    Vmovntdq Movntdq, Vmovntdqa Movntdqa, Vmovss Movss, Vmovsd Movsd, Vmovd Movd, Vmovq Movq, Vmovlps Movlps,
    Vmovlpd Movlpd, Vmovhps Movhps, Vmovhpd Movhpd, Vmovhlps Movhlps, Vmovlhps Movlhps, Vmovmskps Movmskps,
    Vmovmskpd Movmskpd, Vpmovmskb Pmovmskb, Vpextrb Pextrb, Vpextrw Pextrw, Vpextrd Pextrd, Vpextrq Pextrq,
    Vextractps Extractps, Vpinsrb Pinsrb, Vpinsrw Pinsrw, Vpinsrd Pinsrd, Vpinsrq Pinsrq, Vinsertps Insertps,
    Vmaskmovdqu Maskmovdqu, Vldmxcsr Ldmxcsr, Vstmxcsr Stmxcsr, Vptest Ptest, Vpcmpistri Pcmpistri,
    Vpcmpestri Pcmpestri, Vpcmpestri64 Pcmpestri64, Vpcmpistrm Pcmpistrm, Vpcmpestrm Pcmpestrm,
    Vpcmpestrm64 Pcmpestrm64, Vcvtsi2ss Cvtsi2ss, Vcvtsi2sd Cvtsi2sd, Vcvtss2si Cvtss2si, Vcvtsd2si Cvtsd2si,
    Vcvttss2si Cvttss2si, Vcvttsd2si Cvttsd2si,
}

/// By how much an immediate operand is shifted to the right for the upper half.
pub fn upper_shift(mnemonic: Mnemonic) -> u8 {
    match mnemonic {
        Mnemonic::Vblendps | Mnemonic::Vpblendd => 4,
        Mnemonic::Vmpsadbw => 3,
        Mnemonic::Vblendpd | Mnemonic::Vshufpd | Mnemonic::Vpermilpd => 2,
        _ => 0,
    }
}
