//! Jumps, calls and returns.

use iced_x86::{Code, Instruction, Mnemonic};

use super::moves::condition_number;
use super::{is_memory, load_rm, pick, Dword, Qword, Width, Word};
use crate::decode::{Handler, Op};
use crate::exception::{GENERAL_PROTECTION, IF, OVERFLOW};
use crate::memory::Scalar;
use crate::segment::{Segment, CS, DS, ES, FS, GS, SS};
use crate::state::{RCX, RSP};
use crate::{Cpu, Step, Stop};

impl Cpu {
    /// Adds to RIP, which is cut to the mode's size.
    #[inline(always)]
    fn branch(&mut self, distance: u64) {
        let target = self.state.rip.wrapping_add(distance);
        self.state.rip = if self.long() { target } else { target & 0xffff_ffff };
    }
}

#[inline(always)]
pub fn jump(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.branch(op.immediate);
    Ok(())
}

/// With an operand size of 16 bits, which only 32-bit code has.
fn jump_16(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.state.rip = cpu.state.rip.wrapping_add(op.immediate) & 0xffff;
    Ok(())
}

#[inline(always)]
pub fn conditional_jump<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    if cpu.state.flags.condition(CC) {
        cpu.branch(op.immediate);
    }
    Ok(())
}

const CONDITIONAL: [Handler; 16] = [
    conditional_jump::<0>,
    conditional_jump::<1>,
    conditional_jump::<2>,
    conditional_jump::<3>,
    conditional_jump::<4>,
    conditional_jump::<5>,
    conditional_jump::<6>,
    conditional_jump::<7>,
    conditional_jump::<8>,
    conditional_jump::<9>,
    conditional_jump::<10>,
    conditional_jump::<11>,
    conditional_jump::<12>,
    conditional_jump::<13>,
    conditional_jump::<14>,
    conditional_jump::<15>,
];

fn counter<const BITS: u32>(cpu: &Cpu) -> u64 {
    cpu.state.gpr[RCX] & u64::MAX >> (64 - BITS)
}

fn jump_if_zero<const BITS: u32>(cpu: &mut Cpu, op: &Op) -> Step {
    if counter::<BITS>(cpu) == 0 {
        cpu.branch(op.immediate);
    }
    Ok(())
}

/// LOOP (0), LOOPE (1), LOOPNE (2).
fn loop_with<const KIND: u8, const BITS: u32>(cpu: &mut Cpu, op: &Op) -> Step {
    let count = counter::<BITS>(cpu).wrapping_sub(1);
    match BITS {
        64 => Qword::set(cpu, RCX as u8, count),
        32 => Dword::set(cpu, RCX as u8, count),
        _ => Word::set(cpu, RCX as u8, count),
    }
    let wanted = match KIND {
        1 => cpu.state.flags.zf(),
        2 => !cpu.state.flags.zf(),
        _ => true,
    };
    if wanted && counter::<BITS>(cpu) != 0 {
        cpu.branch(op.immediate);
    }
    Ok(())
}

#[inline(always)]
pub fn call<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let back = cpu.state.rip;
    cpu.push(W::Value::from_u64(back))?;
    cpu.branch(op.immediate);
    Ok(())
}

fn indirect_target<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Result<u64, Stop> {
    let target = load_rm::<W, MEMORY>(cpu, op, op.a)?;
    if !crate::paging::canonical(target) {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    Ok(target)
}

fn jump_indirect<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.state.rip = indirect_target::<MEMORY, W>(cpu, op)?;
    Ok(())
}

fn call_indirect<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let target = indirect_target::<MEMORY, W>(cpu, op)?;
    let back = cpu.state.rip;
    cpu.push(W::Value::from_u64(back))?;
    cpu.state.rip = target;
    Ok(())
}

/// RET, with how much else is taken from the stack in `immediate`.
#[inline(always)]
pub fn ret<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let target = cpu.peek::<W::Value>(0)?.to_u64();
    if !crate::paging::canonical(target) {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.drop_stack(W::Value::SIZE + (op.immediate & 0xffff));
    cpu.state.rip = target;
    Ok(())
}

