//! Conditions from the flags' parts in locals: what `cpu::flags` computes, in WebAssembly.
//!
//! Where it is known at compile time which operation has set the flags, a condition is mostly one
//! comparison of its operands or its result.

use cpu::flags::{operation, AF, CF, OF, PF, SF, ZF};

use crate::emit::{local, Emitter};
use crate::wasm::op;

/// What the flags in the locals are, as far as it is known at compile time. With sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Unknown,
    Explicit,
    Add(u32),
    /// With the carry added in.
    AddCarry(u32),
    Subtract(u32),
    SubtractBorrow(u32),
    Logic(u32),
    Increment(u32),
    Decrement(u32),
    Given(u32),
    Multiply(u32),
}

impl Form {
    /// `Flags::kind`.
    pub fn kind(self) -> u32 {
        let (operation, size) = match self {
            // What is not known is never written.
            Form::Unknown | Form::Explicit => (operation::EXPLICIT, 1),
            Form::Add(size) | Form::AddCarry(size) => (operation::ADD, size),
            Form::Subtract(size) | Form::SubtractBorrow(size) => (operation::SUB, size),
            Form::Logic(size) => (operation::LOGIC, size),
            Form::Increment(size) => (operation::INC, size),
            Form::Decrement(size) => (operation::DEC, size),
            Form::Given(size) => (operation::GIVEN, size),
            Form::Multiply(size) => (operation::MULTIPLY, size),
        };
        operation << 2 | size.trailing_zeros()
    }

    pub fn meet(self, other: Form) -> Form {
        if self == other {
            self
        } else {
            Form::Unknown
        }
    }

    /// What `Emitter::make_given` makes of it.
    pub fn given(self) -> Form {
        match self {
            // A condition may have made a product's flags explicit already.
            Form::Unknown | Form::Explicit | Form::Multiply(_) => Form::Explicit,
            form => Form::Given(form.size()),
        }
    }

    fn size(self) -> u32 {
        match self {
            Form::Unknown | Form::Explicit => 8,
            Form::Add(size)
            | Form::AddCarry(size)
            | Form::Subtract(size)
            | Form::SubtractBorrow(size)
            | Form::Logic(size)
            | Form::Increment(size)
            | Form::Decrement(size)
            | Form::Given(size)
            | Form::Multiply(size) => size,
        }
    }
}

/// A flag's place in RFLAGS.
fn place(flag: u64) -> i64 {
    i64::from(flag.trailing_zeros())
}

const RESULT: u32 = local::FLAGS_RESULT;
const A: u32 = local::FLAGS_A;
const B: u32 = local::FLAGS_B;

impl Emitter {
    /// Pushes condition `cc` of Jcc as 0 or 1, or as any other number than 0.
    pub fn condition(&mut self, cc: u8) {
        self.use_flags();
        if matches!(self.form, Form::Unknown | Form::Multiply(_)) {
            self.make_explicit();
        }
        let size = self.form.size();
        let inverted = cc & 1 != 0;
        match (self.form, cc >> 1) {
            (Form::Subtract(_), 1) => self.compare(size, false, if inverted { "ge" } else { "lt" }),
            (Form::Subtract(_), 2) => self.compare(size, false, if inverted { "ne" } else { "eq" }),
            (Form::Subtract(_), 3) => self.compare(size, false, if inverted { "gt" } else { "le" }),
            (Form::Subtract(_), 6) => self.compare(size, true, if inverted { "ge" } else { "lt" }),
            (Form::Subtract(_), 7) => self.compare(size, true, if inverted { "gt" } else { "le" }),
            (form, 7) if matches!(form, Form::Logic(_)) => {
                // The overflow flag is 0.
                self.sized(RESULT, size, true);
                self.zero(size);
                self.comparison(size, true, if inverted { "gt" } else { "le" });
            }
            (_, kind) => {
                self.plain_condition(kind);
                if inverted {
                    self.code.op(op::I32_EQZ);
                }
            }
        }
    }

    fn plain_condition(&mut self, kind: u8) {
        match kind {
            0 => self.overflow(),
            1 => self.carry(),
            2 => self.is_zero(),
            3 => {
                self.carry();
                self.is_zero();
                self.code.op(op::I32_OR);
            }
            4 => self.sign(),
            5 => self.parity(),
            6 => self.less(),
            _ => {
                self.less();
                self.is_zero();
                self.code.op(op::I32_OR);
            }
        }
    }

    fn less(&mut self) {
        self.sign();
        self.overflow();
        self.code.op(op::I32_XOR);
    }

    /// Pushes a local's value of a size in bytes: 64 bits or else 32.
    pub fn sized(&mut self, local: u32, size: u32, signed: bool) {
        self.code.get(local);
        if size == 8 {
            return;
        }
        self.code.op(op::I32_WRAP_I64);
        match (size, signed) {
            (1, true) => self.code.op(op::I32_EXTEND8_S),
            (2, true) => self.code.op(op::I32_EXTEND16_S),
            (1 | 2, false) => {
                self.code.i32(crate::emit::mask(size) as i32);
                self.code.op(op::I32_AND);
            }
            _ => {}
        }
    }

