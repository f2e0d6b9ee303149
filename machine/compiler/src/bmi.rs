//! BMI1 and BMI2: instructions on general registers with a VEX prefix. PDEP and PEXT are the interpreter's.

use cpu::flags::CF;
use iced_x86::{EncodingKind, Instruction, Mnemonic};

use crate::action::operand_size;
use crate::emit::{local, Emitter};
use crate::flags::Form;
use crate::wasm::op;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bmi {
    AndNot,
    /// BLSI, BLSMSK and BLSR.
    IsolateLowest,
    MaskToLowest,
    ResetLowest,
    ExtractBits,
    ZeroHighBits,
    Multiply,
    RotateRight,
    ShiftLeft,
    ShiftRight {
        signed: bool,
    },
}

const T0: u32 = local::TEMPORARY;
const T1: u32 = T0 + 1;
const T2: u32 = T0 + 2;
const RDX: u32 = 2;

pub fn select(instruction: &Instruction) -> Option<Bmi> {
    if instruction.code().encoding() != EncodingKind::VEX {
        return None;
    }
    Some(match instruction.mnemonic() {
        Mnemonic::Andn => Bmi::AndNot,
        Mnemonic::Blsi => Bmi::IsolateLowest,
        Mnemonic::Blsmsk => Bmi::MaskToLowest,
        Mnemonic::Blsr => Bmi::ResetLowest,
        Mnemonic::Bextr => Bmi::ExtractBits,
        Mnemonic::Bzhi => Bmi::ZeroHighBits,
        Mnemonic::Mulx => Bmi::Multiply,
        Mnemonic::Rorx => Bmi::RotateRight,
        Mnemonic::Shlx => Bmi::ShiftLeft,
        Mnemonic::Shrx => Bmi::ShiftRight { signed: false },
        Mnemonic::Sarx => Bmi::ShiftRight { signed: true },
        _ => return None,
    })
}

/// What the flags are after it.
pub fn form_after(how: Bmi, size: u32, before: Form) -> Form {
    match how {
        Bmi::AndNot | Bmi::ExtractBits => Form::Logic(size),
        Bmi::IsolateLowest | Bmi::MaskToLowest | Bmi::ResetLowest | Bmi::ZeroHighBits => Form::Given(size),
        _ => before,
    }
}

