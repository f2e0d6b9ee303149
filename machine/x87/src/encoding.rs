//! The encodings: opcodes D8 to DF with their ModRM byte (Intel SDM vol. 2, A.5), the undocumented
//! aliases that processors have included.
//!
//! `escape` is the lowest three bits of the opcode (0 for D8, 7 for DF) everywhere.

use crate::arith::{Operation, Relation};
use crate::f80::F80;
use crate::fpu::Fpu;
use crate::instructions::Constant;

/// What an instruction without memory operand has done beside changing the unit's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing.
    Done,
    /// FCOMI and its like: ZF, PF and CF become `Relation::flags`, OF, SF and AF 0.
    Compared(Relation),
    /// FNSTSW AX: the word goes to AX.
    StatusWord(u16),
    /// There is no such instruction: #UD.
    Undefined,
}

/// What an instruction does with its memory operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reads this many bytes (2, 4, 8 or 10): `Fpu::execute_read`.
    Read(usize),
    /// Writes this many bytes: `Fpu::execute_write`.
    Write(usize),
    /// FLDENV: 14 or 28 bytes, as the operand size says.
    ReadEnvironment,
    /// FNSTENV.
    WriteEnvironment,
    /// FRSTOR: 94 or 108 bytes.
    ReadState,
    /// FNSAVE.
    WriteState,
    /// There is no such instruction: #UD.
    Undefined,
}

/// The operation of an arithmetic opcode's bits 5 to 3, with ST(0) or ST(i) as destination; `None` for
/// comparisons.
const fn operation(reg: u8) -> Option<Operation> {
    match reg {
        0 => Some(Operation::Add),
        1 => Some(Operation::Multiply),
        4 => Some(Operation::Subtract),
        5 => Some(Operation::SubtractReversed),
        6 => Some(Operation::Divide),
        7 => Some(Operation::DivideReversed),
        _ => None,
    }
}

/// Whether the instruction first has to raise what `Fpu::pending_exception` says. `modrm` is the whole
/// ModRM byte.
pub const fn is_waiting(escape: u8, modrm: u8) -> bool {
    let reg = modrm >> 3 & 7;
    if modrm >= 0xc0 {
        // FNCLEX, FNINIT with their neighbours, which do nothing, and FNSTSW AX.
        return !matches!((escape, modrm), (3, 0xe0..=0xe7) | (7, 0xe0));
    }
    // FNSTENV, FNSTCW, FNSAVE, FNSTSW.
    !matches!((escape, reg), (1 | 5, 6 | 7))
}

/// Whether this is a control instruction, which the instruction and data pointers do not note.
pub const fn is_control(escape: u8, modrm: u8) -> bool {
    let reg = modrm >> 3 & 7;
    if modrm >= 0xc0 {
        return !is_waiting(escape, modrm);
    }
    matches!((escape, reg), (1, 4..=7) | (5, 4 | 6 | 7))
}

/// What the form with a memory operand does; `reg` is bits 5 to 3 of the ModRM byte.
pub const fn memory_access(escape: u8, reg: u8) -> Access {
    match (escape & 7, reg & 7) {
        (0 | 2, _) => Access::Read(4),
        (4, _) => Access::Read(8),
        (6, _) => Access::Read(2),
        (1, 0) => Access::Read(4),
        (1, 2 | 3) => Access::Write(4),
        (1, 4) => Access::ReadEnvironment,
        (1, 5) => Access::Read(2),
        (1, 6) => Access::WriteEnvironment,
        (1, 7) => Access::Write(2),
        (3, 0) => Access::Read(4),
        (3, 1..=3) => Access::Write(4),
        (3, 5) => Access::Read(10),
        (3, 7) => Access::Write(10),
        (5, 0) => Access::Read(8),
        (5, 1..=3) => Access::Write(8),
        (5, 4) => Access::ReadState,
        (5, 6) => Access::WriteState,
        (5, 7) => Access::Write(2),
        (7, 0) => Access::Read(2),
        (7, 1..=3) => Access::Write(2),
        (7, 4) => Access::Read(10),
        (7, 5) => Access::Read(8),
        (7, 6) => Access::Write(10),
        (7, 7) => Access::Write(8),
        _ => Access::Undefined,
    }
}

