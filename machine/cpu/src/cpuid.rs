//! What CPUID says: what is there, for the system's software; of that, what programs are to use ([`Level`]).
//!
//! A kernel has to know of AVX to save its registers, so that it is told in any case. Programs are told of a level of
//! the x86-64 ABI. (Hypervisors do so, too; what is not announced is executed all the same.)
//!
//! The vendor is Intel's, since Linux takes the rate of the time stamp counter from leaf 15H only of
//! its processors. Family and model are those of Westmere, for programs of level 3 those of Haswell: these have what is
//! announced, and nothing that compilers make code for beyond it. Programs that choose code by the name of a processor
//! (`target_clones("arch=...")` of GCC) do not ask for the features that come with it.

/// Of addresses.
pub const PHYSICAL_BITS: u32 = 40;
const LINEAR_BITS: u32 = 48;
/// Ticks of the time stamp counter per second. (One tick is a nanosecond.)
pub const TSC_HZ: u64 = 1_000_000_000;
/// The crystal that leaf 15H is about.
const CRYSTAL_HZ: u32 = 25_000_000;

use crate::control::XCR0_AVX;
use crate::instructions::xsave_area as area;

/// A level of the x86-64 ABI (x86-64-v2, x86-64-v3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Level {
    /// SSE4.2, SSSE3, POPCNT, CMPXCHG16B and LAHF.
    V2 = 2,
    /// And AVX2, BMI, FMA, F16C, LZCNT, MOVBE and XSAVE.
    V3 = 3,
}

impl Level {
    /// By its number.
    pub fn of(number: u32) -> Option<Level> {
        [Level::V2, Level::V3].into_iter().find(|level| *level as u32 == number)
    }
}

/// Who asks, and what else the answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub level: Level,
    /// CR4.OSXSAVE.
    pub os_xsave: bool,
    pub xcr0: u64,
}

impl View {
    /// Of the system's software on a processor whose registers are as after a reset.
    pub const SYSTEM: View = View { level: Level::V3, os_xsave: false, xcr0: 1 };
}

const MAX_BASIC: u32 = 0x16;
const MAX_EXTENDED: u32 = 0x8000_0008;
/// Family 6, model 44, stepping 2: Westmere.
const SIGNATURE: u32 = 0x0002_06c2;
/// Family 6, model 60, stepping 3: Haswell.
const SIGNATURE_V3: u32 = 0x0003_06c3;
const BRAND: &[u8; 48] = b"browsermount virtual CPU\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Bits of leaf 1, ECX.
mod ecx1 {
    pub const SSE3: u32 = 1 << 0;
    pub const PCLMULQDQ: u32 = 1 << 1;
    pub const SSSE3: u32 = 1 << 9;
    pub const FMA: u32 = 1 << 12;
    pub const CX16: u32 = 1 << 13;
    pub const PCID: u32 = 1 << 17;
    pub const SSE4_1: u32 = 1 << 19;
    pub const SSE4_2: u32 = 1 << 20;
    pub const MOVBE: u32 = 1 << 22;
    pub const POPCNT: u32 = 1 << 23;
    pub const TSC_DEADLINE: u32 = 1 << 24;
    pub const AES: u32 = 1 << 25;
    pub const XSAVE: u32 = 1 << 26;
    pub const OSXSAVE: u32 = 1 << 27;
    pub const AVX: u32 = 1 << 28;
    pub const F16C: u32 = 1 << 29;
    pub const HYPERVISOR: u32 = 1 << 31;
    /// What level 3 adds.
    pub const V3: u32 = FMA | XSAVE | AVX | F16C;
}

/// Bits of leaf 1, EDX.
mod edx1 {
    pub const FPU: u32 = 1 << 0;
    pub const PSE: u32 = 1 << 3;
    pub const TSC: u32 = 1 << 4;
    pub const MSR: u32 = 1 << 5;
    pub const PAE: u32 = 1 << 6;
    pub const CX8: u32 = 1 << 8;
    pub const APIC: u32 = 1 << 9;
    pub const SEP: u32 = 1 << 11;
    pub const PGE: u32 = 1 << 13;
    pub const CMOV: u32 = 1 << 15;
    pub const PAT: u32 = 1 << 16;
    pub const CLFLUSH: u32 = 1 << 19;
    pub const MMX: u32 = 1 << 23;
    pub const FXSR: u32 = 1 << 24;
    pub const SSE: u32 = 1 << 25;
    pub const SSE2: u32 = 1 << 26;
}

/// Bits of leaf 7, EBX.
mod ebx7 {
    pub const FSGSBASE: u32 = 1 << 0;
    pub const TSC_ADJUST: u32 = 1 << 1;
    pub const BMI1: u32 = 1 << 3;
    pub const AVX2: u32 = 1 << 5;
    pub const BMI2: u32 = 1 << 8;
    pub const ERMS: u32 = 1 << 9;
    pub const INVPCID: u32 = 1 << 10;
    /// What level 3 adds.
    pub const V3: u32 = BMI1 | AVX2 | BMI2;
}

