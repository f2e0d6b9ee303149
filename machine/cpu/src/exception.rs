//! Exceptions and interrupts: how they are raised and delivered through the IDT.
//!
//! Intel SDM volume 3, chapter 6. Only the gates of IA-32e mode exist, since the machine never leaves it.

use crate::control::CR0_TS;
use crate::decode::Op;
use crate::paging::{canonical, Access};
use crate::segment::{Segment, CS, SS};
use crate::state::RSP;
use crate::{Cpu, Step, Stop};

pub const DIVIDE_ERROR: u8 = 0;
pub const DEBUG: u8 = 1;
pub const BREAKPOINT: u8 = 3;
pub const OVERFLOW: u8 = 4;
pub const BOUND: u8 = 5;
pub const INVALID_OPCODE: u8 = 6;
pub const DEVICE_NOT_AVAILABLE: u8 = 7;
pub const DOUBLE_FAULT: u8 = 8;
pub const INVALID_TSS: u8 = 10;
pub const NOT_PRESENT: u8 = 11;
pub const STACK_FAULT: u8 = 12;
pub const GENERAL_PROTECTION: u8 = 13;
pub const PAGE_FAULT: u8 = 14;
pub const X87_ERROR: u8 = 16;
pub const ALIGNMENT_CHECK: u8 = 17;
pub const SIMD_ERROR: u8 = 19;

/// RFLAGS bits of `State::system_flags`.
pub const TF: u64 = 1 << 8;
pub const IF: u64 = 1 << 9;
pub const DF: u64 = 1 << 10;
pub const IOPL: u64 = 3 << 12;
pub const NT: u64 = 1 << 14;
pub const RF: u64 = 1 << 16;
pub const VM: u64 = 1 << 17;
pub const AC: u64 = 1 << 18;
pub const ID: u64 = 1 << 21;
/// Always set.
pub const FIXED: u64 = 1 << 1;

/// DR6: the trap is that of a single step (TF).
pub const SINGLE_STEP: u64 = 1 << 14;

/// An exception that waits to be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub vector: u8,
    pub error: u32,
}

/// What a vector is caused by; it decides where the return address points and which privilege
/// a gate has to have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Hardware,
    Exception,
    /// INT n, INT3, INTO.
    Software,
}

fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}

/// Of those which make a second fault a double fault.
fn contributory(vector: u8) -> bool {
    matches!(vector, 0 | 10..=13)
}

impl Cpu {
    /// Records an exception; the loop delivers it, with RIP at the instruction that caused it.
    #[cold]
    pub fn raise<T>(&mut self, vector: u8, error: u32) -> Result<T, Stop> {
        self.fault = Some(Fault { vector, error });
        Err(Stop::Fault)
    }

    /// Makes the fault of an access to the stack one of the stack where the address is not canonical.
    #[cold]
    pub fn on_stack(&mut self, va: u64, size: u64, stop: Stop) -> Stop {
        let outside = !canonical(va) || !canonical(va.wrapping_add(size - 1));
        if let Some(fault @ Fault { vector: GENERAL_PROTECTION, error: 0 }) = &mut self.fault {
            if outside {
                fault.vector = STACK_FAULT;
            }
        }
        stop
    }

    /// The same for an instruction that has faulted, and whose memory operand may be relative to RSP
    /// or RBP. (RIP is behind it.)
    pub(crate) fn on_stack_operand(&mut self, op: &Op, stop: Stop) -> Stop {
        if stop == Stop::Fault && op.segment as usize == SS {
            let va = self.address(op);
            // Only of the largest operands, which are aligned, may be more behind.
            return self.on_stack(va, 8, stop);
        }
        stop
    }

    /// #UD, #NM: whether SSE or x87 instructions can be executed now.
    #[inline(always)]
    pub fn check_not_available(&mut self) -> Step {
        if self.control.cr0 & (CR0_TS | crate::control::CR0_EM) != 0 {
            return self.raise(DEVICE_NOT_AVAILABLE, 0);
        }
        Ok(())
    }

    pub fn rflags(&self) -> u64 {
        self.state.system_flags | self.state.flags.bits()
    }

    pub fn set_rflags(&mut self, value: u64) {
        self.state.flags = crate::flags::Flags::explicit(value);
        self.state.system_flags = value & (TF | IF | DF | IOPL | NT | RF | AC | ID) | FIXED;
    }

    /// Delivers the recorded fault. Err(()) is a triple fault: the machine shuts down.
    pub(crate) fn deliver_fault(&mut self) -> Result<(), ()> {
        let mut fault = self.fault.take().expect("a fault was recorded");
        loop {
            if self.deliver(fault.vector, fault.error, Cause::Exception).is_ok() {
                return Ok(());
            }
            let second = self.fault.take().expect("a fault was recorded");
            if fault.vector == DOUBLE_FAULT {
                return Err(());
            }
            let double = (contributory(fault.vector) && contributory(second.vector))
                || (fault.vector == PAGE_FAULT
                    && (contributory(second.vector) || second.vector == PAGE_FAULT));
            fault = if double { Fault { vector: DOUBLE_FAULT, error: 0 } } else { second };
        }
    }

    pub(crate) fn deliver_interrupt(&mut self, vector: u8) -> Result<(), ()> {
        if self.deliver(vector, 0, Cause::Hardware).is_ok() {
            return Ok(());
        }
        self.deliver_fault()
    }

    /// A debug trap, with its bits of DR6, which no gate's privilege keeps away. RIP is behind the
    /// instruction. Intel SDM volume 3, section 18.3.1.4.
    pub(crate) fn deliver_trap(&mut self, status: u64) -> Result<(), ()> {
        self.control.dr[6] |= status;
        if self.deliver(DEBUG, 0, Cause::Exception).is_ok() {
            return Ok(());
        }
        self.deliver_fault()
    }

