//! String instructions, with their repetitions.
//!
//! A repeated instruction does one piece after the other, each with its effect on the registers, so
//! that a fault or an interrupt in between leaves it half done, to go on later. Long ones of MOVS and
//! STOS go by the page.

use iced_x86::{Instruction, Mnemonic};

use super::{by_width, lazy, operand_size, Width};
use crate::decode::{prefix, Handler, Op};
use crate::exception::{DF, GENERAL_PROTECTION};
use crate::flags::operation;
use crate::memory::{Scalar, PAGE};
use crate::paging::Access;
use crate::segment::ES;
use crate::state::{RAX, RCX, RDI, RDX, RSI};
use crate::{Cpu, Step, Stop};

/// What repetitions may cost at once; then the instruction is begun again.
const STRETCH: u64 = 4096;

fn address_mask(op: &Op) -> u64 {
    if op.prefixes & prefix::ADDRESS64 != 0 {
        u64::MAX
    } else if op.prefixes & prefix::ADDRESS16 != 0 {
        0xffff
    } else {
        0xffff_ffff
    }
}

/// Adds to RSI, RDI or RCX as far as the address size reaches.
fn advance(cpu: &mut Cpu, register: usize, by: u64, mask: u64) {
    let old = cpu.state.gpr[register];
    let new = old.wrapping_add(by) & mask;
    // Of 32 bits the upper half becomes 0, of 16 bits the rest stays.
    cpu.state.gpr[register] = if mask == 0xffff { old & !0xffff | new } else { new };
}

fn step_of<W: Width>(cpu: &Cpu) -> u64 {
    if cpu.state.system_flags & DF != 0 {
        W::Value::SIZE.wrapping_neg()
    } else {
        W::Value::SIZE
    }
}

fn source(cpu: &Cpu, op: &Op) -> u64 {
    cpu.linear(op.segment, cpu.state.gpr[RSI] & address_mask(op))
}

fn destination(cpu: &Cpu, op: &Op) -> u64 {
    cpu.linear(ES as u8, cpu.state.gpr[RDI] & address_mask(op))
}

/// Repeats `piece` as the prefix says. `compares`: the repetition ends by ZF, too.
fn repeat(cpu: &mut Cpu, op: &Op, compares: bool, mut piece: impl FnMut(&mut Cpu) -> Step) -> Step {
    if op.prefixes & (prefix::REP | prefix::REPNE) == 0 {
        return piece(cpu);
    }
    let mask = address_mask(op);
    let mut left = STRETCH;
    while cpu.state.gpr[RCX] & mask != 0 {
        if left == 0 {
            return again(cpu, op);
        }
        left -= 1;
        piece(cpu)?;
        advance(cpu, RCX, u64::MAX, mask);
        if compares && cpu.state.flags.zf() != (op.prefixes & prefix::REP != 0) {
            break;
        }
    }
    Ok(())
}

/// Goes back to the instruction's beginning, so that interrupts can come in.
fn again(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.state.rip = cpu.state.rip.wrapping_sub(u64::from(op.length));
    cpu.state.budget -= STRETCH as i64 / 16;
    Err(Stop::Leave)
}

/// How many elements from here to the end of the page.
fn in_page<W: Width>(va: u64) -> u64 {
    (PAGE - va % PAGE) / W::Value::SIZE
}

fn move_string<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let step = step_of::<W>(cpu);
    let mask = address_mask(op);
    if op.prefixes & (prefix::REP | prefix::REPNE) != 0 && step == W::Value::SIZE {
        let mut stretches = 16;
        loop {
            let count = cpu.state.gpr[RCX] & mask;
            if count == 0 {
                return Ok(());
            }
            if stretches == 0 {
                return again(cpu, op);
            }
            stretches -= 1;
            let (from, to) = (source(cpu, op), destination(cpu, op));
            let most = count.min(in_page::<W>(from)).min(in_page::<W>(to));
            match (cpu.known(from, Access::Read), cpu.known(to, Access::Write)) {
                (Some(from), Some(to)) if most > 0 => {
                    let bytes = (most * W::Value::SIZE) as usize;
                    let ahead = (to as usize).wrapping_sub(from as usize);
                    if ahead >= bytes {
                        unsafe { core::ptr::copy(from, to, bytes) };
                    } else {
                        // What was written is read again: a pattern is repeated.
                        for i in 0..most as usize {
                            unsafe {
                                let from = from.cast::<W::Value>().add(i);
                                to.cast::<W::Value>().add(i).write_unaligned(from.read_unaligned());
                            }
                        }
                    }
                    let bytes = bytes as u64;
                    advance(cpu, RSI, bytes, mask);
                    advance(cpu, RDI, bytes, mask);
                    advance(cpu, RCX, most.wrapping_neg(), mask);
                }
                _ => {
                    move_one::<W>(cpu, op, step)?;
                    advance(cpu, RCX, u64::MAX, mask);
                    if cpu.state.event != 0 {
                        return again(cpu, op);
                    }
                }
            }
        }
    }
    repeat(cpu, op, false, |cpu| move_one::<W>(cpu, op, step))
}