/// Bits of leaf 80000001H, ECX.
mod ecx_extended {
    pub const LAHF: u32 = 1 << 0;
    pub const LZCNT: u32 = 1 << 5;
}

/// Bits of leaf DH, subleaf 1, EAX.
mod xsave {
    pub const XSAVEOPT: u32 = 1 << 0;
    pub const XSAVEC: u32 = 1 << 1;
    /// XGETBV of what is in use.
    pub const XGETBV1: u32 = 1 << 2;
}

/// EAX, EBX, ECX and EDX of a leaf. Intel SDM volume 2, CPUID.
pub fn cpuid(leaf: u32, subleaf: u32, view: View) -> [u32; 4] {
    let v3 = view.level == Level::V3;
    let of_v3 = |bits: u32| if v3 { bits } else { 0 };
    match leaf {
        0 => [MAX_BASIC, word(b"Genu"), word(b"ntel"), word(b"ineI")],
        1 => [
            if v3 { SIGNATURE_V3 } else { SIGNATURE },
            // CLFLUSH lines of 64 bytes; one logical processor; APIC ID 0.
            8 << 8 | 1 << 16,
            ecx1::SSE3 | ecx1::PCLMULQDQ | ecx1::SSSE3 | ecx1::CX16 | ecx1::PCID | ecx1::SSE4_1
                | ecx1::SSE4_2 | ecx1::MOVBE | ecx1::POPCNT | ecx1::TSC_DEADLINE | ecx1::AES
                | ecx1::HYPERVISOR
                | of_v3(ecx1::V3)
                | of_v3(if view.os_xsave { ecx1::OSXSAVE } else { 0 }),
            edx1::FPU | edx1::PSE | edx1::TSC | edx1::MSR | edx1::PAE | edx1::CX8 | edx1::APIC
                | edx1::SEP | edx1::PGE | edx1::CMOV | edx1::PAT | edx1::CLFLUSH | edx1::MMX
                | edx1::FXSR | edx1::SSE | edx1::SSE2,
        ],
        // Caches are described by leaf 4.
        2 => [0x00ff_ff01, 0, 0, 0],
        4 => cache(subleaf),
        7 if subleaf == 0 => [
            0,
            ebx7::FSGSBASE | ebx7::TSC_ADJUST | ebx7::ERMS | ebx7::INVPCID | of_v3(ebx7::V3),
            0,
            0,
        ],
        0xd if v3 => extended_state(subleaf, view.xcr0),
        // TSC = crystal * EBX / EAX.
        0x15 => [1, (TSC_HZ / CRYSTAL_HZ as u64) as u32, CRYSTAL_HZ, 0],
        0x16 => [(TSC_HZ / 1_000_000) as u32, (TSC_HZ / 1_000_000) as u32, 100, 0],
        // No hypervisor that offers anything: only that there is one.
        0x4000_0000 => [0x4000_0000, word(b"brow"), word(b"serm"), word(b"ount")],
        0x8000_0000 => [MAX_EXTENDED, 0, 0, 0],
        // LAHF in 64-bit mode. SYSCALL, NX, pages of 1 GiB, RDTSCP, long mode.
        0x8000_0001 => [0, 0, ecx_extended::LAHF | of_v3(ecx_extended::LZCNT), 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29],
        0x8000_0002..=0x8000_0004 => {
            let at = (leaf - 0x8000_0002) as usize * 16;
            [0, 4, 8, 12].map(|i| word(&BRAND[at + i..at + i + 4]))
        }
        // L2 cache: 1 MiB, 16 ways, lines of 64 bytes.
        0x8000_0006 => [0, 0, 1024 << 16 | 8 << 12 | 64, 0],
        // An invariant time stamp counter.
        0x8000_0007 => [0, 0, 0, 1 << 8],
        0x8000_0008 => [LINEAR_BITS << 8 | PHYSICAL_BITS, 0, 0, 0],
        _ => [0; 4],
    }
}

/// Leaf DH: what XSAVE saves, and where.
fn extended_state(subleaf: u32, xcr0: u64) -> [u32; 4] {
    let enabled = if xcr0 & XCR0_AVX != 0 { area::SIZE } else { area::AVX };
    match subleaf {
        0 => [crate::control::XCR0_KNOWN as u32, enabled as u32, area::SIZE as u32, 0],
        1 => [xsave::XSAVEOPT | xsave::XSAVEC | xsave::XGETBV1, enabled as u32, 0, 0],
        // AVX.
        2 => [(area::SIZE - area::AVX) as u32, area::AVX as u32, 0, 0],
        _ => [0; 4],
    }
}

/// Leaf 4: data and instruction cache of 32 KiB, L2 of 1 MiB, L3 of 8 MiB.
fn cache(subleaf: u32) -> [u32; 4] {
    let (kind, level, ways, sets) = match subleaf {
        0 => (1, 1, 8, 64),
        1 => (2, 1, 8, 64),
        2 => (3, 2, 16, 1024),
        3 => (3, 3, 16, 8192),
        _ => return [0; 4],
    };
    [kind | level << 5 | 1 << 8, (ways - 1) << 22 | 63, sets - 1, 0]
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