    fn zero(&mut self, size: u32) {
        if size == 8 {
            self.code.i64(0);
        } else {
            self.code.i32(0);
        }
    }

    fn comparison(&mut self, size: u32, signed: bool, how: &str) {
        let wide = size == 8;
        let opcode = match (how, signed, wide) {
            ("eq", _, false) => op::I32_EQ,
            ("eq", _, true) => op::I64_EQ,
            ("ne", _, false) => op::I32_NE,
            ("ne", _, true) => op::I64_NE,
            ("lt", true, false) => op::I32_LT_S,
            ("lt", true, true) => op::I64_LT_S,
            ("lt", false, false) => op::I32_LT_U,
            ("lt", false, true) => op::I64_LT_U,
            ("le", true, false) => op::I32_LE_S,
            ("le", true, true) => op::I64_LE_S,
            ("le", false, false) => op::I32_LE_U,
            ("le", false, true) => op::I64_LE_U,
            ("gt", true, false) => op::I32_GT_S,
            ("gt", true, true) => op::I64_GT_S,
            ("gt", false, false) => op::I32_GT_U,
            ("gt", false, true) => op::I64_GT_U,
            (_, true, false) => op::I32_GE_S,
            (_, true, true) => op::I64_GE_S,
            (_, false, false) => op::I32_GE_U,
            (_, false, true) => op::I64_GE_U,
        };
        self.code.op(opcode);
    }

    fn compare(&mut self, size: u32, signed: bool, how: &str) {
        self.sized(A, size, signed);
        self.sized(B, size, signed);
        self.comparison(size, signed, how);
    }

    /// Pushes one of the explicit flags.
    fn bit(&mut self, flag: u64, local: u32) {
        self.code.get(local);
        self.code.op(op::I32_WRAP_I64);
        self.code.i32(flag.trailing_zeros() as i32);
        self.code.op(op::I32_SHR_U);
        self.code.i32(1);
        self.code.op(op::I32_AND);
    }

    /// Pops 64 bits, pushes the highest bit of the size's.
    fn top(&mut self, size: u32) {
        self.code.i64(i64::from(8 * size - 1));
        self.code.op(op::I64_SHR_U);
        self.code.op(op::I32_WRAP_I64);
        if size < 8 {
            self.code.i32(1);
            self.code.op(op::I32_AND);
        }
    }

    fn is_zero(&mut self) {
        if self.form == Form::Explicit {
            return self.bit(ZF, RESULT);
        }
        let size = self.form.size();
        self.sized(RESULT, size, false);
        self.code.op(if size == 8 { op::I64_EQZ } else { op::I32_EQZ });
    }

    fn sign(&mut self) {
        if self.form == Form::Explicit {
            return self.bit(SF, RESULT);
        }
        let size = self.form.size();
        self.sized(RESULT, size, true);
        self.zero(size);
        self.comparison(size, true, "lt");
    }

    fn parity(&mut self) {
        if self.form == Form::Explicit {
            return self.bit(PF, RESULT);
        }
        self.sized(RESULT, 1, false);
        self.code.op(op::I32_POPCNT);
        self.code.i32(1);
        self.code.op(op::I32_AND);
        self.code.op(op::I32_EQZ);
    }

    fn logic3(&mut self, steps: &[(u32, u8)]) {
        for &(local, opcode) in steps {
            self.code.get(local);
            if opcode != 0 {
                self.code.op(opcode);
            }
        }
    }

    /// Pushes the carry flag as 0 or 1 of 32 bits. The form is none that `condition` makes explicit.
    pub fn carry(&mut self) {
        self.use_flags();
        if matches!(self.form, Form::Unknown | Form::Multiply(_)) {
            self.make_explicit();
        }
        let size = self.form.size();
        match self.form {
            Form::Unknown | Form::Multiply(_) | Form::Explicit => self.bit(CF, RESULT),
            Form::Given(_) => self.bit(CF, B),
            Form::Add(_) => {
                self.sized(RESULT, size, false);
                self.sized(A, size, false);
                self.comparison(size, false, "lt");
            }
            Form::Subtract(_) => self.compare(size, false, "lt"),
            Form::AddCarry(_) => {
                // (a & b) | ((a | b) & !result)
                self.logic3(&[(A, 0), (B, op::I64_AND), (A, 0), (B, op::I64_OR), (RESULT, 0)]);
                self.code.i64(-1);
                self.code.op(op::I64_XOR);
                self.code.op(op::I64_AND);
                self.code.op(op::I64_OR);
                self.top(size);
            }
            Form::SubtractBorrow(_) => {
                // (!a & b) | ((!a | b) & result)
                self.code.get(A);
                self.code.i64(-1);
                self.code.op(op::I64_XOR);
                self.code.tee(local::VALUE);
                self.logic3(&[(B, op::I64_AND), (local::VALUE, 0), (B, op::I64_OR), (RESULT, op::I64_AND)]);
                self.code.op(op::I64_OR);
                self.top(size);
            }
            Form::Logic(_) => self.code.i32(0),
            Form::Increment(_) | Form::Decrement(_) => {
                self.code.get(B);
                self.code.op(op::I32_WRAP_I64);
            }
        }
    }

