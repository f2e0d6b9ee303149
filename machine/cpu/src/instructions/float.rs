//! x87: memory operands, exceptions and pointers; the crate `x87` does the rest.

use iced_x86::{Code, Instruction};
use x87::status::EXCEPTIONS;
use x87::encoding::{is_control, is_waiting, memory_access, Access as Operand, Effect};
use x87::Relation;

use super::{is_memory, Width, Word};
use crate::control::{CR0_EM, CR0_MP, CR0_TS};
use crate::decode::{Handler, Op};
use crate::exception::{DEVICE_NOT_AVAILABLE, INVALID_OPCODE, X87_ERROR};
use crate::flags::{Flags, CF, PF, ZF};
use crate::segment::CS;
use crate::state::RAX;
use crate::{Access, Cpu, Step};

impl Cpu {
    /// #NM, and #MF of an earlier instruction where this one waits for it.
    pub(super) fn check_x87(&mut self, waiting: bool) -> Step {
        if self.control.cr0 & (CR0_TS | CR0_EM) != 0 {
            return self.raise(DEVICE_NOT_AVAILABLE, 0);
        }
        if waiting && self.fpu.pending_exception() {
            return self.raise(X87_ERROR, 0);
        }
        Ok(())
    }
}

/// FWAIT.
fn wait(cpu: &mut Cpu, _: &Op) -> Step {
    let both = CR0_MP | CR0_TS;
    if cpu.control.cr0 & both == both {
        return cpu.raise(DEVICE_NOT_AVAILABLE, 0);
    }
    if cpu.fpu.pending_exception() {
        return cpu.raise(X87_ERROR, 0);
    }
    Ok(())
}

/// Instruction and data pointers, for handlers of exceptions. `a` is the opcode's low bits, `b` ModRM.
fn note(cpu: &mut Cpu, op: &Op) {
    let at = cpu.state.rip.wrapping_sub(u64::from(op.length));
    note_at(cpu, op.a, op.b, at);
}

fn note_at(cpu: &mut Cpu, escape: u8, modrm: u8, at: u64) {
    if !is_control(escape, modrm) {
        let selector = cpu.segments[CS].selector;
        cpu.fpu.note_instruction(selector, at, u16::from(escape & 7) << 8 | u16::from(modrm));
    }
}

fn note_operand(cpu: &mut Cpu, op: &Op) {
    if !is_control(op.a, op.b) {
        let selector = cpu.segments[op.segment as usize].selector;
        let offset = cpu.cut(op, cpu.offset(op));
        cpu.fpu.note_operand(selector, offset);
    }
}

/// The flags after FCOMI and its like.
fn compared(cpu: &mut Cpu, relation: Relation) {
    let (zf, pf, cf) = relation.flags();
    cpu.state.flags =
        Flags::explicit([(zf, ZF), (pf, PF), (cf, CF)].iter().map(|&(set, bit)| u64::from(set) * bit).sum());
}

fn in_registers(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_x87(is_waiting(op.a, op.b))?;
    // Only FCMOVcc asks for them.
    let flags = if matches!(op.a, 2 | 3) { cpu.state.flags.bits() as u32 } else { 0 };
    match cpu.fpu.execute_register(op.a, op.b, flags) {
        Effect::Done => {}
        Effect::Compared(relation) => compared(cpu, relation),
        Effect::StatusWord(word) => Word::set(cpu, RAX as u8, u64::from(word)),
        Effect::Undefined => return cpu.raise(INVALID_OPCODE, 0),
    }
    note(cpu, op);
    Ok(())
}

fn with_memory(cpu: &mut Cpu, op: &Op) -> Step {
    let reg = op.b >> 3 & 7;
    cpu.check_x87(is_waiting(op.a, op.b))?;
    let va = cpu.address(op);
    let short = op.c != 0;
    match memory_access(op.a, reg) {
        Operand::Read(size) => {
            let mut bytes = [0; 10];
            match size {
                2 => bytes[..2].copy_from_slice(&cpu.load::<u16>(va)?.to_le_bytes()),
                4 => bytes[..4].copy_from_slice(&cpu.load::<u32>(va)?.to_le_bytes()),
                8 => bytes[..8].copy_from_slice(&cpu.load::<u64>(va)?.to_le_bytes()),
                _ => cpu.load_bytes(va, &mut bytes)?,
            }
            cpu.fpu.execute_read(op.a, reg, bytes);
            note_operand(cpu, op);
        }
        Operand::Write(size) => {
            cpu.probe(va, size as u64, Access::Write)?;
            if let Some(bytes) = cpu.fpu.execute_write(op.a, reg) {
                cpu.store_bytes(va, &bytes[..size])?;
            }
            note_operand(cpu, op);
        }
        Operand::ReadEnvironment if short => {
            let mut area = [0; x87::image::ENVIRONMENT_16];
            cpu.load_bytes(va, &mut area)?;
            cpu.fpu.fldenv_16(&area);
        }
        Operand::ReadEnvironment => {
            let mut area = [0; x87::image::ENVIRONMENT_32];
            cpu.load_bytes(va, &mut area)?;
            cpu.fpu.fldenv_32(&area);
        }
        Operand::WriteEnvironment if short => {
            cpu.probe(va, x87::image::ENVIRONMENT_16 as u64, Access::Write)?;
            let area = cpu.fpu.fnstenv_16();
            cpu.store_bytes(va, &area)?;
        }
        Operand::WriteEnvironment => {
            cpu.probe(va, x87::image::ENVIRONMENT_32 as u64, Access::Write)?;
            let area = cpu.fpu.fnstenv_32();
            cpu.store_bytes(va, &area)?;
        }
        Operand::ReadState if short => {
            let mut area = [0; x87::image::SAVE_16];
            cpu.load_bytes(va, &mut area)?;
            cpu.fpu.frstor_16(&area);
        }
        Operand::ReadState => {
            let mut area = [0; x87::image::SAVE_32];
            cpu.load_bytes(va, &mut area)?;
            cpu.fpu.frstor_32(&area);
        }
        Operand::WriteState if short => {
            cpu.probe(va, x87::image::SAVE_16 as u64, Access::Write)?;
            let area = cpu.fpu.fnsave_16();
            cpu.store_bytes(va, &area)?;
        }
        Operand::WriteState => {
            cpu.probe(va, x87::image::SAVE_32 as u64, Access::Write)?;
            let area = cpu.fpu.fnsave_32();
            cpu.store_bytes(va, &area)?;
        }
        Operand::Undefined => return cpu.raise(INVALID_OPCODE, 0),
    }
    note(cpu, op);
    Ok(())
}