// -- Far --------------------------------------------------------------------------

fn go_far(cpu: &mut Cpu, selector: u16, offset: u64) -> Step {
    let code = cpu.far_code(selector, false)?;
    let target = if code.is_long() { offset } else { offset & 0xffff_ffff };
    if !crate::paging::canonical(target) {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.set_code_segment(code);
    cpu.state.rip = target;
    Err(Stop::Leave)
}

fn far_pointer<W: Width>(cpu: &mut Cpu, op: &Op) -> Result<(u16, u64), Stop> {
    let va = cpu.address(op);
    let offset = W::load(cpu, va)?;
    let selector = cpu.load::<u16>(va.wrapping_add(W::Value::SIZE))?;
    Ok((selector, offset))
}

fn jump_far<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let (selector, offset) = if MEMORY {
        far_pointer::<W>(cpu, op)?
    } else {
        (op.displacement as u16, op.immediate)
    };
    go_far(cpu, selector, offset)
}

fn call_far<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let (selector, offset) = if MEMORY {
        far_pointer::<W>(cpu, op)?
    } else {
        (op.displacement as u16, op.immediate)
    };
    cpu.far_code(selector, false)?;
    let rsp = cpu.state.gpr[RSP];
    let old = cpu.segments[CS].selector;
    let back = cpu.state.rip;
    let pushed = cpu
        .push(W::Value::from_u64(u64::from(old)))
        .and_then(|()| cpu.push(W::Value::from_u64(back)));
    if let Err(stop) = pushed {
        cpu.state.gpr[RSP] = rsp;
        return Err(stop);
    }
    go_far(cpu, selector, offset)
}

/// RETF and IRET end alike: with a stack of their own where the privilege changes.
fn return_to(cpu: &mut Cpu, selector: u16, target: u64, stack: Option<(u16, u64)>, dropped: u64) -> Step {
    let code = cpu.far_code(selector, true)?;
    let target = if code.is_long() { target } else { target & 0xffff_ffff };
    if !crate::paging::canonical(target) {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let outer = (selector & 3) as u8 > cpu.privilege();
    match stack {
        None => cpu.drop_stack(dropped),
        Some((stack_selector, rsp)) => {
            let privilege = (selector & 3) as u8;
            let error = u32::from(stack_selector & 0xfffc);
            let segment = if stack_selector & 0xfffc == 0 {
                // 64-bit code of privilege 0 to 2 may have none.
                if !code.is_long() || privilege == 3 {
                    return cpu.raise(GENERAL_PROTECTION, 0);
                }
                Segment::null(stack_selector)
            } else {
                let segment = cpu.descriptor(stack_selector, 0)?;
                if (stack_selector & 3) as u8 != privilege
                    || segment.privilege() != privilege
                    || !segment.writable()
                {
                    return cpu.raise(GENERAL_PROTECTION, error);
                }
                if !segment.present() {
                    return cpu.raise(crate::exception::STACK_FAULT, error);
                }
                segment
            };
            cpu.segments[SS] = segment;
            cpu.state.gpr[RSP] = if code.is_long() { rsp } else { rsp & 0xffff_ffff };
        }
    }
    cpu.set_code_segment(code);
    cpu.state.rip = target;
    if outer {
        // What the outer code may not use is not left to it.
        for number in [ES, DS, FS, GS] {
            let segment = cpu.segments[number];
            if segment.selector & 0xfffc != 0
                && !segment.conforming()
                && segment.privilege() < cpu.privilege()
            {
                cpu.set_segment(number, Segment::null(0));
            }
        }
    }
    Ok(())
}

fn return_far<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let size = W::Value::SIZE;
    let extra = op.immediate & 0xffff;
    let target = cpu.peek::<W::Value>(0)?.to_u64();
    let selector = cpu.peek::<W::Value>(size)?.to_u64() as u16;
    let stack = if (selector & 3) as u8 > cpu.privilege() {
        let rsp = cpu.peek::<W::Value>(2 * size + extra)?.to_u64();
        Some((cpu.peek::<W::Value>(3 * size + extra)?.to_u64() as u16, rsp.wrapping_add(extra)))
    } else {
        None
    };
    return_to(cpu, selector, target, stack, 2 * size + extra)?;
    Err(Stop::Leave)
}