    fn overflow(&mut self) {
        let size = self.form.size();
        match self.form {
            Form::Unknown | Form::Multiply(_) | Form::Explicit => self.bit(OF, RESULT),
            Form::Given(_) => self.bit(OF, B),
            Form::Add(_) | Form::AddCarry(_) => {
                self.logic3(&[(A, 0), (RESULT, op::I64_XOR), (B, 0), (RESULT, op::I64_XOR)]);
                self.code.op(op::I64_AND);
                self.top(size);
            }
            Form::Subtract(_) | Form::SubtractBorrow(_) => {
                self.logic3(&[(A, 0), (B, op::I64_XOR), (A, 0), (RESULT, op::I64_XOR)]);
                self.code.op(op::I64_AND);
                self.top(size);
            }
            Form::Logic(_) => self.code.i32(0),
            Form::Increment(_) | Form::Decrement(_) => {
                let top = 1u64 << (8 * size - 1);
                let wanted = if matches!(self.form, Form::Increment(_)) { top } else { top - 1 };
                self.sized(RESULT, size, false);
                if size == 8 {
                    self.code.i64(wanted as i64);
                } else {
                    self.code.i32(wanted as i32);
                }
                self.comparison(size, false, "eq");
            }
        }
    }

    /// Pushes a flag, of 32 bits, that is 0 or 1 and pops it into a sum of flags that is beneath.
    fn gather(&mut self, flag: u64) {
        self.code.op(op::I64_EXTEND_I32_U);
        if flag != CF {
            self.code.i64(place(flag));
            self.code.op(op::I64_SHL);
        }
        self.code.op(op::I64_OR);
    }

    /// Pushes AF at its place in RFLAGS.
    fn adjust(&mut self) {
        match self.form {
            Form::Unknown | Form::Explicit => {
                self.code.get(RESULT);
                self.code.i64(AF as i64);
                self.code.op(op::I64_AND);
            }
            Form::Add(_) | Form::AddCarry(_) | Form::Subtract(_) | Form::SubtractBorrow(_) => {
                self.logic3(&[(A, 0), (B, op::I64_XOR), (RESULT, op::I64_XOR)]);
                self.code.i64(AF as i64);
                self.code.op(op::I64_AND);
            }
            Form::Given(_) => {
                self.code.get(B);
                self.code.i64(AF as i64);
                self.code.op(op::I64_AND);
            }
            Form::Increment(_) | Form::Decrement(_) => {
                self.code.get(RESULT);
                self.code.i64(15);
                self.code.op(op::I64_AND);
                self.code.i64(if matches!(self.form, Form::Increment(_)) { 0 } else { 15 });
                self.code.op(op::I64_EQ);
                self.code.op(op::I64_EXTEND_I32_U);
                self.code.i64(place(AF));
                self.code.op(op::I64_SHL);
            }
            Form::Logic(_) | Form::Multiply(_) => self.code.i64(0),
        }
    }

    /// Brings the flags into a form in which each of CF, AF and OF can be changed by itself, those of
    /// CF and OF that are `zeroed` being 0. Returns the local in which these are at their places in RFLAGS.
    pub fn make_given(&mut self, zeroed: u64) -> u32 {
        self.use_flags();
        let after = self.form.given();
        if after == Form::Explicit {
            self.make_explicit();
        }
        let flags = if after == Form::Explicit { RESULT } else { B };
        if self.form == after {
            if zeroed != 0 {
                self.code.get(flags);
                self.code.i64(!(zeroed as i64));
                self.code.op(op::I64_AND);
                self.code.set(flags);
            }
        } else {
            self.adjust();
            if zeroed & CF == 0 {
                self.carry();
                self.gather(CF);
            }
            if zeroed & OF == 0 {
                self.overflow();
                self.gather(OF);
            }
            self.code.set(flags);
        }
        self.set_form(after);
        flags
    }

    /// Makes the flags explicit, and leaves them in `RESULT`.
    pub fn make_explicit(&mut self) {
        match self.form {
            Form::Explicit => return,
            Form::Unknown | Form::Multiply(_) => self.call_for_flags(),
            Form::Given(_) => {
                self.code.get(B);
                self.gather_result();
            }
            _ => {
                self.adjust();
                self.carry();
                self.gather(CF);
                self.overflow();
                self.gather(OF);
                self.gather_result();
            }
        }
        self.set_form(Form::Explicit);
    }

    /// Adds the flags that say what the result is to others, which it pops, into `RESULT`.
    fn gather_result(&mut self) {
        self.use_flags();
        self.is_zero();
        self.gather(ZF);
        self.sign();
        self.gather(SF);
        self.parity();
        self.gather(PF);
        self.code.set(RESULT);
    }
}
