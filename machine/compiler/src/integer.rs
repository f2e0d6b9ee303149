//! Instructions on general registers and memory.

use cpu::flags::{CF, OF, ZF};
use iced_x86::{Instruction, OpKind, Register};

use crate::action::{
    counter_size, is_memory, is_register, operand_size, writes_flags, Action, Binary, Bit, Carry, Counter, Scan, Shift,
    Unary, X87,
};
use crate::emit::{local, mask, number, Emitter};
use crate::flags::Form;
use crate::wasm::op;
use crate::windows::At;
use crate::CodeSize;

const RAX: u32 = 0;
const RCX: u32 = 1;
const RDX: u32 = 2;
const RSP: u32 = 4;
const RBP: u32 = 5;

const RESULT: u32 = local::FLAGS_RESULT;
const A: u32 = local::FLAGS_A;
const B: u32 = local::FLAGS_B;
const T0: u32 = local::TEMPORARY;
const T1: u32 = T0 + 1;
const T2: u32 = T0 + 2;

/// The count of a shift by an immediate, None by CL.
pub fn shift_count(instruction: &Instruction, operand: u32, size: u32) -> Option<u32> {
    if is_register(instruction, operand) {
        return None;
    }
    Some(instruction.immediate(operand) as u32 & if size == 8 { 63 } else { 31 })
}

/// What the flags are after an instruction.
pub fn form_after(instruction: &Instruction, action: Action, before: Form) -> Form {
    let size = if instruction.op_count() > 0 { operand_size(instruction, 0) } else { 8 };
    match action {
        Action::Binary(how) => match how {
            Binary::Add => Form::Add(size),
            Binary::Adc => Form::AddCarry(size),
            Binary::Sub | Binary::Cmp => Form::Subtract(size),
            Binary::Sbb => Form::SubtractBorrow(size),
            Binary::And | Binary::Or | Binary::Xor | Binary::Test => Form::Logic(size),
        },
        Action::Unary(Unary::Inc) => Form::Increment(size),
        Action::Unary(Unary::Dec) => Form::Decrement(size),
        Action::Unary(Unary::Neg) => Form::Subtract(size),
        Action::Shift(how) => {
            let after = match how {
                Shift::Shl => Form::Add(size),
                Shift::Shr | Shift::Sar => Form::Given(size),
                Shift::Rol | Shift::Ror => before.given(),
            };
            match shift_count(instruction, 1, size) {
                Some(0) => before,
                None if matches!(how, Shift::Shl | Shift::Shr | Shift::Sar) => before.meet(after),
                _ => after,
            }
        }
        Action::ShiftDouble { .. } => match shift_count(instruction, 2, size) {
            Some(0) => before,
            _ => Form::Given(size),
        },
        Action::Bit(_) | Action::Carry(_) => before.given(),
        Action::Scan(_) => Form::Explicit,
        Action::Multiply { .. } => Form::Given(size),
        Action::MultiplyInto => Form::Multiply(size),
        Action::CompareExchange => Form::Subtract(size),
        Action::ExchangeAdd => Form::Add(size),
        Action::Vector => crate::vector::form_after(instruction, before),
        Action::Bmi(how) => crate::bmi::form_after(how, size, before),
        Action::X87(X87::Compare) => Form::Explicit,
        Action::Step => {
            if writes_flags(instruction) {
                Form::Unknown
            } else {
                before
            }
        }
        _ => before,
    }
}

/// Where an operand that is read and written is.
enum Place {
    Register(Register),
    /// At the host address in `MODIFIED`.
    Memory(u32),
}

impl Emitter {
    /// Pushes an operand's value. Above its size there may be anything.
    fn operand(&mut self, instruction: &Instruction, operand: u32) {
        match instruction.op_kind(operand) {
            OpKind::Register => self.register(instruction.op_register(operand)),
            OpKind::Memory => {
                self.load(At::Operand(instruction), operand_size(instruction, operand));
            }
            _ => self.code.i64(instruction.immediate(operand) as i64),
        }
    }

    pub fn zero_extended(&mut self, instruction: &Instruction, operand: u32) {
        self.operand(instruction, operand);
        if is_register(instruction, operand) {
            self.cut(operand_size(instruction, operand));
        }
    }

    /// Pops an operand's new value; for memory it is stored without being loaded before.
    fn set_operand(&mut self, instruction: &Instruction, operand: u32) {
        if is_register(instruction, operand) {
            self.set_register(instruction.op_register(operand));
        } else {
            self.code.set(local::VALUE);
            self.store(At::Operand(instruction), operand_size(instruction, operand));
        }
    }