/// IRET: in 64-bit mode it always takes SS and RSP from the stack.
fn interrupt_return<W: Width>(cpu: &mut Cpu, _: &Op) -> Step {
    use crate::exception::{AC, DF, ID, IOPL, NT, RF, TF};
    let size = W::Value::SIZE;
    if cpu.state.system_flags & NT != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let target = cpu.peek::<W::Value>(0)?.to_u64();
    let selector = cpu.peek::<W::Value>(size)?.to_u64() as u16;
    let flags = cpu.peek::<W::Value>(2 * size)?.to_u64();
    let privilege = cpu.privilege();
    let stack = if cpu.long() || (selector & 3) as u8 > privilege {
        let rsp = cpu.peek::<W::Value>(3 * size)?.to_u64();
        Some((cpu.peek::<W::Value>(4 * size)?.to_u64() as u16, rsp))
    } else {
        None
    };
    let iopl = cpu.state.system_flags >> 12 & 3;
    return_to(cpu, selector, target, stack, 3 * size)?;
    let mut changes = TF | DF | NT | RF | AC | ID;
    if privilege == 0 {
        changes |= IOPL | IF;
    } else if u64::from(privilege) <= iopl {
        changes |= IF;
    }
    if W::BITS == 16 {
        changes &= 0xffff;
    }
    let old = cpu.state.system_flags;
    cpu.set_rflags(old & !changes | flags & (changes | crate::flags::ARITHMETIC));
    if cpu.state.system_flags & IF != 0 {
        cpu.interrupt_slice();
    }
    Err(Stop::Leave)
}

fn interrupt(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.software_interrupt(op.immediate as u8)
}

fn breakpoint(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.software_interrupt(crate::exception::BREAKPOINT)
}

fn debug_trap(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.deliver_trap(0).is_err() {
        return cpu.raise(crate::exception::DOUBLE_FAULT, 0);
    }
    Err(Stop::Leave)
}

fn interrupt_on_overflow(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.state.flags.of() {
        cpu.software_interrupt(OVERFLOW)
    } else {
        Ok(())
    }
}

fn bound<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    let low = W::load(cpu, va)?;
    let high = W::load(cpu, va.wrapping_add(W::Value::SIZE))?;
    let index = W::signed(W::get(cpu, op.a));
    if index < W::signed(low) || index > W::signed(high) {
        return cpu.raise(crate::exception::BOUND, 0);
    }
    Ok(())
}

/// The size of a near branch's target: 16 bits only where 32-bit code has a prefix.
fn select_near<const MEMORY: bool>(instruction: &Instruction) -> Option<[Handler; 2]> {
    Some(match instruction.code() {
        Code::Jmp_rm16 | Code::Call_rm16 => {
            [jump_indirect::<MEMORY, Word>, call_indirect::<MEMORY, Word>]
        }
        Code::Jmp_rm32 | Code::Call_rm32 => {
            [jump_indirect::<MEMORY, Dword>, call_indirect::<MEMORY, Dword>]
        }
        Code::Jmp_rm64 | Code::Call_rm64 => {
            [jump_indirect::<MEMORY, Qword>, call_indirect::<MEMORY, Qword>]
        }
        _ => return None,
    })
}

fn select_indirect(instruction: &Instruction, call: bool) -> Option<Handler> {
    let handlers = if is_memory(instruction, 0) {
        select_near::<true>(instruction)
    } else {
        select_near::<false>(instruction)
    };
    handlers.map(|both| both[usize::from(call)])
}