/// What compiled code calls with an x87 instruction's operation ([`x87_operation`]) and address. Both have
/// done nothing where they return false, as they do unless all exceptions are masked.
impl Cpu {
    pub(crate) fn compiled_x87(&mut self, operation: u32, at: u64) -> bool {
        let (escape, modrm) = (operation as u8, (operation >> 8) as u8);
        if !self.masks_x87() {
            return false;
        }
        match self.fpu.execute_register(escape, modrm, 0) {
            Effect::Compared(relation) => compared(self, relation),
            effect => debug_assert_eq!(effect, Effect::Done),
        }
        note_at(self, escape, modrm, at);
        true
    }

    /// # Safety
    /// `host` is where the operand's bytes are, which nobody else refers to.
    pub(crate) unsafe fn compiled_x87_memory(&mut self, operation: u32, at: u64, offset: u64, host: *mut u8) -> bool {
        let (escape, modrm, segment) = (operation as u8, (operation >> 8) as u8, (operation >> 16) as usize);
        if !self.masks_x87() {
            return false;
        }
        let reg = modrm >> 3 & 7;
        let mut bytes = [0; 10];
        match memory_access(escape, reg) {
            Operand::Read(size) => {
                unsafe { core::ptr::copy_nonoverlapping(host, bytes.as_mut_ptr(), size) };
                self.fpu.execute_read(escape, reg, bytes);
            }
            Operand::Write(size) => {
                // With all exceptions masked, there always is something to be stored.
                if let Some(bytes) = self.fpu.execute_write(escape, reg) {
                    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), host, size) };
                }
            }
            _ => return false,
        }
        if !is_control(escape, modrm) {
            let selector = self.segments[segment].selector;
            self.fpu.note_operand(selector, offset);
            note_at(self, escape, modrm, at);
        }
        true
    }

    /// Whether no exception of the unit can be seen but in its status.
    #[inline(always)]
    fn masks_x87(&self) -> bool {
        self.fpu.control_word() & EXCEPTIONS == EXCEPTIONS
    }
}

/// An x87 instruction as one number for compiled code: escape, ModRM byte and its operand's segment.
pub fn x87_operation(bytes: &[u8], mode: u32) -> Option<u32> {
    let op = crate::decode::one(bytes, mode)?;
    let known = op.handler as usize == with_memory as Handler as usize
        || op.handler as usize == in_registers as Handler as usize;
    known.then(|| u32::from(op.a) | u32::from(op.b) << 8 | u32::from(op.segment) << 16)
}

/// Where the opcode is behind the prefixes.
fn opcode(bytes: &[u8], long: bool) -> Option<(u8, u8)> {
    let at = bytes.iter().position(|&byte| {
        !matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
            && !(long && byte & 0xf0 == 0x40)
    })?;
    Some((bytes[at], *bytes.get(at + 1).unwrap_or(&0)))
}

pub fn select(instruction: &Instruction, bytes: &[u8], op: &mut Op) -> Option<Handler> {
    let long = instruction.code_size() == iced_x86::CodeSize::Code64;
    match opcode(bytes, long)? {
        (0x9b, _) => Some(wait),
        (escape @ 0xd8..=0xdf, modrm) => {
            op.a = escape & 7;
            op.b = modrm;
            // With an operand size of 16 bits, images are shorter.
            op.c = u8::from(matches!(
                instruction.code(),
                Code::Fldenv_m14byte | Code::Fnstenv_m14byte | Code::Frstor_m94byte | Code::Fnsave_m94byte
            ));
            Some(if is_memory(instruction, 0) || is_memory(instruction, 1) { with_memory } else { in_registers })
        }
        _ => None,
    }
}