    /// Begins to change an operand. All that may fault has to be done before.
    fn place(&mut self, instruction: &Instruction, operand: u32) -> Place {
        if is_register(instruction, operand) {
            return Place::Register(instruction.op_register(operand));
        }
        let size = operand_size(instruction, operand);
        self.modify_pointer(At::Operand(instruction), size);
        Place::Memory(size)
    }

    /// Pushes what is there.
    fn old(&mut self, place: &Place) {
        match *place {
            Place::Register(register) => self.register(register),
            Place::Memory(size) => {
                self.code.get(local::MODIFIED);
                self.load_host(size, 0);
            }
        }
    }

    /// Puts a local's value there.
    fn put(&mut self, place: &Place, local: u32) {
        match *place {
            Place::Register(register) => {
                self.code.get(local);
                self.set_register(register);
            }
            Place::Memory(size) => {
                self.code.get(local::MODIFIED);
                self.code.get(local);
                self.store_host(size, 0);
            }
        }
    }

    /// Pushes what an operation makes of two locals. Those of 32 bits are cheaper as such.
    fn combine(&mut self, size: u32, a: u32, b: u32, narrow: u8, wide: u8) {
        self.code.get(a);
        if size == 4 {
            self.code.op(op::I32_WRAP_I64);
        }
        self.code.get(b);
        if size == 4 {
            self.code.op(op::I32_WRAP_I64);
            self.code.op(narrow);
            self.code.op(op::I64_EXTEND_I32_U);
        } else {
            self.code.op(wide);
        }
    }

    /// Writes the code of one instruction, except for those that end blocks.
    pub fn integer(&mut self, instruction: &Instruction, action: Action) {
        match action {
            Action::Nothing => {}
            Action::Binary(how) => self.binary(instruction, how),
            Action::Unary(how) => self.unary(instruction, how),
            Action::Move if is_memory(instruction, 1) && operand_size(instruction, 0) == 4 => {
                // What is loaded is zero above its size.
                self.operand(instruction, 1);
                self.set_whole(number(instruction.op_register(0)));
            }
            Action::Move => {
                self.operand(instruction, 1);
                self.set_operand(instruction, 0);
            }
            Action::Extend { signed } => {
                if signed {
                    self.operand(instruction, 1);
                    self.sign_extend(operand_size(instruction, 1));
                } else {
                    self.zero_extended(instruction, 1);
                    if operand_size(instruction, 0) >= 4 {
                        self.set_whole(number(instruction.op_register(0)));
                        return;
                    }
                }
                self.set_operand(instruction, 0);
            }
            Action::LoadAddress => {
                self.effective_address(instruction);
                self.set_operand(instruction, 0);
            }
            Action::Exchange => self.exchange(instruction),
            Action::ByteSwap => {
                self.operand(instruction, 0);
                self.byte_swap(operand_size(instruction, 0));
                self.set_operand(instruction, 0);
            }
            Action::SwappedMove => {
                self.operand(instruction, 1);
                self.byte_swap(operand_size(instruction, 0));
                self.set_operand(instruction, 0);
            }
            Action::ConditionalMove(cc) => {
                self.operand(instruction, 1);
                self.operand(instruction, 0);
                self.condition(cc);
                self.code.op(op::SELECT);
                self.set_operand(instruction, 0);
            }
            Action::SetCondition(cc) => {
                self.condition(cc);
                self.code.op(op::I64_EXTEND_I32_U);
                self.set_operand(instruction, 0);
            }
            Action::Push => self.push_operand(instruction),
            Action::Pop => {
                let size = self.code_size.bytes();
                self.load(At::Stack(0), size);
                self.code.set(T0);
                self.move_stack(i64::from(size));
                self.code.get(T0);
                self.set_operand(instruction, 0);
            }
            Action::LeaveFrame => {
                let size = self.code_size.bytes();
                self.load(At::Frame, size);
                self.whole(RBP);
                self.code.i64(i64::from(size));
                self.code.op(op::I64_ADD);
                self.cut_address();
                self.set_whole(RSP);
                self.set_whole(RBP);
            }
            Action::ExtendAccumulator => {
                let (from, to) = match instruction.mnemonic() {
                    iced_x86::Mnemonic::Cbw => (1, Register::AX),
                    iced_x86::Mnemonic::Cwde => (2, Register::EAX),
                    _ => (4, Register::RAX),
                };
                self.whole(RAX);
                self.sign_extend(from);
                self.set_register(to);
            }
            Action::SignToData => {
                let (size, to) = match instruction.mnemonic() {
                    iced_x86::Mnemonic::Cwd => (2, Register::DX),
                    iced_x86::Mnemonic::Cdq => (4, Register::EDX),
                    _ => (8, Register::RDX),
                };
                self.whole(RAX);
                self.sign_extend(size);
                self.code.i64(63);
                self.code.op(op::I64_SHR_S);
                self.set_register(to);
            }
            Action::Shift(how) => self.shift(instruction, how),
            Action::ShiftDouble { left } => self.shift_double(instruction, left),
            Action::Bit(how) => self.bit_operation(instruction, how),
            Action::Scan(how) => self.scan(instruction, how),
            Action::Multiply { signed } => self.multiply(instruction, signed),
            Action::MultiplyInto => self.multiply_into(instruction),
            Action::Divide { signed } => self.divide(instruction, signed),
            Action::CompareExchange => self.compare_exchange(instruction),
            Action::ExchangeAdd => self.exchange_add(instruction),
            Action::Carry(how) => {
                let complements = how == Carry::Complement;
                let flags = self.make_given(if complements { 0 } else { CF });
                if how != Carry::Clear {
                    self.code.get(flags);
                    self.code.i64(CF as i64);
                    self.code.op(if complements { op::I64_XOR } else { op::I64_OR });
                    self.code.set(flags);
                }
            }
            Action::Bmi(how) => self.bmi(instruction, how),
            Action::Direction { down } => self.direction(down),
            _ => unreachable!("{action:?} is no such instruction"),
        }
    }