fn move_one<W: Width>(cpu: &mut Cpu, op: &Op, step: u64) -> Step {
    let mask = address_mask(op);
    let from = source(cpu, op);
    let value = W::load(cpu, from)?;
    let to = destination(cpu, op);
    W::store(cpu, to, value)?;
    advance(cpu, RSI, step, mask);
    advance(cpu, RDI, step, mask);
    Ok(())
}

fn store_string<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let step = step_of::<W>(cpu);
    let mask = address_mask(op);
    let value = W::get(cpu, RAX as u8);
    if op.prefixes & (prefix::REP | prefix::REPNE) != 0 && step == W::Value::SIZE {
        let mut stretches = 16;
        loop {
            let count = cpu.state.gpr[RCX] & mask;
            if count == 0 {
                return Ok(());
            }
            if stretches == 0 {
                return again(cpu, op);
            }
            stretches -= 1;
            let to = destination(cpu, op);
            let most = count.min(in_page::<W>(to));
            match cpu.known(to, Access::Write) {
                Some(host) if most > 0 => {
                    let host = host.cast::<W::Value>();
                    for i in 0..most as usize {
                        unsafe { host.add(i).write_unaligned(W::Value::from_u64(value)) };
                    }
                    advance(cpu, RDI, most * W::Value::SIZE, mask);
                    advance(cpu, RCX, most.wrapping_neg(), mask);
                }
                _ => {
                    W::store(cpu, to, value)?;
                    advance(cpu, RDI, step, mask);
                    advance(cpu, RCX, u64::MAX, mask);
                    if cpu.state.event != 0 {
                        return again(cpu, op);
                    }
                }
            }
        }
    }
    repeat(cpu, op, false, |cpu| {
        let to = destination(cpu, op);
        W::store(cpu, to, value)?;
        advance(cpu, RDI, step, mask);
        Ok(())
    })
}

fn load_string<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let step = step_of::<W>(cpu);
    repeat(cpu, op, false, |cpu| {
        let from = source(cpu, op);
        let value = W::load(cpu, from)?;
        W::set(cpu, RAX as u8, value);
        advance(cpu, RSI, step, address_mask(op));
        Ok(())
    })
}

fn compare<W: Width>(cpu: &mut Cpu, a: u64, b: u64) {
    let result = a.wrapping_sub(b);
    cpu.state.flags = lazy::<W>(operation::SUB, result, a, b);
}

fn scan_string<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let step = step_of::<W>(cpu);
    repeat(cpu, op, true, |cpu| {
        let to = destination(cpu, op);
        let value = W::load(cpu, to)?;
        let accumulator = W::get(cpu, RAX as u8);
        compare::<W>(cpu, accumulator, value);
        advance(cpu, RDI, step, address_mask(op));
        Ok(())
    })
}

fn compare_strings<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let step = step_of::<W>(cpu);
    repeat(cpu, op, true, |cpu| {
        let from = source(cpu, op);
        let a = W::load(cpu, from)?;
        let to = destination(cpu, op);
        let b = W::load(cpu, to)?;
        compare::<W>(cpu, a, b);
        let mask = address_mask(op);
        advance(cpu, RSI, step, mask);
        advance(cpu, RDI, step, mask);
        Ok(())
    })
}

// -- Ports ---------------------------------------------------------------------------