impl Fpu {
    /// Executes an instruction with a ModRM byte of C0 or more. `flags` is EFLAGS, for FCMOVcc.
    pub fn execute_register(&mut self, escape: u8, modrm: u8, flags: u32) -> Effect {
        let i = (modrm & 7) as usize;
        let reg = modrm >> 3 & 7;
        match (escape & 7, reg) {
            (0, _) => match operation(reg) {
                Some(operation) => self.arithmetic_st0(operation, i),
                None => self.fcom_st(i, false, (reg == 3) as u32),
            },
            (4 | 6, 0 | 1 | 4..=7) => {
                // With ST(i) as destination, the plain and the reversed operations change places.
                let reg = if reg >= 4 { reg ^ 1 } else { reg };
                if let Some(operation) = operation(reg) {
                    self.arithmetic_sti(operation, i, escape == 6);
                }
            }
            (4, 2) => self.fcom_st(i, false, 0),
            (4, 3) | (6, 2) => self.fcom_st(i, false, 1),
            (6, 3) if i == 1 => self.fcom_st(1, false, 2),
            (1, 0) => self.fld_st(i),
            (1 | 5 | 7, 1) => self.fxch(i),
            (1, 2) if i == 0 => self.fnop(),
            (1, 3) => self.fstp_st_unchecked(i),
            (7, 2 | 3) => self.fst_st(i, true),
            (1, 4..=7) => return self.execute_special(modrm),
            (2 | 3, 0..=3) => {
                // CF, ZF, CF or ZF, PF; DB has their negations.
                const CONDITIONS: [u32; 4] = [0x01, 0x40, 0x41, 0x04];
                let condition = flags & CONDITIONS[reg as usize] != 0;
                self.fcmov(i, condition != (escape == 3));
            }
            (2, 5) if i == 1 => self.fcom_st(1, true, 2),
            (3, 4) => match i {
                // FNENI, FNDISI and FNSETPM of older processors do nothing.
                0 | 1 | 4 => {}
                2 => self.fnclex(),
                3 => self.fninit(),
                _ => return Effect::Undefined,
            },
            (3, 5) => return Effect::Compared(self.fcomi(i, true, false)),
            (3, 6) => return Effect::Compared(self.fcomi(i, false, false)),
            (5, 0) => self.ffree(i, false),
            (5, 2) => self.fst_st(i, false),
            (5, 3) => self.fst_st(i, true),
            (5, 4) => self.fcom_st(i, true, 0),
            (5, 5) => self.fcom_st(i, true, 1),
            (7, 0) => self.ffree(i, true),
            (7, 4) if i == 0 => return Effect::StatusWord(self.status_word()),
            (7, 5) => return Effect::Compared(self.fcomi(i, true, true)),
            (7, 6) => return Effect::Compared(self.fcomi(i, false, true)),
            _ => return Effect::Undefined,
        }
        Effect::Done
    }

    /// D9 E0 to D9 FF.
    fn execute_special(&mut self, modrm: u8) -> Effect {
        match modrm {
            0xe0 => self.fchs(),
            0xe1 => self.fabs(),
            0xe4 => self.ftst(),
            0xe5 => self.fxam(),
            0xe8 => self.fld_constant(Constant::One),
            0xe9 => self.fld_constant(Constant::Log2Of10),
            0xea => self.fld_constant(Constant::Log2OfE),
            0xeb => self.fld_constant(Constant::Pi),
            0xec => self.fld_constant(Constant::Log10Of2),
            0xed => self.fld_constant(Constant::LnOf2),
            0xee => self.fld_constant(Constant::Zero),
            0xf0 => self.f2xm1(),
            0xf1 => self.fyl2x(),
            0xf2 => self.fptan(),
            0xf3 => self.fpatan(),
            0xf4 => self.fxtract(),
            0xf5 => self.fprem1(),
            0xf6 => self.fdecstp(),
            0xf7 => self.fincstp(),
            0xf8 => self.fprem(),
            0xf9 => self.fyl2xp1(),
            0xfa => self.fsqrt(),
            0xfb => self.fsincos(),
            0xfc => self.frndint(),
            0xfd => self.fscale(),
            0xfe => self.fsin(),
            0xff => self.fcos(),
            _ => return Effect::Undefined,
        }
        Effect::Done
    }

