//! SSE, and AVX as far as it is the same: moves, integer operations, and floating point as far as WebAssembly computes the same.
//!
//! Arithmetic is exact only in the usual state of MXCSR: all exceptions masked, rounding to nearest,
//! denormals as they are, and the precision flag set already (it stays so once anything was inexact).
//! And its result has to be an ordinary number, or a zero that is no underflow: then no other flag
//! changes, but for that of denormal operands, which nobody reads and which is not kept here. All else
//! is left to the interpreter.

use cpu::is_aligned_move;
use iced_x86::{EncodingKind, Instruction, Mnemonic, OpKind};

use crate::action::{is_memory, is_register, operand_size};
use crate::avx;
use crate::emit::{local, number, Emitter};
use crate::flags::Form;
use crate::wasm::{op, simd, Hint};
use crate::windows::At;

/// What has a destination and a source of 128 bits, of which each lane is computed by one instruction.
/// With whether the operands change places.
pub fn lanes(mnemonic: Mnemonic) -> Option<(u32, bool)> {
    Some(match mnemonic {
        Mnemonic::Pand | Mnemonic::Andps | Mnemonic::Andpd => (simd::V128_AND, false),
        // Of andnot, the second operand is inverted; of PANDN, the first.
        Mnemonic::Pandn | Mnemonic::Andnps | Mnemonic::Andnpd => (simd::V128_ANDNOT, true),
        Mnemonic::Por | Mnemonic::Orps | Mnemonic::Orpd => (simd::V128_OR, false),
        Mnemonic::Pxor | Mnemonic::Xorps | Mnemonic::Xorpd => (simd::V128_XOR, false),
        Mnemonic::Paddb => (simd::I8X16_ADD, false),
        Mnemonic::Paddw => (simd::I16X8_ADD, false),
        Mnemonic::Paddd => (simd::I32X4_ADD, false),
        Mnemonic::Paddq => (simd::I64X2_ADD, false),
        Mnemonic::Psubb => (simd::I8X16_SUB, false),
        Mnemonic::Psubw => (simd::I16X8_SUB, false),
        Mnemonic::Psubd => (simd::I32X4_SUB, false),
        Mnemonic::Psubq => (simd::I64X2_SUB, false),
        Mnemonic::Paddsb => (simd::I8X16_ADD_SAT_S, false),
        Mnemonic::Paddsw => (simd::I16X8_ADD_SAT_S, false),
        Mnemonic::Paddusb => (simd::I8X16_ADD_SAT_U, false),
        Mnemonic::Paddusw => (simd::I16X8_ADD_SAT_U, false),
        Mnemonic::Psubsb => (simd::I8X16_SUB_SAT_S, false),
        Mnemonic::Psubsw => (simd::I16X8_SUB_SAT_S, false),
        Mnemonic::Psubusb => (simd::I8X16_SUB_SAT_U, false),
        Mnemonic::Psubusw => (simd::I16X8_SUB_SAT_U, false),
        Mnemonic::Pcmpeqb => (simd::I8X16_EQ, false),
        Mnemonic::Pcmpeqw => (simd::I16X8_EQ, false),
        Mnemonic::Pcmpeqd => (simd::I32X4_EQ, false),
        Mnemonic::Pcmpeqq => (simd::I64X2_EQ, false),
        Mnemonic::Pcmpgtb => (simd::I8X16_GT_S, false),
        Mnemonic::Pcmpgtw => (simd::I16X8_GT_S, false),
        Mnemonic::Pcmpgtd => (simd::I32X4_GT_S, false),
        Mnemonic::Pcmpgtq => (simd::I64X2_GT_S, false),
        Mnemonic::Pminub => (simd::I8X16_MIN_U, false),
        Mnemonic::Pmaxub => (simd::I8X16_MAX_U, false),
        Mnemonic::Pminsb => (simd::I8X16_MIN_S, false),
        Mnemonic::Pmaxsb => (simd::I8X16_MAX_S, false),
        Mnemonic::Pminsw => (simd::I16X8_MIN_S, false),
        Mnemonic::Pmaxsw => (simd::I16X8_MAX_S, false),
        Mnemonic::Pminuw => (simd::I16X8_MIN_U, false),
        Mnemonic::Pmaxuw => (simd::I16X8_MAX_U, false),
        Mnemonic::Pminsd => (simd::I32X4_MIN_S, false),
        Mnemonic::Pmaxsd => (simd::I32X4_MAX_S, false),
        Mnemonic::Pminud => (simd::I32X4_MIN_U, false),
        Mnemonic::Pmaxud => (simd::I32X4_MAX_U, false),
        Mnemonic::Pavgb => (simd::I8X16_AVGR_U, false),
        Mnemonic::Pavgw => (simd::I16X8_AVGR_U, false),
        Mnemonic::Pmullw => (simd::I16X8_MUL, false),
        Mnemonic::Pmulld => (simd::I32X4_MUL, false),
        Mnemonic::Pmaddwd => (simd::I32X4_DOT_I16X8_S, false),
        Mnemonic::Packsswb => (simd::I8X16_NARROW_I16X8_S, false),
        Mnemonic::Packuswb => (simd::I8X16_NARROW_I16X8_U, false),
        Mnemonic::Packssdw => (simd::I16X8_NARROW_I32X4_S, false),
        Mnemonic::Packusdw => (simd::I16X8_NARROW_I32X4_U, false),
        _ => return None,
    })
}

