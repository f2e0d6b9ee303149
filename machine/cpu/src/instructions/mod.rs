//! The handlers of instructions, and which instruction has which.
//!
//! A handler completes its instruction, or returns Err(Stop::Fault) and has changed nothing.

mod arithmetic;
mod bits;
mod control;
mod float;
mod moves;
pub mod quick;
mod strings;
mod system;
mod vector;
mod vex;
mod xsave;

use iced_x86::{Instruction, OpKind};

pub use float::x87_operation;
pub use moves::condition_number;
pub use vector::moves::is_aligned_move;
pub use xsave::area as xsave_area;

use crate::decode::{Handler, Op, HIGH};
use crate::exception::INVALID_OPCODE;
use crate::flags::{operation, Flags, ZF};
use crate::memory::Scalar;
use crate::{Cpu, Step, Stop};

pub fn invalid(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.raise(INVALID_OPCODE, 0)
}

/// Gives an operation its handler; it has that of an invalid one until then.
pub fn select(instruction: &Instruction, bytes: &[u8], mode: u32, op: &mut Op) {
    let found = arithmetic::select(instruction)
        .or_else(|| moves::select(instruction, op))
        .or_else(|| control::select(instruction))
        .or_else(|| bits::select(instruction))
        .or_else(|| strings::select(instruction))
        .or_else(|| vex::select(instruction, op))
        .or_else(|| vector::select(instruction, op))
        .or_else(|| xsave::select(instruction))
        .or_else(|| float::select(instruction, bytes, op))
        .or_else(|| system::select(instruction, mode, op));
    if let Some(handler) = found {
        op.handler = handler;
    }
}

/// The size of an operand: values are handled as u64, zero above it.
pub trait Width: 'static {
    type Value: Scalar;
    const LOG: u32;
    const BITS: u32 = 8 << Self::LOG;
    const MASK: u64 = u64::MAX >> (64 - Self::BITS);
    const TOP: u64 = 1 << (Self::BITS - 1);

    fn get(cpu: &Cpu, register: u8) -> u64;
    fn set(cpu: &mut Cpu, register: u8, value: u64);

    #[inline(always)]
    fn load(cpu: &mut Cpu, va: u64) -> Result<u64, Stop> {
        cpu.load::<Self::Value>(va).map(Scalar::to_u64)
    }

    #[inline(always)]
    fn store(cpu: &mut Cpu, va: u64, value: u64) -> Step {
        cpu.store::<Self::Value>(va, Self::Value::from_u64(value))
    }

    /// Before a load whose address is stored to afterwards.
    #[inline(always)]
    fn prepare(cpu: &mut Cpu, va: u64) -> Step {
        cpu.prepare_store::<Self::Value>(va)
    }

    #[inline(always)]
    fn signed(value: u64) -> i64 {
        (value << (64 - Self::BITS)) as i64 >> (64 - Self::BITS)
    }
}

pub struct Byte;
pub struct Word;
pub struct Dword;
pub struct Qword;

impl Width for Byte {
    type Value = u8;
    const LOG: u32 = 0;
    #[inline(always)]
    fn get(cpu: &Cpu, register: u8) -> u64 {
        if register < HIGH {
            cpu.state.gpr[register as usize & 15] & 0xff
        } else {
            cpu.state.gpr[register as usize & 3] >> 8 & 0xff
        }
    }
    #[inline(always)]
    fn set(cpu: &mut Cpu, register: u8, value: u64) {
        if register < HIGH {
            let full = &mut cpu.state.gpr[register as usize & 15];
            *full = *full & !0xff | value & 0xff;
        } else {
            let full = &mut cpu.state.gpr[register as usize & 3];
            *full = *full & !0xff00 | (value & 0xff) << 8;
        }
    }
}

impl Width for Word {
    type Value = u16;
    const LOG: u32 = 1;
    #[inline(always)]
    fn get(cpu: &Cpu, register: u8) -> u64 {
        cpu.state.gpr[register as usize & 15] & 0xffff
    }
    #[inline(always)]
    fn set(cpu: &mut Cpu, register: u8, value: u64) {
        let full = &mut cpu.state.gpr[register as usize & 15];
        *full = *full & !0xffff | value & 0xffff;
    }
}

