//! MMX and SSE: what their instructions check, their operands, and how the crate `simd` is reached.
//!
//! `Op::immediate` holds, above the immediate operand's eight bits, the address of the operation.

pub(super) mod convert;
mod float;
mod mmx;
pub(super) mod moves;
pub(super) mod packed;
pub(super) mod state;

use iced_x86::{Instruction, Mnemonic};
use simd::{Mxcsr, Xmm};

use super::{is_memory, is_register};
use crate::control::{CR0_EM, CR0_TS, CR4_OSFXSR, CR4_OSXMMEXCPT};
use crate::decode::{prefix, Handler, Op};
use crate::exception::{DEVICE_NOT_AVAILABLE, GENERAL_PROTECTION, INVALID_OPCODE, SIMD_ERROR, X87_ERROR};
use crate::state::RDI;
use crate::{Access, Cpu, Step, Stop};

impl Cpu {
    /// #UD and #NM of instructions with XMM registers.
    #[inline(always)]
    fn check_sse(&mut self) -> Step {
        if self.control.cr0 & (CR0_TS | CR0_EM) != 0 || self.control.cr4 & CR4_OSFXSR == 0 {
            return self.sse_not_available();
        }
        Ok(())
    }

    #[cold]
    fn sse_not_available(&mut self) -> Step {
        let vector = if self.control.cr0 & CR0_EM != 0 || self.control.cr4 & CR4_OSFXSR == 0 {
            INVALID_OPCODE
        } else {
            DEVICE_NOT_AVAILABLE
        };
        self.raise(vector, 0)
    }

    /// #UD, #NM and #MF of instructions with MMX registers (SDM volume 2, tables 2-24 and following). Those without
    /// XMM registers do not depend on CR4.OSFXSR.
    #[inline(always)]
    fn check_mmx(&mut self) -> Step {
        if self.control.cr0 & (CR0_TS | CR0_EM) != 0 || self.fpu.pending_exception() {
            return self.mmx_not_available();
        }
        Ok(())
    }

    #[cold]
    fn mmx_not_available(&mut self) -> Step {
        let vector = if self.control.cr0 & CR0_EM != 0 {
            INVALID_OPCODE
        } else if self.control.cr0 & CR0_TS != 0 {
            DEVICE_NOT_AVAILABLE
        } else {
            X87_ERROR
        };
        self.raise(vector, 0)
    }

    /// 16 bytes of an operand that has to be aligned.
    #[inline(always)]
    fn load_aligned(&mut self, op: &Op) -> Result<Xmm, Stop> {
        let va = self.address(op);
        if va & 15 != 0 {
            return self.raise(GENERAL_PROTECTION, 0);
        }
        self.load128(va).map(Xmm)
    }

    /// Computes with MXCSR: #XM where that raises an exception that is not masked, or #UD where the system does not
    /// know #XM.
    #[inline(always)]
    pub(super) fn compute<T>(&mut self, operation: impl FnOnce(&mut Mxcsr) -> T) -> Result<T, Stop> {
        let mut mxcsr = Mxcsr(self.state.mxcsr);
        let result = mxcsr.execute(operation);
        self.state.mxcsr = mxcsr.0;
        match result {
            Ok(value) => Ok(value),
            Err(_) => self.simd_error(),
        }
    }

    #[cold]
    fn simd_error<T>(&mut self) -> Result<T, Stop> {
        let vector = if self.control.cr4 & CR4_OSXMMEXCPT != 0 { SIMD_ERROR } else { INVALID_OPCODE };
        self.raise(vector, 0)
    }

