//! What compiled code and the interpreter share: the registers, at fixed places.
//!
//! Compiled code addresses these fields by their offsets in [`State`], which lies at one address for
//! the whole life of a machine. `offset` names them; nothing else knows where a field is.

use crate::flags::Flags;
use simd::Xmm;

pub const RAX: usize = 0;
pub const RCX: usize = 1;
pub const RDX: usize = 2;
pub const RBX: usize = 3;
pub const RSP: usize = 4;
pub const RBP: usize = 5;
pub const RSI: usize = 6;
pub const RDI: usize = 7;
pub const R11: usize = 11;

/// The part of the processor that compiled code reads and writes.
#[repr(C, align(64))]
pub struct State {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gpr: [u64; 16],
    /// The instruction to be executed next. While the interpreter executes one: the one behind it.
    pub rip: u64,
    /// Always 0: what addresses without a base or an index add (see `Op::base`).
    pub zero: u64,
    /// The arithmetic flags, computed when somebody asks for them.
    pub flags: Flags,
    /// RFLAGS without the arithmetic flags: TF, IF, DF, IOPL, NT, RF, AC, ID, and bit 1, always set.
    pub system_flags: u64,
    /// The segments' bases, as FS and GS prefixes add them. (All others are 0 in 64-bit mode.)
    pub fs_base: u64,
    pub gs_base: u64,
    /// Instructions that may be executed before the loop has to look around. Compiled code that finds
    /// it used up at a back edge leaves. Whoever wants the loop's attention makes it negative
    /// (`Cpu::interrupt_slice`).
    pub budget: i64,
    /// Which links hold (see `chain`); 0 when none does.
    pub chain_tag: u64,
    pub mxcsr: u32,
    /// What code means depends on it: see [`Mode`].
    pub mode: u32,
    /// Not 0: code was written to, so that the decoded instructions that come next may be dead.
    pub event: u32,
    pub reserved: u32,
    /// What helpers are given, or give back, that does not fit into parameters and a result.
    pub scratch: [Xmm; 6],
    pub xmm: [Xmm; 16],
    /// Bits 128 to 255 of YMM0 to YMM15.
    pub ymm_high: [Xmm; 16],
}

/// `State::mode`: the bits that decode and privilege depend on.
pub struct Mode;

impl Mode {
    /// Privilege level 3. (Levels 1 and 2 count as 0 does for paging; Linux uses neither.)
    pub const USER: u32 = 1;
    /// 64-bit code segment; otherwise a 32-bit one (compatibility or protected mode).
    pub const LONG: u32 = 2;
    /// In a segment of 32-bit code: operands and addresses of 16 bits by default.
    pub const BITS16: u32 = 4;
    /// In a segment of 32-bit code: code, stack and data segments all begin at 0, so that only FS and GS
    /// have a base to be added.
    pub const FLAT: u32 = 8;
    /// How many bits there are.
    pub const BITS: u32 = 4;

    /// Whether code is compiled in this mode.
    pub fn is_compiled(mode: u32) -> bool {
        mode & (Mode::LONG | Mode::FLAT) != 0
    }
}

/// The units of the processor whose instructions may be executed without a fault now, as bits.
pub struct Units;

impl Units {
    pub const SSE: u32 = 1;
    /// Instructions with a VEX prefix that have vector registers.
    pub const AVX: u32 = 2;
    pub const X87: u32 = 4;
    /// How many bits there are.
    pub const BITS: u32 = 3;
}

/// Why compiled code returned. `State::rip` is the instruction to be executed next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Exit {
    /// Go on there (if the budget is not used up).
    Next = 0,
    /// The interpreter has to execute it: it faults, or accesses what is not plain memory. It has done
    /// nothing yet.
    Step = 1,
    /// Within compiled code only: what comes next reaches into the next page.
    Cross = 2,
    /// As `Step`, for a window that cannot be opened (see `windows`).
    Window = 3,
}

pub mod offset {
    use super::State;
    use crate::flags::Flags;
    use core::mem::offset_of;

    pub const GPR: usize = offset_of!(State, gpr);
    pub const RIP: usize = offset_of!(State, rip);
    pub const FLAGS_RESULT: usize = offset_of!(State, flags) + offset_of!(Flags, result);
    pub const FLAGS_A: usize = offset_of!(State, flags) + offset_of!(Flags, a);
    pub const FLAGS_B: usize = offset_of!(State, flags) + offset_of!(Flags, b);
    pub const FLAGS_KIND: usize = offset_of!(State, flags) + offset_of!(Flags, kind);
    pub const SYSTEM_FLAGS: usize = offset_of!(State, system_flags);
    pub const FS_BASE: usize = offset_of!(State, fs_base);
    pub const GS_BASE: usize = offset_of!(State, gs_base);
    pub const BUDGET: usize = offset_of!(State, budget);
    pub const CHAIN_TAG: usize = offset_of!(State, chain_tag);
    pub const MXCSR: usize = offset_of!(State, mxcsr);
    pub const MODE: usize = offset_of!(State, mode);
    pub const EVENT: usize = offset_of!(State, event);
    pub const SCRATCH: usize = offset_of!(State, scratch);
    pub const XMM: usize = offset_of!(State, xmm);
    pub const YMM_HIGH: usize = offset_of!(State, ymm_high);
}