pub fn select(instruction: &Instruction) -> Option<Handler> {
    if instruction.is_jcc_short_or_near() {
        return Some(CONDITIONAL[condition_number(instruction) as usize]);
    }
    Some(match instruction.code() {
        Code::Jmp_rel8_16 | Code::Jmp_rel16 => jump_16,
        Code::Jmp_rel8_32 | Code::Jmp_rel32_32 | Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => jump,
        Code::Call_rel16 => call::<Word>,
        Code::Call_rel32_32 => call::<Dword>,
        Code::Call_rel32_64 => call::<Qword>,
        Code::Jmp_rm16 | Code::Jmp_rm32 | Code::Jmp_rm64 => return select_indirect(instruction, false),
        Code::Call_rm16 | Code::Call_rm32 | Code::Call_rm64 => return select_indirect(instruction, true),
        Code::Retnw | Code::Retnw_imm16 => ret::<Word>,
        Code::Retnd | Code::Retnd_imm16 => ret::<Dword>,
        Code::Retnq | Code::Retnq_imm16 => ret::<Qword>,
        Code::Retfw | Code::Retfw_imm16 => return_far::<Word>,
        Code::Retfd | Code::Retfd_imm16 => return_far::<Dword>,
        Code::Retfq | Code::Retfq_imm16 => return_far::<Qword>,
        Code::Jmp_m1616 | Code::Jmp_ptr1616 => {
            pick(is_memory(instruction, 0), jump_far::<false, Word>, jump_far::<true, Word>)
        }
        Code::Jmp_m1632 | Code::Jmp_ptr1632 => {
            pick(is_memory(instruction, 0), jump_far::<false, Dword>, jump_far::<true, Dword>)
        }
        Code::Jmp_m1664 => jump_far::<true, Qword>,
        Code::Call_m1616 | Code::Call_ptr1616 => {
            pick(is_memory(instruction, 0), call_far::<false, Word>, call_far::<true, Word>)
        }
        Code::Call_m1632 | Code::Call_ptr1632 => {
            pick(is_memory(instruction, 0), call_far::<false, Dword>, call_far::<true, Dword>)
        }
        Code::Call_m1664 => call_far::<true, Qword>,
        Code::Iretw => interrupt_return::<Word>,
        Code::Iretd => interrupt_return::<Dword>,
        Code::Iretq => interrupt_return::<Qword>,
        Code::Int_imm8 => interrupt,
        Code::Int3 => breakpoint,
        Code::Int1 => debug_trap,
        Code::Into => interrupt_on_overflow,
        Code::Bound_r16_m1616 => bound::<Word>,
        Code::Bound_r32_m3232 => bound::<Dword>,
        Code::Jcxz_rel8_16 | Code::Jcxz_rel8_32 => jump_if_zero::<16>,
        Code::Jecxz_rel8_16 | Code::Jecxz_rel8_32 | Code::Jecxz_rel8_64 => jump_if_zero::<32>,
        Code::Jrcxz_rel8_16 | Code::Jrcxz_rel8_64 => jump_if_zero::<64>,
        _ => {
            let kind = match instruction.mnemonic() {
                Mnemonic::Loop => 0,
                Mnemonic::Loope => 1,
                Mnemonic::Loopne => 2,
                _ => return None,
            };
            match (kind, loop_bits(instruction.code())) {
                (0, 64) => loop_with::<0, 64>,
                (0, 32) => loop_with::<0, 32>,
                (0, _) => loop_with::<0, 16>,
                (1, 64) => loop_with::<1, 64>,
                (1, 32) => loop_with::<1, 32>,
                (1, _) => loop_with::<1, 16>,
                (_, 64) => loop_with::<2, 64>,
                (_, 32) => loop_with::<2, 32>,
                _ => loop_with::<2, 16>,
            }
        }
    })
}

/// Which counter LOOP has.
fn loop_bits(code: Code) -> u32 {
    match code {
        Code::Loop_rel8_64_RCX | Code::Loope_rel8_64_RCX | Code::Loopne_rel8_64_RCX => 64,
        Code::Loop_rel8_16_CX | Code::Loope_rel8_16_CX | Code::Loopne_rel8_16_CX
        | Code::Loop_rel8_32_CX | Code::Loope_rel8_32_CX | Code::Loopne_rel8_32_CX => 16,
        _ => 32,
    }
}