impl Emitter {
    /// Writes the code of one such instruction.
    pub fn bmi(&mut self, instruction: &Instruction, how: Bmi) {
        let size = operand_size(instruction, 0);
        let bits = i64::from(8 * size);
        match how {
            Bmi::AndNot => {
                self.zero_extended(instruction, 2);
                self.register(instruction.op_register(1));
                self.code.i64(-1);
                self.code.op(op::I64_XOR);
                self.code.op(op::I64_AND);
                self.set_result(instruction, Form::Logic(size));
            }
            Bmi::IsolateLowest | Bmi::MaskToLowest | Bmi::ResetLowest => {
                self.zero_extended(instruction, 1);
                self.code.tee(T0);
                if how == Bmi::IsolateLowest {
                    self.code.i64(0);
                    self.code.get(T0);
                    self.code.op(op::I64_SUB);
                    self.code.op(op::I64_AND);
                } else {
                    self.code.get(T0);
                    self.code.i64(1);
                    self.code.op(op::I64_SUB);
                    self.code.op(if how == Bmi::MaskToLowest { op::I64_XOR } else { op::I64_AND });
                    self.cut(size);
                }
                // CF: whether there is none, of BLSI whether there is one.
                self.code.get(T0);
                self.code.op(op::I64_EQZ);
                if how == Bmi::IsolateLowest {
                    self.code.op(op::I32_EQZ);
                }
                self.set_carry();
                self.set_result(instruction, Form::Given(size));
            }
            Bmi::ExtractBits => {
                self.zero_extended(instruction, 1);
                self.code.set(T0);
                self.register(instruction.op_register(2));
                self.code.set(T1);
                // What is shifted out of 64 bits leaves nothing.
                self.code.get(T0);
                self.low_byte(T1, 0);
                self.code.op(op::I64_SHR_U);
                self.code.i64(0);
                self.low_byte(T1, 0);
                self.code.i64(64);
                self.code.op(op::I64_LT_U);
                self.code.op(op::SELECT);
                self.code.set(T0);
                self.low_byte(T1, 8);
                self.code.set(T1);
                self.lowest_bits(64);
                self.set_result(instruction, Form::Logic(size));
            }
            Bmi::ZeroHighBits => {
                self.zero_extended(instruction, 1);
                self.code.set(T0);
                self.register(instruction.op_register(2));
                self.code.set(T1);
                self.low_byte(T1, 0);
                self.code.set(T1);
                self.lowest_bits(bits);
                self.code.get(T1);
                self.code.i64(bits);
                self.code.op(op::I64_GE_U);
                self.set_carry();
                self.set_result(instruction, Form::Given(size));
            }
            Bmi::Multiply => {
                self.zero_extended(instruction, 2);
                self.code.set(T0);
                self.whole(RDX);
                self.cut(size);
                self.code.set(T1);
                self.code.get(T0);
                self.code.get(T1);
                self.code.op(op::I64_MUL);
                self.code.set(T2);
                if size == 8 {
                    self.code.get(T0);
                    self.code.get(T1);
                    self.multiply_high();
                } else {
                    self.code.get(T2);
                    self.code.i64(bits);
                    self.code.op(op::I64_SHR_U);
                }
                self.code.get(T2);
                self.set_register(instruction.op_register(1));
                // The high half wins where both are one register.
                self.set_register(instruction.op_register(0));
            }
            Bmi::RotateRight => {
                self.zero_extended(instruction, 1);
                let count = i64::from(instruction.immediate8()) & (bits - 1);
                if size == 8 {
                    self.code.i64(count);
                    self.code.op(op::I64_ROTR);
                } else {
                    self.code.op(op::I32_WRAP_I64);
                    self.code.i32(count as i32);
                    self.code.op(op::I32_ROTR);
                    self.code.op(op::I64_EXTEND_I32_U);
                }
                self.set_register(instruction.op_register(0));
            }
            Bmi::ShiftLeft | Bmi::ShiftRight { .. } => {
                self.zero_extended(instruction, 1);
                if how == (Bmi::ShiftRight { signed: true }) {
                    self.sign_extend(size);
                }
                self.register(instruction.op_register(2));
                self.code.i64(bits - 1);
                self.code.op(op::I64_AND);
                self.code.op(match how {
                    Bmi::ShiftLeft => op::I64_SHL,
                    Bmi::ShiftRight { signed: true } => op::I64_SHR_S,
                    _ => op::I64_SHR_U,
                });
                self.set_register(instruction.op_register(0));
            }
        }
    }

    /// Pops the result, which becomes the destination's value and what the flags are about.
    fn set_result(&mut self, instruction: &Instruction, form: Form) {
        self.code.tee(local::FLAGS_RESULT);
        self.set_register(instruction.op_register(0));
        self.set_form(form);
    }

    /// Pops whether the carry flag is set, the others that are not the result's being clear.
    fn set_carry(&mut self) {
        self.extend_to_64();
        debug_assert!(CF == 1);
        self.code.set(local::FLAGS_B);
    }

    /// Pushes a byte of a local.
    fn low_byte(&mut self, local: u32, shift: i64) {
        self.code.get(local);
        if shift != 0 {
            self.code.i64(shift);
            self.code.op(op::I64_SHR_U);
        }
        self.code.i64(0xff);
        self.code.op(op::I64_AND);
    }

    /// Pushes those bits of `T0` that are below the number `T1`: all of them where that is not below `limit`.
    fn lowest_bits(&mut self, limit: i64) {
        self.code.get(T0);
        self.code.i64(1);
        self.code.get(T1);
        self.code.op(op::I64_SHL);
        self.code.i64(1);
        self.code.op(op::I64_SUB);
        self.code.op(op::I64_AND);
        self.code.get(T0);
        self.code.get(T1);
        self.code.i64(limit);
        self.code.op(op::I64_LT_U);
        self.code.op(op::SELECT);
    }
}