    /// INT n: RIP is behind the instruction.
    pub fn software_interrupt(&mut self, vector: u8) -> Step {
        self.deliver(vector, 0, Cause::Software)?;
        Err(Stop::Leave)
    }

    fn deliver(&mut self, vector: u8, error: u32, cause: Cause) -> Step {
        // Where the fault came while delivering an event from outside, error codes have EXT set.
        let external = u32::from(cause != Cause::Software);
        let gate_error = u32::from(vector) << 3 | 2 | external;
        let at = u64::from(vector) * 16;
        if at + 15 > u64::from(self.idtr.limit) {
            return self.raise(GENERAL_PROTECTION, gate_error);
        }
        let low = self.load_system(self.idtr.base.wrapping_add(at))?;
        let high = self.load_system(self.idtr.base.wrapping_add(at + 8))?;
        let kind = low >> 40 & 0x1f;
        let gate_privilege = (low >> 45 & 3) as u8;
        if kind != 0x0e && kind != 0x0f {
            return self.raise(GENERAL_PROTECTION, gate_error);
        }
        if cause == Cause::Software && gate_privilege < self.privilege() {
            return self.raise(GENERAL_PROTECTION, gate_error);
        }
        if low >> 47 & 1 == 0 {
            return self.raise(NOT_PRESENT, gate_error);
        }
        let target = (low & 0xffff) | (low >> 32 & 0xffff_0000) | high << 32;
        let selector = (low >> 16) as u16;
        let ist = low >> 32 & 7;

        let code = self.descriptor(selector, external)?;
        if !code.is_code() || !code.is_long() || code.privilege() > self.privilege() {
            return self.raise(GENERAL_PROTECTION, u32::from(selector & 0xfffc) | external);
        }
        if !code.present() {
            return self.raise(NOT_PRESENT, u32::from(selector & 0xfffc) | external);
        }
        let old_privilege = self.privilege();
        let new_privilege = if code.conforming() { old_privilege } else { code.privilege() };
        let old_rsp = self.state.gpr[RSP];
        let changes = new_privilege < old_privilege;
        let stack = if ist != 0 {
            self.task_stack(0x24 + (ist - 1) * 8)?
        } else if changes {
            self.task_stack(4 + u64::from(new_privilege) * 8)?
        } else {
            old_rsp
        } & !15;

        let mut flags = self.rflags();
        if cause == Cause::Exception && !matches!(vector, DEBUG | BREAKPOINT | OVERFLOW) {
            flags |= RF;
        }
        let mut frame = [0u64; 6];
        let mut count = 0;
        if cause == Cause::Exception && has_error_code(vector) {
            frame[0] = u64::from(error);
            count = 1;
        }
        frame[count] = self.state.rip;
        frame[count + 1] = u64::from(self.segments[CS].selector);
        frame[count + 2] = flags;
        frame[count + 3] = old_rsp;
        frame[count + 4] = u64::from(self.segments[SS].selector);
        count += 5;
        let new_rsp = stack.wrapping_sub(8 * count as u64);
        // All of it is written as supervisor, and none of it where a part cannot be.
        if !canonical(new_rsp) || !canonical(new_rsp.wrapping_add(8 * count as u64 - 1)) {
            return self.raise(STACK_FAULT, external);
        }
        self.probe_system(new_rsp, 8 * count as u64)?;
        for (i, &value) in frame[..count].iter().enumerate() {
            self.store_system(new_rsp.wrapping_add(8 * i as u64), value)?;
        }

        self.state.gpr[RSP] = new_rsp;
        if changes {
            self.segments[SS] = Segment::null(u16::from(new_privilege));
        }
        self.set_code_segment(Segment { selector: selector & 0xfffc | u16::from(new_privilege), ..code });
        self.state.rip = target;
        self.state.system_flags &= !(TF | NT | RF | VM);
        if kind == 0x0e {
            self.state.system_flags &= !IF;
        }
        Ok(())
    }

    /// A stack pointer out of the 64-bit task state segment.
    fn task_stack(&mut self, at: u64) -> Result<u64, Stop> {
        if at + 7 > u64::from(self.tr.limit) {
            return self.raise(INVALID_TSS, u32::from(self.tr.selector & 0xfffc));
        }
        self.load_system(self.tr.base.wrapping_add(at))
    }

    /// Eight bytes, with the rights of a supervisor, whatever mode the processor is in.
    pub fn load_system(&mut self, va: u64) -> Result<u64, Stop> {
        let mut value = 0;
        if va & 0xfff <= 0xff8 {
            let pa = self.translate_as(va, Access::Read, false)?;
            return Ok(self.load_physical(pa, 8));
        }
        for i in (0..8).rev() {
            let pa = self.translate_as(va.wrapping_add(i), Access::Read, false)?;
            value = value << 8 | self.load_physical(pa, 1);
        }
        Ok(value)
    }

    fn probe_system(&mut self, va: u64, size: u64) -> Step {
        self.translate_as(va, Access::Write, false)?;
        self.translate_as(va.wrapping_add(size - 1), Access::Write, false)?;
        Ok(())
    }

    pub fn store_system(&mut self, va: u64, value: u64) -> Step {
        if va & 0xfff <= 0xff8 {
            let pa = self.translate_as(va, Access::Write, false)?;
            self.store_physical(pa, value, 8);
            return Ok(());
        }
        for i in 0..8 {
            let pa = self.translate_as(va.wrapping_add(i), Access::Write, false)?;
            self.store_physical(pa, value >> (8 * i) & 0xff, 1);
        }
        Ok(())
    }
}