    /// Executes an instruction whose `memory_access` is `Access::Read`; only that many of the bytes
    /// count.
    ///
    /// # Panics
    /// If `memory_access` says something else.
    pub fn execute_read(&mut self, escape: u8, reg: u8, bytes: [u8; 10]) {
        let [a, b, c, d, e, f, g, h, ..] = bytes;
        let word = u16::from_le_bytes([a, b]);
        let long = u32::from_le_bytes([a, b, c, d]);
        let quad = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let pop = reg == 3;
        match (escape & 7, reg & 7) {
            (0, 2 | 3) => self.fcom_f32(long, pop),
            (2, 2 | 3) => self.ficom_i32(long as i32, pop),
            (4, 2 | 3) => self.fcom_f64(quad, pop),
            (6, 2 | 3) => self.ficom_i16(word as i16, pop),
            (escape @ (0 | 2 | 4 | 6), reg) => {
                let Some(operation) = operation(reg) else {
                    return;
                };
                match escape {
                    0 => self.arithmetic_f32(operation, long),
                    2 => self.arithmetic_i32(operation, long as i32),
                    4 => self.arithmetic_f64(operation, quad),
                    _ => self.arithmetic_i16(operation, word as i16),
                }
            }
            (1, 0) => self.fld_f32(long),
            (1, 5) => self.fldcw(word),
            (3, 0) => self.fild(long as i32 as i64),
            (3, 5) => self.fld_f80(F80::from_bytes(bytes)),
            (5, 0) => self.fld_f64(quad),
            (7, 0) => self.fild(word as i16 as i64),
            (7, 4) => self.fbld(bytes),
            (7, 5) => self.fild(quad as i64),
            _ => panic!("this x87 instruction reads no operand: ask memory_access first"),
        }
    }

    /// Executes an instruction whose `memory_access` is `Access::Write`; that many of the bytes are to be
    /// written. `None`: an unmasked exception forbids the write.
    ///
    /// # Panics
    /// If `memory_access` says something else.
    pub fn execute_write(&mut self, escape: u8, reg: u8) -> Option<[u8; 10]> {
        let pop = reg == 3;
        match (escape & 7, reg & 7) {
            (1, 2 | 3) => self.fst_f32(pop).map(|value| extend(value.to_le_bytes())),
            (1, 7) => Some(extend(self.control_word().to_le_bytes())),
            (3, 1) => self.fisttp_i32().map(|value| extend(value.to_le_bytes())),
            (3, 2 | 3) => self.fist_i32(pop).map(|value| extend(value.to_le_bytes())),
            (3, 7) => self.fstp_f80().map(F80::to_bytes),
            (5, 1) => self.fisttp_i64().map(|value| extend(value.to_le_bytes())),
            (5, 2 | 3) => self.fst_f64(pop).map(|value| extend(value.to_le_bytes())),
            (5, 7) => Some(extend(self.status_word().to_le_bytes())),
            (7, 1) => self.fisttp_i16().map(|value| extend(value.to_le_bytes())),
            (7, 2 | 3) => self.fist_i16(pop).map(|value| extend(value.to_le_bytes())),
            (7, 6) => self.fbstp(),
            (7, 7) => self.fistp_i64().map(|value| extend(value.to_le_bytes())),
            _ => panic!("this x87 instruction writes no operand: ask memory_access first"),
        }
    }
}

fn extend<const N: usize>(bytes: [u8; N]) -> [u8; 10] {
    let mut all = [0; 10];
    all[..N].copy_from_slice(&bytes);
    all
}
