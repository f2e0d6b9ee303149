//! What moves values: between registers, memory and the stack.

use iced_x86::{ConditionCode, EncodingKind, Instruction, Mnemonic, OpKind, Register};

use super::{by_width, is_memory, is_register, load_rm, operand_size, pick, Byte, Dword, Qword, Width, Word};
use crate::decode::{Handler, Op};
use crate::exception::{AC, DF, ID, IF, IOPL, NT, RF, TF};
use crate::memory::Scalar;
use crate::segment::SS;
use crate::state::{RAX, RBP, RBX, RDX, RSP};
use crate::{Cpu, Step, Stop};

#[inline(always)]
pub fn move_register<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = W::get(cpu, op.b);
    W::set(cpu, op.a, value);
    Ok(())
}

#[inline(always)]
pub fn move_load<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    let value = W::load(cpu, va)?;
    W::set(cpu, op.a, value);
    Ok(())
}

#[inline(always)]
pub fn move_store<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    let value = W::get(cpu, op.b);
    W::store(cpu, va, value)
}

#[inline(always)]
pub fn move_immediate<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    W::set(cpu, op.a, op.immediate);
    Ok(())
}

#[inline(always)]
pub fn store_immediate<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    W::store(cpu, va, op.immediate & W::MASK)
}

fn select_move(instruction: &Instruction) -> Option<Handler> {
    let size = operand_size(instruction, 0);
    let special = |register: Register| {
        register.is_segment_register() || register.is_cr() || register.is_dr() || register.is_tr()
    };
    if (0..2).any(|i| is_register(instruction, i) && special(instruction.op_register(i))) {
        return None;
    }
    Some(match (is_memory(instruction, 0), instruction.op_kind(1)) {
        (false, OpKind::Register) => by_width!(size, move_register),
        (false, OpKind::Memory) => by_width!(size, move_load),
        (false, _) => by_width!(size, move_immediate),
        (true, OpKind::Register) => by_width!(size, move_store),
        (true, _) => by_width!(size, store_immediate),
    })
}

/// MOVZX, MOVSX and MOVSXD: from S to W.
#[inline(always)]
pub fn extend<const SIGNED: bool, const MEMORY: bool, S: Width, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = load_rm::<S, MEMORY>(cpu, op, op.b)?;
    W::set(cpu, op.a, if SIGNED { S::signed(value) as u64 } else { value });
    Ok(())
}

fn select_extend<const SIGNED: bool>(instruction: &Instruction) -> Handler {
    fn from<const SIGNED: bool, const MEMORY: bool, S: Width>(to: usize) -> Handler {
        match to {
            2 => extend::<SIGNED, MEMORY, S, Word>,
            4 => extend::<SIGNED, MEMORY, S, Dword>,
            _ => extend::<SIGNED, MEMORY, S, Qword>,
        }
    }
    let to = operand_size(instruction, 0);
    match (is_memory(instruction, 1), operand_size(instruction, 1)) {
        (false, 1) => from::<SIGNED, false, Byte>(to),
        (false, 2) => from::<SIGNED, false, Word>(to),
        (false, _) => from::<SIGNED, false, Dword>(to),
        (true, 1) => from::<SIGNED, true, Byte>(to),
        (true, 2) => from::<SIGNED, true, Word>(to),
        (true, _) => from::<SIGNED, true, Dword>(to),
    }
}

#[inline(always)]
pub fn load_address<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let offset = cpu.offset(op);
    let offset = cpu.cut(op, offset);
    W::set(cpu, op.a, offset);
    Ok(())
}

fn exchange<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let (a, b) = (W::get(cpu, op.a), W::get(cpu, op.b));
    W::set(cpu, op.a, b);
    W::set(cpu, op.b, a);
    Ok(())
}

fn exchange_memory<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    W::prepare(cpu, va)?;
    let old = W::load(cpu, va)?;
    let value = W::get(cpu, op.b);
    W::store(cpu, va, value)?;
    W::set(cpu, op.b, old);
    Ok(())
}

fn byte_swap<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = W::get(cpu, op.a);
    // Of 16 bits the result is undefined; processors give 0.
    let swapped = if W::BITS == 16 { 0 } else { value.swap_bytes() >> (64 - W::BITS) };
    W::set(cpu, op.a, swapped);
    Ok(())
}

/// MOVBE.
fn swap_load<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    let value = W::load(cpu, va)?;
    W::set(cpu, op.a, value.swap_bytes() >> (64 - W::BITS));
    Ok(())
}

fn swap_store<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    let value = W::get(cpu, op.b);
    W::store(cpu, va, value.swap_bytes() >> (64 - W::BITS))
}