    fn binary(&mut self, instruction: &Instruction, how: Binary) {
        let size = operand_size(instruction, 0);
        let with_carry = matches!(how, Binary::Adc | Binary::Sbb);
        if with_carry {
            self.carry();
            self.code.op(op::I64_EXTEND_I32_U);
            self.code.set(T0);
        }
        let compares = matches!(how, Binary::Cmp | Binary::Test);
        let place = if is_memory(instruction, 0) && !compares {
            let place = self.place(instruction, 0);
            self.operand(instruction, 1);
            self.code.set(B);
            self.old(&place);
            self.code.set(A);
            Some(place)
        } else {
            // One of them is in memory at most, so that nothing can fault once a local is set.
            if is_memory(instruction, 0) {
                self.operand(instruction, 0);
                self.code.set(A);
                self.operand(instruction, 1);
                self.code.set(B);
            } else {
                self.operand(instruction, 1);
                self.code.set(B);
                self.operand(instruction, 0);
                self.code.set(A);
            }
            (!compares).then(|| Place::Register(instruction.op_register(0)))
        };
        let (narrow, wide) = match how {
            Binary::Add | Binary::Adc => (op::I32_ADD, op::I64_ADD),
            Binary::Sub | Binary::Cmp | Binary::Sbb => (op::I32_SUB, op::I64_SUB),
            Binary::And | Binary::Test => (op::I32_AND, op::I64_AND),
            Binary::Or => (op::I32_OR, op::I64_OR),
            Binary::Xor => (op::I32_XOR, op::I64_XOR),
        };
        self.combine(size, A, B, narrow, wide);
        if with_carry {
            self.code.get(T0);
            self.code.op(wide);
        }
        self.code.set(RESULT);
        self.set_form(form_after(instruction, Action::Binary(how), Form::Unknown));
        match place {
            Some(place) => self.put(&place, RESULT),
            None => {}
        }
    }

    fn unary(&mut self, instruction: &Instruction, how: Unary) {
        let size = operand_size(instruction, 0);
        if matches!(how, Unary::Inc | Unary::Dec) {
            self.carry();
            self.code.op(op::I64_EXTEND_I32_U);
            self.code.set(T0);
        }
        let place = self.place(instruction, 0);
        match how {
            Unary::Not => {
                self.old(&place);
                self.code.i64(-1);
                self.code.op(op::I64_XOR);
                self.code.set(T0);
                self.put(&place, T0);
                return;
            }
            Unary::Neg => {
                self.old(&place);
                self.code.set(B);
                self.code.i64(0);
                self.code.set(A);
                self.combine(size, A, B, op::I32_SUB, op::I64_SUB);
            }
            Unary::Inc | Unary::Dec => {
                self.old(&place);
                if size == 4 {
                    self.code.op(op::I32_WRAP_I64);
                    self.code.i32(if how == Unary::Inc { 1 } else { -1 });
                    self.code.op(op::I32_ADD);
                    self.code.op(op::I64_EXTEND_I32_U);
                } else {
                    self.code.i64(if how == Unary::Inc { 1 } else { -1 });
                    self.code.op(op::I64_ADD);
                }
                self.code.get(T0);
                self.code.set(B);
            }
        }
        self.code.set(RESULT);
        self.set_form(form_after(instruction, Action::Unary(how), Form::Unknown));
        self.put(&place, RESULT);
    }