/// Lanes of (destination, source) that a shuffle takes, as bytes.
pub fn shuffle(mnemonic: Mnemonic, control: u8) -> Option<[u8; 16]> {
    let elements = |size: usize, order: &[usize]| {
        let mut bytes = [0; 16];
        for (place, &element) in order.iter().enumerate() {
            for byte in 0..size {
                bytes[place * size + byte] = (element * size + byte) as u8;
            }
        }
        bytes
    };
    let control = usize::from(control);
    let two = |shift: usize| control >> shift & 3;
    Some(match mnemonic {
        Mnemonic::Punpcklbw => elements(1, &[0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23]),
        Mnemonic::Punpckhbw => elements(1, &[8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31]),
        Mnemonic::Punpcklwd => elements(2, &[0, 8, 1, 9, 2, 10, 3, 11]),
        Mnemonic::Punpckhwd => elements(2, &[4, 12, 5, 13, 6, 14, 7, 15]),
        Mnemonic::Punpckldq | Mnemonic::Unpcklps => elements(4, &[0, 4, 1, 5]),
        Mnemonic::Punpckhdq | Mnemonic::Unpckhps => elements(4, &[2, 6, 3, 7]),
        Mnemonic::Punpcklqdq | Mnemonic::Unpcklpd => elements(8, &[0, 2]),
        Mnemonic::Punpckhqdq | Mnemonic::Unpckhpd => elements(8, &[1, 3]),
        Mnemonic::Pshufd => elements(4, &[4 + two(0), 4 + two(2), 4 + two(4), 4 + two(6)]),
        Mnemonic::Pshuflw => elements(2, &[8 + two(0), 8 + two(2), 8 + two(4), 8 + two(6), 12, 13, 14, 15]),
        Mnemonic::Pshufhw => elements(2, &[8, 9, 10, 11, 12 + two(0), 12 + two(2), 12 + two(4), 12 + two(6)]),
        Mnemonic::Shufps => elements(4, &[two(0), two(2), 4 + two(4), 4 + two(6)]),
        Mnemonic::Shufpd => elements(8, &[control & 1, 2 + (control >> 1 & 1)]),
        _ => return None,
    })
}

/// Shifts of each lane: the instruction, and the lanes' bits.
pub fn shift(mnemonic: Mnemonic) -> Option<(u32, u32)> {
    Some(match mnemonic {
        Mnemonic::Psllw => (simd::I16X8_SHL, 16),
        Mnemonic::Pslld => (simd::I32X4_SHL, 32),
        Mnemonic::Psllq => (simd::I64X2_SHL, 64),
        Mnemonic::Psrlw => (simd::I16X8_SHR_U, 16),
        Mnemonic::Psrld => (simd::I32X4_SHR_U, 32),
        Mnemonic::Psrlq => (simd::I64X2_SHR_U, 64),
        Mnemonic::Psraw => (simd::I16X8_SHR_S, 16),
        Mnemonic::Psrad => (simd::I32X4_SHR_S, 32),
        _ => return None,
    })
}

/// By how much lanes of so many bits are shifted; None where nothing is left of them.
pub fn shift_count(mnemonic: Mnemonic, count: u8, bits: u32) -> Option<u32> {
    let signed = matches!(mnemonic, Mnemonic::Psraw | Mnemonic::Psrad);
    // Of larger counts all bits become the sign.
    (u32::from(count) < bits || signed).then(|| u32::from(count).min(bits - 1))
}

/// Brings the even dwords into the low half, for PMULUDQ.
pub const EVEN: [u8; 16] = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];