    /// MASKMOVDQU and MASKMOVQ: those bytes whose bits are set, at (R/E)DI. Only these are accessed; all or none
    /// are written.
    fn store_selected(&mut self, op: &Op, bytes: &[u8], selected: u32) -> Step {
        let offset = match op.prefixes & (prefix::ADDRESS64 | prefix::ADDRESS16) {
            prefix::ADDRESS64 => self.state.gpr[RDI],
            prefix::ADDRESS16 => self.state.gpr[RDI] & 0xffff,
            _ => self.state.gpr[RDI] & 0xffff_ffff,
        };
        let va = self.linear(op.segment, offset);
        let is_selected = |i: &usize| selected >> i & 1 != 0;
        for i in (0..bytes.len()).filter(is_selected) {
            self.probe(va.wrapping_add(i as u64), 1, Access::Write)?;
        }
        for i in (0..bytes.len()).filter(is_selected) {
            self.store::<u8>(va.wrapping_add(i as u64), bytes[i])?;
        }
        Ok(())
    }
}

/// 16 bytes of the second operand: a register (`SIZE` 0), or memory of so many bytes (of 16: aligned), then zeros.
#[inline(always)]
fn source<const SIZE: u8>(cpu: &mut Cpu, op: &Op) -> Result<Xmm, Stop> {
    Ok(match SIZE {
        0 => cpu.state.xmm[op.b as usize & 15],
        1 => {
            let va = cpu.address(op);
            Xmm([u64::from(cpu.load::<u8>(va)?), 0])
        }
        2 => {
            let va = cpu.address(op);
            Xmm([u64::from(cpu.load::<u16>(va)?), 0])
        }
        4 => {
            let va = cpu.address(op);
            Xmm([u64::from(cpu.load::<u32>(va)?), 0])
        }
        8 => {
            let va = cpu.address(op);
            Xmm([cpu.load::<u64>(va)?, 0])
        }
        _ => cpu.load_aligned(op)?,
    })
}

/// The handler for a second operand of this size in memory, or for a register (0).
macro_rules! by_source {
    ($size:expr, $name:ident) => {
        match $size {
            0 => $name::<0> as crate::decode::Handler,
            1 => $name::<1>,
            2 => $name::<2>,
            4 => $name::<4>,
            8 => $name::<8>,
            _ => $name::<16>,
        }
    };
}
use by_source;

/// The size of the second operand in memory; 0 where it is none.
fn source_size(instruction: &Instruction) -> usize {
    if is_memory(instruction, 1) {
        instruction.memory_size().size()
    } else {
        0
    }
}

/// Puts an operation's address above the immediate operand.
pub(super) fn attach(op: &mut Op, operation: usize) {
    op.immediate = (operation as u64) << 8 | op.immediate & 0xff;
}

/// What `attach` has put there.
///
/// # Safety
/// `F` is the type of that function.
#[inline(always)]
pub(super) unsafe fn attached<F: Copy>(op: &Op) -> F {
    const { assert!(size_of::<F>() == size_of::<*const ()>()) };
    let address = (op.immediate >> 8) as usize as *const ();
    unsafe { core::mem::transmute_copy(&address) }
}

fn is_general(instruction: &Instruction, operand: u32) -> bool {
    is_register(instruction, operand)
        && (instruction.op_register(operand).is_gpr32() || instruction.op_register(operand).is_gpr64())
}

fn is_xmm(instruction: &Instruction, operand: u32) -> bool {
    is_register(instruction, operand) && instruction.op_register(operand).is_xmm()
}

fn is_mm(instruction: &Instruction, operand: u32) -> bool {
    is_register(instruction, operand) && instruction.op_register(operand).is_mm()
}

pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    let mnemonic = instruction.mnemonic();
    let any = |is: fn(&Instruction, u32) -> bool| (0..instruction.op_count()).any(|i| is(instruction, i));
    let of_mmx = matches!(mnemonic, Mnemonic::Emms | Mnemonic::Cvtpi2ps | Mnemonic::Cvtpi2pd);
    if of_mmx || any(is_mm) {
        return mmx::select(instruction, op);
    }
    if !any(is_xmm) {
        return state::select(mnemonic).or_else(|| convert::select(instruction, mnemonic));
    }
    moves::select(instruction, mnemonic)
        .or_else(|| convert::select(instruction, mnemonic))
        .or_else(|| float::select(instruction, op))
        .or_else(|| packed::select(instruction, op))
}