    fn exchange(&mut self, instruction: &Instruction) {
        let other = instruction.op_register(1);
        let place = self.place(instruction, 0);
        self.old(&place);
        self.code.set(T0);
        self.register(other);
        self.code.set(T1);
        self.put(&place, T1);
        self.code.get(T0);
        self.set_register(other);
    }

    /// Pops a value and pushes it with its bytes in the other order.
    fn byte_swap(&mut self, size: u32) {
        self.code.set(T0);
        // Neighbours of 8, 16 and, for eight bytes, 32 bits change places.
        for (shift, low) in [(8, 0x00ff_00ff_00ff_00ff_u64), (16, 0x0000_ffff_0000_ffff)] {
            if size == 2 && shift == 16 {
                break;
            }
            self.code.get(T0);
            self.code.i64(low as i64);
            self.code.op(op::I64_AND);
            self.code.i64(shift);
            self.code.op(op::I64_SHL);
            self.code.get(T0);
            self.code.i64(shift);
            self.code.op(op::I64_SHR_U);
            self.code.i64(low as i64);
            self.code.op(op::I64_AND);
            self.code.op(op::I64_OR);
            self.code.set(T0);
        }
        self.code.get(T0);
        if size == 8 {
            self.code.i64(32);
            self.code.op(op::I64_ROTL);
        }
    }

    // -- The stack -------------------------------------------------------------------

    fn move_stack(&mut self, distance: i64) {
        self.whole(RSP);
        self.code.i64(distance);
        self.code.op(op::I64_ADD);
        self.cut_address();
        self.set_whole(RSP);
    }

    /// Pushes `VALUE` on the guest's stack.
    fn push_value(&mut self) {
        let size = self.code_size.bytes();
        self.store(At::Stack(-i64::from(size)), size);
        self.move_stack(-i64::from(size));
    }

    fn push_operand(&mut self, instruction: &Instruction) {
        self.operand(instruction, 0);
        self.code.set(local::VALUE);
        self.push_value();
    }

    // -- Shifts and bits ---------------------------------------------------------------

    fn shift(&mut self, instruction: &Instruction, how: Shift) {
        let size = operand_size(instruction, 0);
        let bits = i64::from(8 * size);
        let count = shift_count(instruction, 1, size);
        let place = self.place(instruction, 0);
        if count == Some(0) {
            // Only that a register of 32 bits is written matters.
            self.old(&place);
            self.code.set(T0);
            self.put(&place, T0);
            return;
        }
        let rotates = matches!(how, Shift::Rol | Shift::Ror);
        let without_flags = rotates && count.is_some() && self.flags_dead;
        let flags = if rotates && !without_flags {
            self.make_given(if count.is_some() { CF | OF } else { 0 })
        } else {
            self.use_flags();
            B
        };
        self.old(&place);
        if how == Shift::Sar {
            self.sign_extend(size);
        } else {
            self.cut(size);
        }
        self.code.set(T0);
        match count {
            Some(count) => self.code.i64(i64::from(count)),
            None => {
                self.whole(RCX);
                self.code.i64(if size == 8 { 63 } else { 31 });
                self.code.op(op::I64_AND);
            }
        }
        self.code.set(T1);
        let before = self.form;
        if count.is_none() {
            self.code.get(T1);
            self.code.op(op::I64_EQZ);
            self.code.if_(None, None);
            self.put(&place, T0);
            self.code.else_();
        }
        match how {
            Shift::Shl => {
                // As an addition of the value shifted by one less to itself.
                self.code.get(T0);
                self.less_one(count);
                self.code.op(op::I64_SHL);
                self.code.tee(A);
                self.code.tee(B);
                self.code.i64(1);
                self.code.op(op::I64_SHL);
                self.code.set(RESULT);
                self.set_form(Form::Add(size));
                self.put(&place, RESULT);
            }
            Shift::Shr | Shift::Sar => {
                let shift = if how == Shift::Shr { op::I64_SHR_U } else { op::I64_SHR_S };
                self.code.get(T0);
                self.less_one(count);
                self.code.op(shift);
                self.code.tee(B);
                self.code.i64(1);
                self.code.op(shift);
                self.code.set(RESULT);
                self.code.get(B);
                self.code.i64(CF as i64);
                self.code.op(op::I64_AND);
                self.code.set(B);
                if how == Shift::Shr && matches!(count, None | Some(1)) {
                    // Of a shift by one, OF is the value's sign.
                    self.code.get(B);
                    self.code.get(T0);
                    self.code.i64(bits - 1);
                    self.code.op(op::I64_SHR_U);
                    self.code.i64(i64::from(OF.trailing_zeros()));
                    self.code.op(op::I64_SHL);
                    if count.is_none() {
                        self.code.i64(0);
                        self.code.get(T1);
                        self.code.i64(1);
                        self.code.op(op::I64_EQ);
                        self.code.op(op::SELECT);
                    }
                    self.code.op(op::I64_OR);
                    self.code.set(B);
                }
                self.set_form(Form::Given(size));
                self.put(&place, RESULT);
            }
            Shift::Rol | Shift::Ror => {
                self.rotate(size, how);
                if !without_flags {
                    self.rotation_flags(size, how, flags);
                }
                self.put(&place, T2);
            }
        }
        if count.is_none() {
            self.code.end();
            self.form = before.meet(self.form);
        }
    }