impl Width for Dword {
    type Value = u32;
    const LOG: u32 = 2;
    #[inline(always)]
    fn get(cpu: &Cpu, register: u8) -> u64 {
        cpu.state.gpr[register as usize & 15] & 0xffff_ffff
    }
    #[inline(always)]
    fn set(cpu: &mut Cpu, register: u8, value: u64) {
        cpu.state.gpr[register as usize & 15] = value & 0xffff_ffff;
    }
}

impl Width for Qword {
    type Value = u64;
    const LOG: u32 = 3;
    #[inline(always)]
    fn get(cpu: &Cpu, register: u8) -> u64 {
        cpu.state.gpr[register as usize & 15]
    }
    #[inline(always)]
    fn set(cpu: &mut Cpu, register: u8, value: u64) {
        cpu.state.gpr[register as usize & 15] = value;
    }
}

/// `f::<…, Width, …>` for a size in bytes.
macro_rules! by_width {
    ($size:expr, $($path:ident)::+ $(, $generic:ty)*) => {
        match $size {
            1 => $($path)::+::<$($generic,)* crate::instructions::Byte> as crate::decode::Handler,
            2 => $($path)::+::<$($generic,)* crate::instructions::Word>,
            4 => $($path)::+::<$($generic,)* crate::instructions::Dword>,
            _ => $($path)::+::<$($generic,)* crate::instructions::Qword>,
        }
    };
}
pub(crate) use by_width;

/// The size in bytes of an operand.
pub fn operand_size(instruction: &Instruction, operand: u32) -> usize {
    match instruction.op_kind(operand) {
        OpKind::Register => instruction.op_register(operand).size(),
        OpKind::Memory => instruction.memory_size().size(),
        OpKind::MemorySegSI | OpKind::MemorySegESI | OpKind::MemorySegRSI | OpKind::MemorySegDI
        | OpKind::MemorySegEDI | OpKind::MemorySegRDI | OpKind::MemoryESDI | OpKind::MemoryESEDI
        | OpKind::MemoryESRDI => instruction.memory_size().size(),
        OpKind::Immediate8 => 1,
        OpKind::Immediate16 | OpKind::Immediate8to16 => 2,
        OpKind::Immediate32 | OpKind::Immediate8to32 => 4,
        _ => 8,
    }
}

pub fn is_memory(instruction: &Instruction, operand: u32) -> bool {
    instruction.op_kind(operand) == OpKind::Memory
}

pub fn is_register(instruction: &Instruction, operand: u32) -> bool {
    instruction.op_kind(operand) == OpKind::Register
}

/// An operand that is a register or in memory: by which, `f::<Width, IS_MEMORY>`.
#[inline(always)]
pub fn load_rm<W: Width, const MEMORY: bool>(cpu: &mut Cpu, op: &Op, register: u8) -> Result<u64, Stop> {
    if MEMORY {
        let va = cpu.address(op);
        W::load(cpu, va)
    } else {
        Ok(W::get(cpu, register))
    }
}

/// The flags of a result, computed when they are asked for: see [`Flags`].
#[inline(always)]
fn lazy<W: Width>(operation: u32, result: u64, a: u64, b: u64) -> Flags {
    Flags { result, a, b, kind: operation << 2 | W::LOG, reserved: 0 }
}

/// SF, ZF and PF of a result, with other flags as they are given.
#[inline(always)]
fn result_flags<W: Width>(result: u64, others: u64) -> Flags {
    lazy::<W>(operation::GIVEN, result, 0, others)
}

/// ZF alone; the others stay.
fn set_zf(cpu: &mut Cpu, set: bool) {
    let others = cpu.state.flags.bits() & !ZF;
    cpu.state.flags = Flags::explicit(others | if set { ZF } else { 0 });
}

/// Two handlers, for a register and for memory.
pub fn pick(memory: bool, in_register: Handler, in_memory: Handler) -> Handler {
    if memory {
        in_memory
    } else {
        in_register
    }
}