/// Privileged unless IOPL allows it. (No task's I/O bitmap is looked at: Linux's is not given.)
fn check_port(cpu: &mut Cpu) -> Step {
    if u64::from(cpu.privilege()) > cpu.state.system_flags >> 12 & 3 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    Ok(())
}

fn port_number(cpu: &Cpu, op: &Op, immediate: bool) -> u16 {
    if immediate {
        op.immediate as u16 & 0xff
    } else {
        cpu.state.gpr[RDX] as u16
    }
}

fn input<const IMMEDIATE: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    check_port(cpu)?;
    let port = port_number(cpu, op, IMMEDIATE);
    let value = cpu.port_read(port, W::Value::SIZE as u8);
    W::set(cpu, RAX as u8, u64::from(value));
    Ok(())
}

fn output<const IMMEDIATE: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    check_port(cpu)?;
    let port = port_number(cpu, op, IMMEDIATE);
    let value = W::get(cpu, RAX as u8) as u32;
    cpu.port_write(port, W::Value::SIZE as u8, value);
    Ok(())
}

fn input_string<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    check_port(cpu)?;
    let step = step_of::<W>(cpu);
    let port = cpu.state.gpr[RDX] as u16;
    repeat(cpu, op, false, |cpu| {
        let to = destination(cpu, op);
        W::prepare(cpu, to)?;
        let value = cpu.port_read(port, W::Value::SIZE as u8);
        W::store(cpu, to, u64::from(value))?;
        advance(cpu, RDI, step, address_mask(op));
        Ok(())
    })
}

fn output_string<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    check_port(cpu)?;
    let step = step_of::<W>(cpu);
    let port = cpu.state.gpr[RDX] as u16;
    repeat(cpu, op, false, |cpu| {
        let from = source(cpu, op);
        let value = W::load(cpu, from)?;
        cpu.port_write(port, W::Value::SIZE as u8, value as u32);
        advance(cpu, RSI, step, address_mask(op));
        Ok(())
    })
}

/// `f::<IMMEDIATE, Width>` of an accumulator, which for ports has 32 bits at most.
macro_rules! port_handler {
    ($size:expr, $immediate:expr, $name:ident) => {
        match ($immediate, $size) {
            (true, 1) => $name::<true, super::Byte> as Handler,
            (true, 2) => $name::<true, super::Word>,
            (true, _) => $name::<true, super::Dword>,
            (false, 1) => $name::<false, super::Byte>,
            (false, 2) => $name::<false, super::Word>,
            (false, _) => $name::<false, super::Dword>,
        }
    };
}

pub fn select(instruction: &Instruction) -> Option<Handler> {
    let immediate = |operand: u32| instruction.op_kind(operand) == iced_x86::OpKind::Immediate8;
    Some(match instruction.mnemonic() {
        Mnemonic::Movsb | Mnemonic::Movsw | Mnemonic::Movsq => {
            by_width!(operand_size(instruction, 0), move_string)
        }
        // SSE has instructions of these names, too.
        Mnemonic::Movsd if instruction.is_string_instruction() => {
            by_width!(operand_size(instruction, 0), move_string)
        }
        Mnemonic::Cmpsb | Mnemonic::Cmpsw | Mnemonic::Cmpsq => {
            by_width!(operand_size(instruction, 0), compare_strings)
        }
        Mnemonic::Cmpsd if instruction.is_string_instruction() => {
            by_width!(operand_size(instruction, 0), compare_strings)
        }
        Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd | Mnemonic::Stosq => {
            by_width!(operand_size(instruction, 0), store_string)
        }
        Mnemonic::Lodsb | Mnemonic::Lodsw | Mnemonic::Lodsd | Mnemonic::Lodsq => {
            by_width!(operand_size(instruction, 1), load_string)
        }
        Mnemonic::Scasb | Mnemonic::Scasw | Mnemonic::Scasd | Mnemonic::Scasq => {
            by_width!(operand_size(instruction, 1), scan_string)
        }
        Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd => {
            by_width!(operand_size(instruction, 0), input_string)
        }
        Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd => {
            by_width!(operand_size(instruction, 1), output_string)
        }
        Mnemonic::In => port_handler!(operand_size(instruction, 0), immediate(1), input),
        Mnemonic::Out => port_handler!(operand_size(instruction, 1), immediate(0), output),
        _ => return None,
    })
}