    /// Pushes a shift's count, which is in `T1`, less one.
    fn less_one(&mut self, count: Option<u32>) {
        match count {
            Some(count) => self.code.i64(i64::from(count) - 1),
            None => {
                self.code.get(T1);
                self.code.i64(1);
                self.code.op(op::I64_SUB);
            }
        }
    }

    /// `T2` becomes `T0`, of this size, rotated by `T1`.
    fn rotate(&mut self, size: u32, how: Shift) {
        let left = how == Shift::Rol;
        match size {
            8 | 4 => {
                self.code.get(T0);
                if size == 4 {
                    self.code.op(op::I32_WRAP_I64);
                }
                self.code.get(T1);
                if size == 4 {
                    self.code.op(op::I32_WRAP_I64);
                    self.code.op(if left { op::I32_ROTL } else { op::I32_ROTR });
                    self.code.op(op::I64_EXTEND_I32_U);
                } else {
                    self.code.op(if left { op::I64_ROTL } else { op::I64_ROTR });
                }
            }
            _ => {
                // Repeated over 64 bits, it rotates as these do.
                self.code.get(T0);
                self.code.i64((u64::MAX / mask(size)) as i64);
                self.code.op(op::I64_MUL);
                self.code.get(T1);
                self.code.op(if left { op::I64_ROTL } else { op::I64_ROTR });
                self.cut(size);
            }
        }
        self.code.set(T2);
    }

    /// CF and OF after a rotation with the result `T2`; the other flags are in a local.
    fn rotation_flags(&mut self, size: u32, how: Shift, flags: u32) {
        let bits = i64::from(8 * size);
        let bit = |emitter: &mut Emitter, number: i64| {
            emitter.code.get(T2);
            emitter.code.i64(number);
            emitter.code.op(op::I64_SHR_U);
            emitter.code.i64(1);
            emitter.code.op(op::I64_AND);
        };
        let (carry, other) = if how == Shift::Rol { (0, bits - 1) } else { (bits - 1, bits - 2) };
        self.code.get(flags);
        self.code.i64(!((CF | OF) as i64));
        self.code.op(op::I64_AND);
        bit(self, carry);
        self.code.op(op::I64_OR);
        bit(self, carry);
        bit(self, other);
        self.code.op(op::I64_XOR);
        self.code.i64(i64::from(OF.trailing_zeros()));
        self.code.op(op::I64_SHL);
        self.code.op(op::I64_OR);
        self.code.set(flags);
    }

    /// SHLD and SHRD of registers of 32 and 64 bits.
    fn shift_double(&mut self, instruction: &Instruction, left: bool) {
        let size = operand_size(instruction, 0);
        let bits = 8 * size;
        let count = shift_count(instruction, 2, size).expect("only by immediate counts");
        let place = self.place(instruction, 0);
        self.old(&place);
        self.cut(size);
        self.code.set(T0);
        if count == 0 {
            self.put(&place, T0);
            return;
        }
        self.use_flags();
        self.operand(instruction, 1);
        self.cut(size);
        self.code.set(T1);
        let (own, others) = if left { (op::I64_SHL, op::I64_SHR_U) } else { (op::I64_SHR_U, op::I64_SHL) };
        self.code.get(T0);
        self.code.i64(i64::from(count));
        self.code.op(own);
        self.code.get(T1);
        self.code.i64(i64::from(bits - count));
        self.code.op(others);
        self.code.op(op::I64_OR);
        self.cut(size);
        self.code.set(RESULT);
        // CF is the last bit that went out, OF whether the sign has changed.
        self.code.get(T0);
        self.code.i64(i64::from(if left { bits - count } else { count - 1 }));
        self.code.op(op::I64_SHR_U);
        self.code.i64(1);
        self.code.op(op::I64_AND);
        self.code.get(T0);
        self.code.get(RESULT);
        self.code.op(op::I64_XOR);
        self.code.i64(i64::from(bits - 1));
        self.code.op(op::I64_SHR_U);
        self.code.i64(i64::from(OF.trailing_zeros()));
        self.code.op(op::I64_SHL);
        self.code.op(op::I64_OR);
        self.code.set(B);
        self.set_form(Form::Given(size));
        self.put(&place, RESULT);
    }