fn conditional_move<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    // Memory is read in any case.
    let value = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    let value = if cpu.state.flags.condition(op.c) { value } else { W::get(cpu, op.a) };
    W::set(cpu, op.a, value);
    Ok(())
}

fn set_condition<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = u64::from(cpu.state.flags.condition(op.c));
    if MEMORY {
        let va = cpu.address(op);
        return cpu.store::<u8>(va, value as u8);
    }
    Byte::set(cpu, op.a, value);
    Ok(())
}

/// The number of a condition in Jcc's opcode.
pub fn condition_number(instruction: &Instruction) -> u8 {
    match instruction.condition_code() {
        ConditionCode::o => 0,
        ConditionCode::no => 1,
        ConditionCode::b => 2,
        ConditionCode::ae => 3,
        ConditionCode::e => 4,
        ConditionCode::ne => 5,
        ConditionCode::be => 6,
        ConditionCode::a => 7,
        ConditionCode::s => 8,
        ConditionCode::ns => 9,
        ConditionCode::p => 10,
        ConditionCode::np => 11,
        ConditionCode::l => 12,
        ConditionCode::ge => 13,
        ConditionCode::le => 14,
        ConditionCode::g => 15,
        ConditionCode::None => unreachable!("asked only for instructions with a condition"),
    }
}

// -- The stack -----------------------------------------------------------------

impl Cpu {
    /// The linear address of an offset in the stack segment.
    #[inline(always)]
    fn stack(&self, offset: u64) -> u64 {
        if self.long() {
            offset
        } else {
            self.linear(SS as u8, offset & 0xffff_ffff)
        }
    }

    #[inline(always)]
    pub fn set_stack_pointer(&mut self, value: u64) {
        self.state.gpr[RSP] = if self.long() { value } else { value & 0xffff_ffff };
    }

    #[inline(always)]
    pub fn push<T: Scalar>(&mut self, value: T) -> Step {
        let rsp = self.state.gpr[RSP].wrapping_sub(T::SIZE);
        let va = self.stack(rsp);
        self.store::<T>(va, value).map_err(|stop| self.on_stack(va, T::SIZE, stop))?;
        self.set_stack_pointer(rsp);
        Ok(())
    }

    /// The value on the stack at a distance, which is not taken from it.
    #[inline(always)]
    pub fn peek<T: Scalar>(&mut self, distance: u64) -> Result<T, Stop> {
        let va = self.stack(self.state.gpr[RSP].wrapping_add(distance));
        self.load::<T>(va).map_err(|stop| self.on_stack(va, T::SIZE, stop))
    }

    #[inline(always)]
    pub fn drop_stack(&mut self, bytes: u64) {
        self.set_stack_pointer(self.state.gpr[RSP].wrapping_add(bytes));
    }
}

#[inline(always)]
pub fn push_register<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = W::get(cpu, op.a);
    cpu.push(W::Value::from_u64(value))
}

fn push_memory<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    let value = W::load(cpu, va)?;
    cpu.push(W::Value::from_u64(value))
}

fn push_immediate<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.push(W::Value::from_u64(op.immediate))
}

fn push_segment<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = cpu.segments[op.a as usize].selector;
    cpu.push(W::Value::from_u64(u64::from(selector)))
}

#[inline(always)]
pub fn pop_register<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = cpu.peek::<W::Value>(0)?;
    cpu.drop_stack(W::Value::SIZE);
    W::set(cpu, op.a, value.to_u64());
    Ok(())
}

fn pop_memory<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = cpu.peek::<W::Value>(0)?;
    // An address relative to the stack pointer is that after the pop.
    let rsp = cpu.state.gpr[RSP];
    cpu.drop_stack(W::Value::SIZE);
    let va = cpu.address(op);
    let stored = W::store(cpu, va, value.to_u64());
    if stored.is_err() {
        cpu.state.gpr[RSP] = rsp;
    }
    stored
}

fn pop_segment<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = cpu.peek::<W::Value>(0)?.to_u64() as u16;
    cpu.load_segment(op.a as usize, selector)?;
    cpu.drop_stack(W::Value::SIZE);
    if op.a as usize == SS {
        cpu.shadow_interrupts();
    }
    Err(Stop::Leave)
}

fn push_flags<W: Width>(cpu: &mut Cpu, _: &Op) -> Step {
    let flags = cpu.rflags() & !RF;
    cpu.push(W::Value::from_u64(flags))
}