/// PSLLDQ and PSRLDQ as a shuffle with zero.
pub fn byte_shift(mnemonic: Mnemonic, count: u8) -> [u8; 16] {
    let count = count.min(16);
    let left = mnemonic == Mnemonic::Pslldq;
    core::array::from_fn(|place| match place as u8 {
        place if left && place >= count => place - count,
        place if !left && place + count < 16 => place + count,
        _ => 16,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    SquareRoot,
}

/// Arithmetic with one number, and whether it is a double.
fn scalar(mnemonic: Mnemonic) -> Option<(Arithmetic, bool)> {
    Some(match mnemonic {
        Mnemonic::Addsd => (Arithmetic::Add, true),
        Mnemonic::Subsd => (Arithmetic::Subtract, true),
        Mnemonic::Mulsd => (Arithmetic::Multiply, true),
        Mnemonic::Divsd => (Arithmetic::Divide, true),
        Mnemonic::Sqrtsd => (Arithmetic::SquareRoot, true),
        Mnemonic::Addss => (Arithmetic::Add, false),
        Mnemonic::Subss => (Arithmetic::Subtract, false),
        Mnemonic::Mulss => (Arithmetic::Multiply, false),
        Mnemonic::Divss => (Arithmetic::Divide, false),
        Mnemonic::Sqrtss => (Arithmetic::SquareRoot, false),
        _ => return None,
    })
}

/// Arithmetic with all numbers of a register, and whether they are doubles.
pub fn packed(mnemonic: Mnemonic) -> Option<(Arithmetic, bool)> {
    Some(match mnemonic {
        Mnemonic::Addpd => (Arithmetic::Add, true),
        Mnemonic::Subpd => (Arithmetic::Subtract, true),
        Mnemonic::Mulpd => (Arithmetic::Multiply, true),
        Mnemonic::Divpd => (Arithmetic::Divide, true),
        Mnemonic::Sqrtpd => (Arithmetic::SquareRoot, true),
        Mnemonic::Addps => (Arithmetic::Add, false),
        Mnemonic::Subps => (Arithmetic::Subtract, false),
        Mnemonic::Mulps => (Arithmetic::Multiply, false),
        Mnemonic::Divps => (Arithmetic::Divide, false),
        Mnemonic::Sqrtps => (Arithmetic::SquareRoot, false),
        _ => return None,
    })
}

/// Extensions of the low lanes: the instructions, one after the other, and how many bytes they are made of.
pub fn extension(mnemonic: Mnemonic) -> Option<(&'static [u32], u32)> {
    use simd::*;
    Some(match mnemonic {
        Mnemonic::Pmovsxbw => (&[I16X8_EXTEND_LOW_I8X16_S], 8),
        Mnemonic::Pmovsxbd => (&[I16X8_EXTEND_LOW_I8X16_S, I32X4_EXTEND_LOW_I16X8_S], 4),
        Mnemonic::Pmovsxwd => (&[I32X4_EXTEND_LOW_I16X8_S], 8),
        Mnemonic::Pmovsxwq => (&[I32X4_EXTEND_LOW_I16X8_S, I64X2_EXTEND_LOW_I32X4_S], 4),
        Mnemonic::Pmovsxdq => (&[I64X2_EXTEND_LOW_I32X4_S], 8),
        Mnemonic::Pmovzxbw => (&[I16X8_EXTEND_LOW_I8X16_U], 8),
        Mnemonic::Pmovzxbd => (&[I16X8_EXTEND_LOW_I8X16_U, I32X4_EXTEND_LOW_I16X8_U], 4),
        Mnemonic::Pmovzxwd => (&[I32X4_EXTEND_LOW_I16X8_U], 8),
        Mnemonic::Pmovzxwq => (&[I32X4_EXTEND_LOW_I16X8_U, I64X2_EXTEND_LOW_I32X4_U], 4),
        Mnemonic::Pmovzxdq => (&[I64X2_EXTEND_LOW_I32X4_U], 8),
        _ => return None,
    })
}

pub fn is_vector(instruction: &Instruction, operand: u32) -> bool {
    is_register(instruction, operand) && instruction.op_register(operand).is_vector_register()
}

/// Where an instruction has its operands: with a VEX prefix the destination is not the first source.
struct Operands {
    /// SSE's.
    mnemonic: Mnemonic,
    /// Numbers of registers.
    destination: u32,
    first: u32,
    /// The last source, as a number of an operand.
    last: u32,
}

impl Operands {
    fn of(instruction: &Instruction) -> Operands {
        let register = |operand| Emitter::vector_number(instruction, operand);
        let destination = if is_vector(instruction, 0) { register(0) } else { 0 };
        let [first, last] = match (is_vex(instruction), sources(instruction)) {
            (true, 2) => [register(1), 2],
            // What a shift by an immediate shifts.
            (true, _) if is_vector(instruction, 1) => [register(1), 1],
            _ => [destination, 1],
        };
        Operands { mnemonic: avx::legacy(instruction), destination, first, last }
    }
}

/// How many operands come after the first one, but for an immediate.
fn sources(instruction: &Instruction) -> usize {
    (1..instruction.op_count()).filter(|&i| instruction.op_kind(i) != OpKind::Immediate8).count()
}

pub fn is_vex(instruction: &Instruction) -> bool {
    instruction.code().encoding() == EncodingKind::VEX
}

/// Whether there is code for an instruction of SSE or AVX.
pub fn select(instruction: &Instruction) -> bool {
    match instruction.code().encoding() {
        EncodingKind::Legacy => is_known(instruction, instruction.mnemonic()),
        EncodingKind::VEX => avx::select(instruction),
        _ => false,
    }
}

/// Whether there is code for an instruction of 128 bits with SSE's mnemonic.
pub fn is_known(instruction: &Instruction, mnemonic: Mnemonic) -> bool {
    let operands = instruction.op_count();
    let known = (0..operands).all(|i| match instruction.op_kind(i) {
        OpKind::Register => {
            let register = instruction.op_register(i);
            register.is_xmm() || register.is_gpr()
        }
        OpKind::Memory => crate::action::addressable(instruction),
        OpKind::Immediate8 => true,
        _ => false,
    });
    if !known || !(0..operands).any(|i| is_vector(instruction, i)) {
        return false;
    }
    if lanes(mnemonic).is_some() || shuffle(mnemonic, 0).is_some() || scalar(mnemonic).is_some() {
        return true;
    }
    if packed(mnemonic).is_some() || extension(mnemonic).is_some() {
        return true;
    }
    if shift(mnemonic).is_some() {
        return instruction.op_kind(operands - 1) == OpKind::Immediate8;
    }
    matches!(
        mnemonic,
        Mnemonic::Movaps
            | Mnemonic::Movapd
            | Mnemonic::Movdqa
            | Mnemonic::Movups
            | Mnemonic::Movupd
            | Mnemonic::Movdqu
            | Mnemonic::Lddqu
            | Mnemonic::Movntps
            | Mnemonic::Movntpd
            | Mnemonic::Movntdq
            | Mnemonic::Movss
            | Mnemonic::Movsd
            | Mnemonic::Movd
            | Mnemonic::Movq
            | Mnemonic::Movlps
            | Mnemonic::Movlpd
            | Mnemonic::Movhps
            | Mnemonic::Movhpd
            | Mnemonic::Movhlps
            | Mnemonic::Movlhps
            | Mnemonic::Pslldq
            | Mnemonic::Psrldq
            | Mnemonic::Pmovmskb
            | Mnemonic::Movmskps
            | Mnemonic::Movmskpd
            | Mnemonic::Pmuludq
            | Mnemonic::Pshufb
            | Mnemonic::Palignr
            | Mnemonic::Ucomisd
            | Mnemonic::Comisd
            | Mnemonic::Ucomiss
            | Mnemonic::Comiss
            | Mnemonic::Cvtsi2sd
            | Mnemonic::Cvtsi2ss
            | Mnemonic::Cvttsd2si
            | Mnemonic::Cvttss2si
            | Mnemonic::Cvtss2sd
            | Mnemonic::Cvtsd2ss
    )
}

/// What the flags are after it.
pub fn form_after(instruction: &Instruction, before: Form) -> Form {
    match avx::legacy(instruction) {
        Mnemonic::Ucomisd | Mnemonic::Comisd | Mnemonic::Ucomiss | Mnemonic::Comiss => Form::Explicit,
        Mnemonic::Ptest => Form::Explicit,
        _ => before,
    }
}

/// Whether memory operands of a whole register have to be aligned.
pub fn aligned(instruction: &Instruction) -> bool {
    let mnemonic = avx::legacy(instruction);
    if is_vex(instruction) {
        return is_aligned_move(mnemonic);
    }
    !matches!(mnemonic, Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu | Mnemonic::Lddqu)
}

impl Emitter {
    pub fn vector_number(instruction: &Instruction, operand: u32) -> u32 {
        instruction.op_register(operand).number() as u32
    }

    /// The memory operand's address has to be a multiple of so many bytes.
    pub fn check_aligned(&mut self, instruction: &Instruction, bytes: i64) {
        self.address(instruction);
        self.code.i64(bytes - 1);
        self.code.op(op::I64_AND);
        self.code.op(op::I64_EQZ);
        self.code.op(op::I32_EQZ);
        self.step_if();
    }

    /// Pushes an operand of 128 bits.
    pub fn whole_operand(&mut self, instruction: &Instruction, operand: u32) {
        if is_register(instruction, operand) {
            self.vector(Self::vector_number(instruction, operand));
            return;
        }
        if aligned(instruction) {
            self.check_aligned(instruction, 16);
        }
        self.read_pointer(At::Operand(instruction), 16);
        self.code.v128_memory(simd::V128_LOAD, 0);
    }

    /// Pushes the low part of an operand as 64 bits.
    pub fn low_operand(&mut self, instruction: &Instruction, operand: u32, size: u32) {
        if is_memory(instruction, operand) {
            self.load(At::Operand(instruction), size);
        } else if is_vector(instruction, operand) {
            self.vector(Self::vector_number(instruction, operand));
            if size == 8 {
                self.code.lane(simd::I64X2_EXTRACT_LANE, 0);
            } else {
                self.code.lane(simd::I32X4_EXTRACT_LANE, 0);
                self.code.op(op::I64_EXTEND_I32_U);
            }
        } else {
            self.register(instruction.op_register(operand));
            self.cut(size);
        }
    }

    /// Pushes a number, popped as its bits.
    fn as_float(&mut self, double: bool) {
        if double {
            self.code.op(op::F64_REINTERPRET_I64);
        } else {
            self.code.op(op::I32_WRAP_I64);
            self.code.op(op::F32_REINTERPRET_I32);
        }
    }

    /// Pushes the number in a register's low lane.
    fn float_register(&mut self, register: u32, double: bool) {
        self.vector(register);
        self.code.lane(if double { simd::F64X2_EXTRACT_LANE } else { simd::F32X4_EXTRACT_LANE }, 0);
    }

    fn float_operand(&mut self, instruction: &Instruction, operand: u32, double: bool) {
        if is_vector(instruction, operand) {
            self.float_register(Self::vector_number(instruction, operand), double);
        } else {
            self.low_operand(instruction, operand, if double { 8 } else { 4 });
            self.as_float(double);
        }
    }

    /// Pops 64 bits, which become the low half of a register; the high half becomes 0.
    fn set_low(&mut self, register: u32) {
        self.code.set(local::TEMPORARY);
        self.code.v128(0);
        self.code.get(local::TEMPORARY);
        self.code.lane(simd::I64X2_REPLACE_LANE, 0);
        self.set_vector(register);
    }

    /// Writes the code of an instruction that `select` has chosen. `interpret` lets the interpreter
    /// execute it.
    pub fn vector_instruction(&mut self, instruction: &Instruction, interpret: &mut dyn FnMut(&mut Emitter)) {
        self.use_vectors();
        if !is_vex(instruction) {
            return self.vector_128(instruction, interpret);
        }
        self.use_avx();
        if avx::is_own(instruction) {
            return self.avx_instruction(instruction, interpret);
        }
        self.vector_128(instruction, interpret);
        let compares = form_after(instruction, Form::Unknown) == Form::Explicit;
        if is_vector(instruction, 0) && !compares {
            self.clear_upper(Self::vector_number(instruction, 0));
        }
    }

    /// What 128 bits or less are computed of. The destination's upper half stays as it is.
    fn vector_128(&mut self, instruction: &Instruction, interpret: &mut dyn FnMut(&mut Emitter)) {
        let Operands { mnemonic, destination, first, last } = Operands::of(instruction);
        if let Some((opcode, swapped)) = lanes(mnemonic) {
            if swapped {
                self.whole_operand(instruction, last);
                self.vector(first);
            } else if is_register(instruction, last) {
                self.vector(first);
                self.whole_operand(instruction, last);
            } else {
                let temporary = self.vectors().temporary;
                self.whole_operand(instruction, last);
                self.code.set(temporary);
                self.vector(first);
                self.code.get(temporary);
            }
            self.code.simd(opcode);
            return self.set_vector(destination);
        }
        let has_immediate = instruction.op_kind(instruction.op_count() - 1) == OpKind::Immediate8;
        let control = if has_immediate { instruction.immediate8() } else { 0 };
        if let Some(order) = shuffle(mnemonic, control) {
            let temporary = self.vectors().temporary;
            self.whole_operand(instruction, last);
            self.code.set(temporary);
            self.vector(first);
            self.code.get(temporary);
            self.code.shuffle(order);
            return self.set_vector(destination);
        }
        if let Some((opcode, bits)) = shift(mnemonic) {
            return self.shift_lanes(instruction, opcode, bits);
        }
        if let Some((how, double)) = scalar(mnemonic) {
            return self.arithmetic(instruction, how, double, interpret);
        }
        if let Some((how, double)) = packed(mnemonic) {
            return self.packed_arithmetic(instruction, how, double, interpret);
        }
        if let Some((opcodes, size)) = extension(mnemonic) {
            self.low_operand(instruction, last, size);
            self.set_low(destination);
            self.vector(destination);
            for &opcode in opcodes {
                self.code.simd(opcode);
            }
            return self.set_vector(destination);
        }
        match mnemonic {
            Mnemonic::Pshufb => self.shuffle_bytes(instruction),
            Mnemonic::Palignr => self.align_bytes(instruction),
            Mnemonic::Movss | Mnemonic::Movsd | Mnemonic::Movd | Mnemonic::Movq => self.move_low(instruction),
            Mnemonic::Movlps | Mnemonic::Movlpd => self.move_half(instruction, 0),
            Mnemonic::Movhps | Mnemonic::Movhpd => self.move_half(instruction, 1),
            Mnemonic::Movhlps => self.cross(instruction, 1, 0),
            Mnemonic::Movlhps => self.cross(instruction, 0, 1),
            Mnemonic::Pslldq | Mnemonic::Psrldq => self.shift_bytes(instruction),
            Mnemonic::Pmovmskb => self.move_mask(instruction, simd::I8X16_BITMASK),
            Mnemonic::Movmskps => self.move_mask(instruction, simd::I32X4_BITMASK),
            Mnemonic::Movmskpd => self.move_mask(instruction, simd::I64X2_BITMASK),
            Mnemonic::Pmuludq => self.multiply_even(instruction),
            Mnemonic::Ucomisd | Mnemonic::Comisd => self.compare_floats(instruction, true, interpret),
            Mnemonic::Ucomiss | Mnemonic::Comiss => self.compare_floats(instruction, false, interpret),
            Mnemonic::Cvtsi2sd => self.from_integer(instruction, true, interpret),
            Mnemonic::Cvtsi2ss => self.from_integer(instruction, false, interpret),
            Mnemonic::Cvttsd2si => self.to_integer(instruction, true, interpret),
            Mnemonic::Cvttss2si => self.to_integer(instruction, false, interpret),
            Mnemonic::Cvtss2sd => self.widen(instruction, interpret),
            Mnemonic::Cvtsd2ss => self.narrow(instruction, interpret),
            _ => self.move_whole(instruction),
        }
    }

    // -- Moves -----------------------------------------------------------------------------

    fn move_whole(&mut self, instruction: &Instruction) {
        if is_memory(instruction, 0) {
            let value = self.vectors().value;
            self.vector(Self::vector_number(instruction, 1));
            self.code.set(value);
            if aligned(instruction) {
                self.check_aligned(instruction, 16);
            }
            self.store_vector(At::Operand(instruction));
        } else {
            self.whole_operand(instruction, 1);
            self.set_vector(Self::vector_number(instruction, 0));
        }
    }

    /// MOVSS, MOVSD, MOVD and MOVQ.
    fn move_low(&mut self, instruction: &Instruction) {
        let Operands { mnemonic, destination, first, last } = Operands::of(instruction);
        let merges = matches!(mnemonic, Mnemonic::Movss | Mnemonic::Movsd);
        let size = match mnemonic {
            Mnemonic::Movss => 4,
            Mnemonic::Movsd => 8,
            _ => operand_size(instruction, if is_vector(instruction, 0) { 1 } else { 0 }).min(8),
        };
        if !is_vector(instruction, 0) {
            self.low_operand(instruction, 1, size);
            if is_memory(instruction, 0) {
                self.code.set(local::VALUE);
                self.store(At::Operand(instruction), size);
            } else {
                self.set_register(instruction.op_register(0));
            }
            return;
        }
        if merges && is_register(instruction, 1) {
            self.vector(first);
            self.low_operand(instruction, last, size);
            if size == 8 {
                self.code.lane(simd::I64X2_REPLACE_LANE, 0);
            } else {
                self.code.op(op::I32_WRAP_I64);
                self.code.lane(simd::I32X4_REPLACE_LANE, 0);
            }
            self.set_vector(destination);
        } else {
            self.low_operand(instruction, 1, size);
            self.set_low(destination);
        }
    }

    /// MOVLPS and the like: 64 bits from or to memory.
    fn move_half(&mut self, instruction: &Instruction, half: u8) {
        if is_memory(instruction, 0) {
            self.vector(Self::vector_number(instruction, 1));
            self.code.lane(simd::I64X2_EXTRACT_LANE, half);
            self.code.set(local::VALUE);
            self.store(At::Operand(instruction), 8);
        } else {
            self.load(At::Operand(instruction), 8);
            self.code.set(local::TEMPORARY);
            let Operands { destination, first, .. } = Operands::of(instruction);
            self.vector(first);
            self.code.get(local::TEMPORARY);
            self.code.lane(simd::I64X2_REPLACE_LANE, half);
            self.set_vector(destination);
        }
    }

    fn cross(&mut self, instruction: &Instruction, from: u8, to: u8) {
        let Operands { destination, first, last, .. } = Operands::of(instruction);
        self.vector(first);
        self.vector(Self::vector_number(instruction, last));
        self.code.lane(simd::I64X2_EXTRACT_LANE, from);
        self.code.lane(simd::I64X2_REPLACE_LANE, to);
        self.set_vector(destination);
    }

    fn move_mask(&mut self, instruction: &Instruction, opcode: u32) {
        self.vector(Self::vector_number(instruction, 1));
        self.code.simd(opcode);
        self.extend_to_64();
        self.set_whole(number(instruction.op_register(0)));
    }

    // -- Integers ----------------------------------------------------------------------------

    fn shift_lanes(&mut self, instruction: &Instruction, opcode: u32, bits: u32) {
        let Operands { mnemonic, destination, first, .. } = Operands::of(instruction);
        match shift_count(mnemonic, instruction.immediate8(), bits) {
            Some(count) => {
                self.vector(first);
                self.code.i32(count as i32);
                self.code.simd(opcode);
            }
            None => self.code.v128(0),
        }
        self.set_vector(destination);
    }

    fn shift_bytes(&mut self, instruction: &Instruction) {
        let Operands { mnemonic, destination, first, .. } = Operands::of(instruction);
        self.vector(first);
        self.code.v128(0);
        self.code.shuffle(byte_shift(mnemonic, instruction.immediate8()));
        self.set_vector(destination);
    }

    /// PSHUFB: the source's bytes say from where, or, by their highest bit, that it is 0.
    fn shuffle_bytes(&mut self, instruction: &Instruction) {
        let Operands { destination, first, last, .. } = Operands::of(instruction);
        let temporary = self.vectors().temporary;
        self.whole_operand(instruction, last);
        // What is beyond 15 gives 0.
        self.code.v128(u128::from_le_bytes([0x8f; 16]));
        self.code.simd(simd::V128_AND);
        self.code.set(temporary);
        self.vector(first);
        self.code.get(temporary);
        self.code.simd(simd::I8X16_SWIZZLE);
        self.set_vector(destination);
    }

    /// PALIGNR: 16 bytes from a place of the source with the destination behind it.
    fn align_bytes(&mut self, instruction: &Instruction) {
        let Operands { destination, first, last, .. } = Operands::of(instruction);
        let count = instruction.immediate8().min(32);
        let temporary = self.vectors().temporary;
        self.whole_operand(instruction, last);
        self.code.set(temporary);
        let from = |first: u8| core::array::from_fn(|place| (place as u8 + first).min(31));
        if count <= 16 {
            self.code.get(temporary);
            self.vector(first);
            self.code.shuffle(from(count));
        } else {
            self.vector(first);
            self.code.v128(0);
            self.code.shuffle(from(count - 16));
        }
        self.set_vector(destination);
    }

    /// PMULUDQ: the products of the even lanes.
    fn multiply_even(&mut self, instruction: &Instruction) {
        let Operands { destination, first, last, .. } = Operands::of(instruction);
        let temporary = self.vectors().temporary;
        self.whole_operand(instruction, last);
        self.code.set(temporary);
        self.vector(first);
        self.vector(first);
        self.code.shuffle(EVEN);
        self.code.get(temporary);
        self.code.get(temporary);
        self.code.shuffle(EVEN);
        self.code.simd(simd::I64X2_EXTMUL_LOW_I32X4_U);
        self.set_vector(destination);
    }

    // -- Floating point --------------------------------------------------------------------------

    /// Writes two ways: one that leaves by a branch to the label where it cannot give the result, and
    /// the interpreter's.
    pub fn or_interpret(
        &mut self,
        fast: impl FnOnce(&mut Emitter, crate::wasm::Label),
        interpret: &mut dyn FnMut(&mut Emitter),
    ) {
        let done = self.code.block(None);
        let slow = self.code.block(None);
        self.usual();
        self.code.op(op::I32_EQZ);
        self.code.br_if(slow, Some(Hint::Unlikely));
        fast(self, slow);
        self.code.br(done);
        self.code.end();
        interpret(self);
        self.load_usual();
        self.code.end();
    }

    /// Branches unless the number in a local is an ordinary one, or a zero under a condition that is
    /// pushed then.
    fn check_result(
        &mut self,
        result: u32,
        double: bool,
        slow: crate::wasm::Label,
        zero_is_exact: impl FnOnce(&mut Emitter),
    ) {
        self.code.get(result);
        if double {
            self.code.op(op::I64_REINTERPRET_F64);
            self.code.i64(52);
            self.code.op(op::I64_SHR_U);
            self.code.op(op::I32_WRAP_I64);
        } else {
            self.code.op(op::I32_REINTERPRET_F32);
            self.code.i32(23);
            self.code.op(op::I32_SHR_U);
        }
        let all = if double { 0x7ff } else { 0xff };
        self.code.i32(all);
        self.code.op(op::I32_AND);
        // The smallest exponent's numbers may have been denormal before rounding.
        self.code.i32(2);
        self.code.op(op::I32_SUB);
        self.code.i32(all - 2);
        self.code.op(op::I32_GE_U);
        self.code.if_(None, Some(Hint::Unlikely));
        self.code.get(result);
        self.float_zero(double);
        self.code.op(if double { op::F64_EQ } else { op::F32_EQ });
        zero_is_exact(self);
        self.code.op(op::I32_AND);
        self.code.op(op::I32_EQZ);
        self.code.br_if(slow, None);
        self.code.end();
    }

    fn float_zero(&mut self, double: bool) {
        if double {
            self.code.f64(0.0);
        } else {
            self.code.f32(0.0);
        }
    }

    fn is_float_zero(&mut self, local: u32, double: bool) {
        self.code.get(local);
        self.float_zero(double);
        self.code.op(if double { op::F64_EQ } else { op::F32_EQ });
    }

    /// The destination becomes the first source with another number in the low lane.
    fn replace_float(&mut self, operands: &Operands, value: u32, double: bool) {
        self.vector(operands.first);
        self.code.get(value);
        self.code.lane(if double { simd::F64X2_REPLACE_LANE } else { simd::F32X4_REPLACE_LANE }, 0);
        self.set_vector(operands.destination);
    }

    fn arithmetic(
        &mut self,
        instruction: &Instruction,
        how: Arithmetic,
        double: bool,
        interpret: &mut dyn FnMut(&mut Emitter),
    ) {
        let operands = Operands::of(instruction);
        let [a, b, result] = self.vectors().floats(double);
        let opcode = match (how, double) {
            (Arithmetic::Add, true) => op::F64_ADD,
            (Arithmetic::Subtract, true) => op::F64_SUB,
            (Arithmetic::Multiply, true) => op::F64_MUL,
            (Arithmetic::Divide, true) => op::F64_DIV,
            (Arithmetic::SquareRoot, true) => op::F64_SQRT,
            (Arithmetic::Add, false) => op::F32_ADD,
            (Arithmetic::Subtract, false) => op::F32_SUB,
            (Arithmetic::Multiply, false) => op::F32_MUL,
            (Arithmetic::Divide, false) => op::F32_DIV,
            (Arithmetic::SquareRoot, false) => op::F32_SQRT,
        };
        self.or_interpret(
            |emitter, slow| {
                emitter.float_operand(instruction, operands.last, double);
                emitter.code.set(b);
                if how != Arithmetic::SquareRoot {
                    emitter.float_register(operands.first, double);
                    emitter.code.tee(a);
                }
                emitter.code.get(b);
                emitter.code.op(opcode);
                emitter.code.set(result);
                emitter.check_result(result, double, slow, |emitter| match how {
                    // Sums never underflow.
                    Arithmetic::Add | Arithmetic::Subtract | Arithmetic::SquareRoot => emitter.code.i32(1),
                    Arithmetic::Multiply => {
                        emitter.is_float_zero(a, double);
                        emitter.is_float_zero(b, double);
                        emitter.code.op(op::I32_OR);
                    }
                    Arithmetic::Divide => emitter.is_float_zero(a, double),
                });
                emitter.replace_float(&operands, result, double);
            },
            interpret,
        );
    }

    /// As `arithmetic`, with all lanes.
    fn packed_arithmetic(
        &mut self,
        instruction: &Instruction,
        how: Arithmetic,
        double: bool,
        interpret: &mut dyn FnMut(&mut Emitter),
    ) {
        let Operands { destination, first, last, .. } = Operands::of(instruction);
        let (b, result) = (self.vectors().temporary, self.vectors().value);
        self.or_interpret(
            |emitter, slow| {
                emitter.whole_operand(instruction, last);
                emitter.code.set(b);
                emitter.packed_result(how, double, |emitter| emitter.vector(first), b, result, slow);
                emitter.code.get(result);
                emitter.set_vector(destination);
            },
            interpret,
        );
    }

    /// Computes with the numbers that `first` pushes and those of the local `b`. Branches unless each result is one
    /// that WebAssembly gives right.
    pub fn packed_result(
        &mut self,
        how: Arithmetic,
        double: bool,
        mut first: impl FnMut(&mut Emitter),
        b: u32,
        result: u32,
        slow: crate::wasm::Label,
    ) {
        let opcode = match (how, double) {
            (Arithmetic::Add, true) => simd::F64X2_ADD,
            (Arithmetic::Subtract, true) => simd::F64X2_SUB,
            (Arithmetic::Multiply, true) => simd::F64X2_MUL,
            (Arithmetic::Divide, true) => simd::F64X2_DIV,
            (Arithmetic::SquareRoot, true) => simd::F64X2_SQRT,
            (Arithmetic::Add, false) => simd::F32X4_ADD,
            (Arithmetic::Subtract, false) => simd::F32X4_SUB,
            (Arithmetic::Multiply, false) => simd::F32X4_MUL,
            (Arithmetic::Divide, false) => simd::F32X4_DIV,
            (Arithmetic::SquareRoot, false) => simd::F32X4_SQRT,
        };
        let equal = if double { simd::F64X2_EQ } else { simd::F32X4_EQ };
        let (left, right, greater, all, fraction, most) = if double {
            (simd::I64X2_SHL, simd::I64X2_SHR_U, simd::I64X2_GT_S, simd::I64X2_ALL_TRUE, 53, 0x7ff)
        } else {
            (simd::I32X4_SHL, simd::I32X4_SHR_U, simd::I32X4_GT_S, simd::I32X4_ALL_TRUE, 24, 0xff)
        };
        let splat = |value: u32| {
            let value = u128::from(value);
            if double {
                value << 64 | value
            } else {
                value << 96 | value << 64 | value << 32 | value
            }
        };
        if how != Arithmetic::SquareRoot {
            first(self);
        }
        self.code.get(b);
        self.code.simd(opcode);
        self.code.set(result);
        let exponents = |emitter: &mut Emitter| {
            emitter.code.get(result);
            emitter.code.i32(1);
            emitter.code.simd(left);
            emitter.code.i32(fraction);
            emitter.code.simd(right);
        };
        // The smallest exponent's numbers may have been denormal before rounding.
        exponents(self);
        self.code.v128(splat(1));
        self.code.simd(greater);
        self.code.v128(splat(most));
        exponents(self);
        self.code.simd(greater);
        self.code.simd(simd::V128_AND);
        // Or a zero that is no underflow: sums never do.
        let is_zero = |emitter: &mut Emitter| {
            emitter.code.v128(0);
            emitter.code.simd(equal);
        };
        self.code.get(result);
        is_zero(self);
        match how {
            Arithmetic::Add | Arithmetic::Subtract | Arithmetic::SquareRoot => {}
            Arithmetic::Multiply => {
                first(self);
                is_zero(self);
                self.code.get(b);
                is_zero(self);
                self.code.simd(simd::V128_OR);
                self.code.simd(simd::V128_AND);
            }
            Arithmetic::Divide => {
                first(self);
                is_zero(self);
                self.code.simd(simd::V128_AND);
            }
        }
        self.code.simd(simd::V128_OR);
        self.code.simd(all);
        self.code.op(op::I32_EQZ);
        self.code.br_if(slow, Some(Hint::Unlikely));
    }

    fn compare_floats(&mut self, instruction: &Instruction, double: bool, interpret: &mut dyn FnMut(&mut Emitter)) {
        let [a, b, _] = self.vectors().floats(double);
        let (equal, less) = if double { (op::F64_EQ, op::F64_LT) } else { (op::F32_EQ, op::F32_LT) };
        self.use_flags();
        self.or_interpret(
            |emitter, slow| {
                emitter.float_operand(instruction, 1, double);
                emitter.code.set(b);
                emitter.float_operand(instruction, 0, double);
                emitter.code.set(a);
                // Numbers that are not are the interpreter's.
                for local in [a, b] {
                    emitter.code.get(local);
                    emitter.code.get(local);
                    emitter.code.op(equal);
                }
                emitter.code.op(op::I32_AND);
                emitter.code.op(op::I32_EQZ);
                emitter.code.br_if(slow, Some(Hint::Unlikely));
                emitter.code.get(a);
                emitter.code.get(b);
                emitter.code.op(less);
                emitter.code.get(a);
                emitter.code.get(b);
                emitter.code.op(equal);
                emitter.code.i32(cpu::flags::ZF.trailing_zeros() as i32);
                emitter.code.op(op::I32_SHL);
                emitter.code.op(op::I32_OR);
                emitter.extend_to_64();
                emitter.code.set(local::FLAGS_RESULT);
                emitter.set_form(Form::Explicit);
            },
            &mut |emitter| {
                interpret(emitter);
                // The interpreter, too, leaves them so.
                emitter.form = Form::Explicit;
            },
        );
        self.form = Form::Explicit;
    }

    fn from_integer(&mut self, instruction: &Instruction, double: bool, interpret: &mut dyn FnMut(&mut Emitter)) {
        let operands = Operands::of(instruction);
        let [a, ..] = self.vectors().floats(double);
        let size = operand_size(instruction, operands.last);
        self.or_interpret(
            |emitter, _| {
                emitter.low_operand(instruction, operands.last, size);
                emitter.sign_extend(size);
                emitter.code.op(if double { op::F64_CONVERT_I64_S } else { op::F32_CONVERT_I64_S });
                emitter.code.set(a);
                emitter.replace_float(&operands, a, double);
            },
            interpret,
        );
    }

    fn to_integer(&mut self, instruction: &Instruction, double: bool, interpret: &mut dyn FnMut(&mut Emitter)) {
        let [a, ..] = self.vectors().floats(double);
        let register = instruction.op_register(0);
        self.or_interpret(
            |emitter, slow| {
                emitter.float_operand(instruction, 1, double);
                emitter.code.tee(a);
                // Well below the border, so that what is truncated is in range, too.
                let limit = if register.size() == 8 { 9.0e18 } else { 2_147_483_000.0 };
                if double {
                    emitter.code.op(op::F64_ABS);
                    emitter.code.f64(limit);
                    emitter.code.op(op::F64_LT);
                } else {
                    emitter.code.op(op::F32_ABS);
                    emitter.code.f32(limit as f32);
                    emitter.code.op(op::F32_LT);
                }
                emitter.code.op(op::I32_EQZ);
                emitter.code.br_if(slow, Some(Hint::Unlikely));
                emitter.code.get(a);
                emitter.code.op(if double { op::I64_TRUNC_F64_S } else { op::I64_TRUNC_F32_S });
                emitter.set_register(register);
            },
            interpret,
        );
    }

    fn widen(&mut self, instruction: &Instruction, interpret: &mut dyn FnMut(&mut Emitter)) {
        let operands = Operands::of(instruction);
        let [_, _, result] = self.vectors().floats(true);
        self.or_interpret(
            |emitter, slow| {
                emitter.float_operand(instruction, operands.last, false);
                emitter.code.op(op::F64_PROMOTE_F32);
                emitter.code.set(result);
                emitter.check_result(result, true, slow, |emitter| emitter.code.i32(1));
                emitter.replace_float(&operands, result, true);
            },
            interpret,
        );
    }

    fn narrow(&mut self, instruction: &Instruction, interpret: &mut dyn FnMut(&mut Emitter)) {
        let operands = Operands::of(instruction);
        let [a, ..] = self.vectors().floats(true);
        let [_, _, result] = self.vectors().floats(false);
        self.or_interpret(
            |emitter, slow| {
                emitter.float_operand(instruction, operands.last, true);
                emitter.code.tee(a);
                emitter.code.op(op::F32_DEMOTE_F64);
                emitter.code.set(result);
                emitter.check_result(result, false, slow, |emitter| emitter.is_float_zero(a, true));
                emitter.replace_float(&operands, result, false);
            },
            interpret,
        );
    }
}