    fn bit_operation(&mut self, instruction: &Instruction, how: Bit) {
        let size = operand_size(instruction, 0);
        let bits = i64::from(8 * size);
        let place = if how == Bit::Test { None } else { Some(self.place(instruction, 0)) };
        match &place {
            Some(place) => self.old(place),
            None => self.operand(instruction, 0),
        }
        self.code.set(T0);
        self.operand(instruction, 1);
        self.code.i64(bits - 1);
        self.code.op(op::I64_AND);
        self.code.set(T1);
        let flags = self.make_given(CF);
        // CF is the bit.
        self.code.get(flags);
        self.code.get(T0);
        self.code.get(T1);
        self.code.op(op::I64_SHR_U);
        self.code.i64(1);
        self.code.op(op::I64_AND);
        self.code.op(op::I64_OR);
        self.code.set(flags);
        let Some(place) = place else { return };
        self.code.get(T0);
        self.code.i64(1);
        self.code.get(T1);
        self.code.op(op::I64_SHL);
        match how {
            Bit::Test | Bit::Set => self.code.op(op::I64_OR),
            Bit::Complement => self.code.op(op::I64_XOR),
            Bit::Reset => {
                self.code.i64(-1);
                self.code.op(op::I64_XOR);
                self.code.op(op::I64_AND);
            }
        }
        self.code.set(T0);
        self.put(&place, T0);
    }

    fn scan(&mut self, instruction: &Instruction, how: Scan) {
        let size = operand_size(instruction, 0);
        let bits = i64::from(8 * size);
        self.zero_extended(instruction, 1);
        self.code.set(T0);
        if how == Scan::Ones {
            self.code.get(T0);
            self.code.op(op::I64_POPCNT);
            self.set_operand(instruction, 0);
            self.code.get(T0);
            self.code.op(op::I64_EQZ);
            self.code.op(op::I64_EXTEND_I32_U);
            self.code.i64(i64::from(ZF.trailing_zeros()));
            self.code.op(op::I64_SHL);
            self.code.set(RESULT);
            return self.set_form(Form::Explicit);
        }
        self.make_explicit();
        match how {
            Scan::Forward | Scan::TrailingZeros => {
                self.code.get(T0);
                if how == Scan::TrailingZeros && size < 8 {
                    // Of 0 the result is the size.
                    self.code.i64(1 << bits);
                    self.code.op(op::I64_OR);
                }
                self.code.op(op::I64_CTZ);
            }
            Scan::Reverse => {
                self.code.i64(63);
                self.code.get(T0);
                self.code.op(op::I64_CLZ);
                self.code.op(op::I64_SUB);
            }
            _ => {
                self.code.get(T0);
                self.code.op(op::I64_CLZ);
                self.code.i64(64 - bits);
                self.code.op(op::I64_SUB);
            }
        }
        self.code.set(T1);
        let zero_source = matches!(how, Scan::Forward | Scan::Reverse);
        if zero_source {
            // Of 0 the destination stays, all of it.
            let destination = instruction.op_register(0);
            self.code.get(T0);
            self.code.op(op::I64_EQZ);
            self.code.op(op::I32_EQZ);
            self.code.if_(None, None);
            self.code.get(T1);
            self.set_register(destination);
            self.code.end();
        } else {
            self.code.get(T1);
            self.set_operand(instruction, 0);
        }
        let changed = if zero_source { ZF } else { ZF | CF };
        self.code.get(RESULT);
        self.code.i64(!(changed as i64));
        self.code.op(op::I64_AND);
        self.code.get(if zero_source { T0 } else { T1 });
        self.code.op(op::I64_EQZ);
        self.code.op(op::I64_EXTEND_I32_U);
        self.code.i64(i64::from(ZF.trailing_zeros()));
        self.code.op(op::I64_SHL);
        self.code.op(op::I64_OR);
        if !zero_source {
            self.code.get(T0);
            self.code.op(op::I64_EQZ);
            self.code.op(op::I64_EXTEND_I32_U);
            self.code.op(op::I64_OR);
        }
        self.code.set(RESULT);
        self.set_form(Form::Explicit);
    }