fn pop_flags<W: Width>(cpu: &mut Cpu, _: &Op) -> Step {
    let value = cpu.peek::<W::Value>(0)?.to_u64();
    cpu.drop_stack(W::Value::SIZE);
    let mut changes = TF | DF | NT | AC | ID;
    if cpu.privilege() == 0 {
        changes |= IOPL | IF;
    } else if u64::from(cpu.privilege()) <= cpu.state.system_flags >> 12 & 3 {
        changes |= IF;
    }
    if W::BITS == 16 {
        changes &= 0xffff;
    }
    let old = cpu.state.system_flags;
    cpu.set_rflags(old & !changes | value & (changes | crate::flags::ARITHMETIC));
    if cpu.state.system_flags & IF != 0 && old & IF == 0 {
        cpu.interrupt_slice();
    }
    Err(Stop::Leave)
}

fn leave<W: Width>(cpu: &mut Cpu, _: &Op) -> Step {
    let rbp = cpu.state.gpr[RBP];
    let va = cpu.stack(rbp);
    let value = W::load(cpu, va).map_err(|stop| cpu.on_stack(va, W::Value::SIZE, stop))?;
    cpu.set_stack_pointer(rbp.wrapping_add(W::Value::SIZE));
    W::set(cpu, RBP as u8, value);
    Ok(())
}

fn enter<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let level = u64::from(op.c & 31);
    let size = W::Value::SIZE;
    let store = |cpu: &mut Cpu, at: u64, value: u64| {
        let va = cpu.stack(at);
        W::store(cpu, va, value).map_err(|stop| cpu.on_stack(va, size, stop))
    };
    let frame = cpu.state.gpr[RSP].wrapping_sub(size);
    let mut at = frame;
    let rbp = W::get(cpu, RBP as u8);
    store(cpu, at, rbp)?;
    for i in 1..level {
        let from = cpu.stack(cpu.state.gpr[RBP].wrapping_sub(i * size));
        let value = W::load(cpu, from).map_err(|stop| cpu.on_stack(from, size, stop))?;
        at = at.wrapping_sub(size);
        store(cpu, at, value)?;
    }
    if level > 0 {
        at = at.wrapping_sub(size);
        store(cpu, at, frame & W::MASK)?;
    }
    let new = at.wrapping_sub(op.immediate & 0xffff);
    // The page below has to be writable, too.
    let va = cpu.stack(new);
    W::prepare(cpu, va).map_err(|stop| cpu.on_stack(va, size, stop))?;
    cpu.set_stack_pointer(new);
    W::set(cpu, RBP as u8, frame);
    Ok(())
}

fn push_all<W: Width>(cpu: &mut Cpu, _: &Op) -> Step {
    let rsp = cpu.state.gpr[RSP];
    let size = W::Value::SIZE;
    let va = cpu.stack(rsp.wrapping_sub(8 * size));
    cpu.probe(va, 8 * size, crate::Access::Write)?;
    for register in 0..8u8 {
        let value = W::get(cpu, register);
        let va = cpu.stack(rsp.wrapping_sub((u64::from(register) + 1) * size));
        W::store(cpu, va, value)?;
    }
    cpu.set_stack_pointer(rsp.wrapping_sub(8 * size));
    Ok(())
}

fn pop_all<W: Width>(cpu: &mut Cpu, _: &Op) -> Step {
    let size = W::Value::SIZE;
    let mut values = [0; 8];
    for (i, value) in values.iter_mut().enumerate() {
        *value = cpu.peek::<W::Value>(i as u64 * size)?.to_u64();
    }
    for (i, &value) in values.iter().enumerate() {
        let register = 7 - i;
        if register != RSP {
            W::set(cpu, register as u8, value);
        }
    }
    cpu.drop_stack(8 * size);
    Ok(())
}

// -- The accumulator -------------------------------------------------------------

fn extend_accumulator<S: Width, W: Width>(cpu: &mut Cpu, _: &Op) -> Step {
    let value = S::signed(S::get(cpu, RAX as u8)) as u64;
    W::set(cpu, RAX as u8, value);
    Ok(())
}

fn sign_to_rdx<W: Width>(cpu: &mut Cpu, _: &Op) -> Step {
    let sign = (W::signed(W::get(cpu, RAX as u8)) >> 63) as u64;
    W::set(cpu, RDX as u8, sign);
    Ok(())
}

fn translate_byte(cpu: &mut Cpu, op: &Op) -> Step {
    let offset = cpu.state.gpr[RBX].wrapping_add(Byte::get(cpu, RAX as u8));
    let offset = if op.prefixes & crate::decode::prefix::ADDRESS64 != 0 {
        offset
    } else if op.prefixes & crate::decode::prefix::ADDRESS16 != 0 {
        offset & 0xffff
    } else {
        offset & 0xffff_ffff
    };
    let va = cpu.linear(op.segment, offset);
    let value = cpu.load::<u8>(va)?;
    Byte::set(cpu, RAX as u8, u64::from(value));
    Ok(())
}