    // -- Multiplication and division ---------------------------------------------------------

    fn multiply(&mut self, instruction: &Instruction, signed: bool) {
        let size = operand_size(instruction, 0);
        let bits = i64::from(8 * size);
        self.use_flags();
        self.operand(instruction, 0);
        self.extend(size, signed);
        self.code.set(T0);
        self.whole(RAX);
        self.extend(size, signed);
        self.code.set(T1);
        self.code.get(T0);
        self.code.get(T1);
        self.code.op(op::I64_MUL);
        self.code.set(RESULT);
        if size == 8 {
            self.code.get(T0);
            self.code.get(T1);
            self.multiply_high();
            if signed {
                // What a negative factor counts too much as an unsigned one.
                for (sign, other) in [(T0, T1), (T1, T0)] {
                    self.code.get(sign);
                    self.code.i64(63);
                    self.code.op(op::I64_SHR_S);
                    self.code.get(other);
                    self.code.op(op::I64_AND);
                    self.code.op(op::I64_SUB);
                }
            }
        } else {
            self.code.get(RESULT);
            self.code.i64(bits);
            self.code.op(if signed { op::I64_SHR_S } else { op::I64_SHR_U });
        }
        self.code.set(T2);
        // CF and OF: the high half is more than the low one's extension.
        self.code.i64((CF | OF) as i64);
        self.code.i64(0);
        self.code.get(T2);
        if signed {
            self.code.get(RESULT);
            self.sign_extend(size);
            self.code.i64(63);
            self.code.op(op::I64_SHR_S);
        } else {
            self.code.i64(0);
        }
        self.code.op(op::I64_NE);
        self.code.op(op::SELECT);
        self.code.set(B);
        self.set_form(Form::Given(size));
        self.code.get(RESULT);
        match size {
            1 => self.set_register(Register::AX),
            2 => self.set_register(Register::AX),
            4 => self.set_register(Register::EAX),
            _ => self.set_whole(RAX),
        }
        if size > 1 {
            self.code.get(T2);
            self.set_register(match size {
                2 => Register::DX,
                4 => Register::EDX,
                _ => Register::RDX,
            });
        }
    }

    fn extend(&mut self, size: u32, signed: bool) {
        if signed {
            self.sign_extend(size);
        } else {
            self.cut(size);
        }
    }

    fn multiply_into(&mut self, instruction: &Instruction) {
        let size = operand_size(instruction, 0);
        let other = if instruction.op_count() == 3 { 2 } else { 0 };
        self.operand(instruction, 1);
        self.code.set(A);
        self.operand(instruction, other);
        self.code.set(B);
        self.combine(size, A, B, op::I32_MUL, op::I64_MUL);
        self.code.set(RESULT);
        self.set_form(Form::Multiply(size));
        self.code.get(RESULT);
        self.set_operand(instruction, 0);
    }

    /// DIV and IDIV of 32 and 64 bits. What faults and what needs more than 64 bits is the interpreter's.
    fn divide(&mut self, instruction: &Instruction, signed: bool) {
        let size = operand_size(instruction, 0);
        self.operand(instruction, 0);
        self.extend(size, signed);
        self.code.tee(T0);
        self.code.op(op::I64_EQZ);
        self.step_if();
        if size == 4 {
            self.whole(RDX);
            self.code.i64(32);
            self.code.op(op::I64_SHL);
            self.whole(RAX);
            self.cut(4);
            self.code.op(op::I64_OR);
            self.code.set(T1);
            if signed {
                // The one quotient that overflows 64 bits.
                self.overflows_division();
            }
        } else {
            self.whole(RAX);
            self.code.set(T1);
            self.whole(RDX);
            if signed {
                self.code.get(T1);
                self.code.i64(63);
                self.code.op(op::I64_SHR_S);
                self.code.op(op::I64_NE);
                self.step_if();
                self.overflows_division();
            } else {
                self.code.op(op::I64_EQZ);
                self.code.op(op::I32_EQZ);
                self.step_if();
            }
        }
        self.code.get(T1);
        self.code.get(T0);
        self.code.op(if signed { op::I64_DIV_S } else { op::I64_DIV_U });
        self.code.set(T2);
        if size == 4 {
            self.code.get(T2);
            self.code.get(T2);
            self.extend(4, signed);
            self.code.op(op::I64_NE);
            self.step_if();
        }
        self.code.get(T1);
        self.code.get(T0);
        self.code.op(if signed { op::I64_REM_S } else { op::I64_REM_U });
        self.set_register(if size == 4 { Register::EDX } else { Register::RDX });
        self.code.get(T2);
        self.set_register(if size == 4 { Register::EAX } else { Register::RAX });
    }

    fn overflows_division(&mut self) {
        self.code.get(T0);
        self.code.i64(-1);
        self.code.op(op::I64_EQ);
        self.code.get(T1);
        self.code.i64(i64::MIN);
        self.code.op(op::I64_EQ);
        self.code.op(op::I32_AND);
        self.step_if();
    }

    // -- Exchange ------------------------------------------------------------------------

    fn compare_exchange(&mut self, instruction: &Instruction) {
        let size = operand_size(instruction, 0);
        let accumulator = match size {
            1 => Register::AL,
            2 => Register::AX,
            4 => Register::EAX,
            _ => Register::RAX,
        };
        let place = self.place(instruction, 0);
        self.old(&place);
        self.cut(size);
        self.code.set(B);
        self.whole(RAX);
        self.cut(size);
        self.code.set(A);
        self.code.get(A);
        self.code.get(B);
        self.code.op(op::I64_SUB);
        self.code.set(RESULT);
        self.set_form(Form::Subtract(size));
        self.operand(instruction, 1);
        self.code.set(T0);
        self.code.get(A);
        self.code.get(B);
        self.code.op(op::I64_EQ);
        self.code.if_(None, None);
        self.put(&place, T0);
        self.code.else_();
        if let Place::Memory(_) = place {
            // It is written in any case.
            self.put(&place, B);
        }
        self.code.get(B);
        self.set_register(accumulator);
        self.code.end();
    }

    fn exchange_add(&mut self, instruction: &Instruction) {
        let size = operand_size(instruction, 0);
        let place = self.place(instruction, 0);
        self.old(&place);
        self.code.set(A);
        self.operand(instruction, 1);
        self.code.set(B);
        self.combine(size, A, B, op::I32_ADD, op::I64_ADD);
        self.code.set(RESULT);
        self.set_form(Form::Add(size));
        if let Place::Memory(_) = place {
            self.put(&place, RESULT);
            self.code.get(A);
            self.set_register(instruction.op_register(1));
        } else {
            self.code.get(A);
            self.set_register(instruction.op_register(1));
            self.put(&place, RESULT);
        }
    }

    // -- What ends blocks -------------------------------------------------------------------

    /// Pushes whether LOOP or JRCXZ jumps; decrements the counter.
    pub fn counter(&mut self, instruction: &Instruction, how: Counter) {
        let size = counter_size(instruction);
        if how != Counter::IsZero {
            self.whole(RCX);
            self.code.i64(1);
            self.code.op(op::I64_SUB);
            self.set_register(if size == 4 { Register::ECX } else { Register::RCX });
        }
        self.whole(RCX);
        self.cut(size);
        self.code.op(op::I64_EQZ);
        if how == Counter::IsZero {
            return;
        }
        self.code.op(op::I32_EQZ);
        match how {
            Counter::LoopWhileZero => self.condition(4),
            Counter::LoopWhileNotZero => self.condition(5),
            _ => return,
        }
        self.code.op(op::I32_AND);
    }

    /// CALL's push of the return address, which is this far from the page's beginning.
    pub fn push_return(&mut self, distance: u32) {
        self.code.get(local::PAGE);
        self.code.i64(i64::from(distance));
        self.code.op(op::I64_ADD);
        self.code.set(local::VALUE);
        self.push_value();
    }

    /// Puts the target of an indirect jump or call into `T0`.
    pub fn indirect_target(&mut self, instruction: &Instruction) {
        self.zero_extended(instruction, 0);
        self.code.set(T0);
        self.check_canonical();
    }

    /// Puts the target of a return into `T0`, and takes it from the stack.
    pub fn return_target(&mut self, instruction: &Instruction) {
        let size = self.code_size.bytes();
        self.load(At::Stack(0), size);
        self.code.set(T0);
        self.check_canonical();
        let more = if instruction.op_count() > 0 { i64::from(instruction.immediate16()) } else { 0 };
        self.move_stack(i64::from(size) + more);
    }

    /// What is in `T0` has to be a canonical address, as all of 32 bits are.
    fn check_canonical(&mut self) {
        if self.code_size == CodeSize::Bits32 {
            return;
        }
        self.code.get(T0);
        self.code.i64(16);
        self.code.op(op::I64_SHL);
        self.code.i64(16);
        self.code.op(op::I64_SHR_S);
        self.code.get(T0);
        self.code.op(op::I64_NE);
        self.step_if();
    }

    pub fn leave_for_target(&mut self) {
        self.code.get(T0);
        self.leave_to();
    }
}