/// The size of what PUSH and POP move.
fn stack_size(instruction: &Instruction) -> usize {
    instruction.stack_pointer_increment().unsigned_abs() as usize
}

fn select_push(instruction: &Instruction) -> Handler {
    let size = stack_size(instruction);
    match instruction.op_kind(0) {
        OpKind::Register if instruction.op0_register().is_segment_register() => by_width!(size, push_segment),
        OpKind::Register => by_width!(size, push_register),
        OpKind::Memory => by_width!(size, push_memory),
        _ => by_width!(size, push_immediate),
    }
}

fn select_pop(instruction: &Instruction) -> Handler {
    let size = stack_size(instruction);
    match instruction.op_kind(0) {
        OpKind::Register if instruction.op0_register().is_segment_register() => by_width!(size, pop_segment),
        OpKind::Register => by_width!(size, pop_register),
        _ => by_width!(size, pop_memory),
    }
}

pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    let size = || operand_size(instruction, 0);
    let mnemonic = instruction.mnemonic();
    // Those with a VEX prefix (CMPccXADD) are other instructions, which are not here.
    if instruction.code().encoding() == EncodingKind::Legacy && instruction.condition_code() != ConditionCode::None {
        let memory = is_memory(instruction, if instruction.op_count() > 1 { 1 } else { 0 });
        let name = condition_number(instruction);
        if instruction.is_jcc_short_or_near() || instruction.is_loop() || instruction.is_loopcc() {
            return None;
        }
        op.c = name;
        if instruction.op_count() == 1 {
            return Some(pick(memory, set_condition::<false>, set_condition::<true>));
        }
        return Some(match (memory, size()) {
            (false, 2) => conditional_move::<false, Word>,
            (false, 4) => conditional_move::<false, Dword>,
            (false, _) => conditional_move::<false, Qword>,
            (true, 2) => conditional_move::<true, Word>,
            (true, 4) => conditional_move::<true, Dword>,
            (true, _) => conditional_move::<true, Qword>,
        });
    }
    Some(match mnemonic {
        Mnemonic::Mov => return select_move(instruction),
        Mnemonic::Movnti => by_width!(size(), move_store),
        Mnemonic::Movzx => select_extend::<false>(instruction),
        Mnemonic::Movsx | Mnemonic::Movsxd => {
            if operand_size(instruction, 0) == operand_size(instruction, 1) {
                // MOVSXD without REX.W.
                return select_move(instruction);
            }
            select_extend::<true>(instruction)
        }
        Mnemonic::Lea => by_width!(size(), load_address),
        Mnemonic::Xchg => {
            if is_memory(instruction, 0) {
                by_width!(size(), exchange_memory)
            } else {
                by_width!(size(), exchange)
            }
        }
        Mnemonic::Bswap => by_width!(size(), byte_swap),
        Mnemonic::Movbe => {
            if is_memory(instruction, 0) {
                by_width!(operand_size(instruction, 1), swap_store)
            } else {
                by_width!(size(), swap_load)
            }
        }
        Mnemonic::Push => select_push(instruction),
        Mnemonic::Pop => select_pop(instruction),
        Mnemonic::Pushf => push_flags::<Word>,
        Mnemonic::Pushfd => push_flags::<Dword>,
        Mnemonic::Pushfq => push_flags::<Qword>,
        Mnemonic::Popf => pop_flags::<Word>,
        Mnemonic::Popfd => pop_flags::<Dword>,
        Mnemonic::Popfq => pop_flags::<Qword>,
        Mnemonic::Pusha => push_all::<Word>,
        Mnemonic::Pushad => push_all::<Dword>,
        Mnemonic::Popa => pop_all::<Word>,
        Mnemonic::Popad => pop_all::<Dword>,
        Mnemonic::Leave => match instruction.code() {
            iced_x86::Code::Leavew => leave::<Word>,
            iced_x86::Code::Leaved => leave::<Dword>,
            _ => leave::<Qword>,
        },
        Mnemonic::Enter => match instruction.code() {
            iced_x86::Code::Enterw_imm16_imm8 => enter::<Word>,
            iced_x86::Code::Enterd_imm16_imm8 => enter::<Dword>,
            _ => enter::<Qword>,
        },
        Mnemonic::Cbw => extend_accumulator::<Byte, Word>,
        Mnemonic::Cwde => extend_accumulator::<Word, Dword>,
        Mnemonic::Cdqe => extend_accumulator::<Dword, Qword>,
        Mnemonic::Cwd => sign_to_rdx::<Word>,
        Mnemonic::Cdq => sign_to_rdx::<Dword>,
        Mnemonic::Cqo => sign_to_rdx::<Qword>,
        Mnemonic::Xlatb => translate_byte,
        _ => return None,
    })
}
