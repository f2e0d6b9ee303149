//! AVX and AVX2: what SSE's instructions do in both halves of 256-bit registers, and what moves values between them.
//!
//! The lower halves are in locals as XMM registers are. The upper ones stay in [`State`](cpu::state::State): most code
//! only clears them, and the interpreter finds them there.

use cpu::state::offset;
use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::action::{addressable, is_memory, is_register};
use crate::emit::{local, number, Emitter};
use crate::vector::{self, is_vector};
use crate::wasm::{op, simd, Hint};
use crate::windows::At;
use ::simd::fused::Fused;

/// SSE's mnemonic of what it has, too, else the instruction's own.
pub fn legacy(instruction: &Instruction) -> Mnemonic {
    let mnemonic = instruction.mnemonic();
    if vector::is_vex(instruction) {
        ::simd::table::legacy(mnemonic).unwrap_or(mnemonic)
    } else {
        mnemonic
    }
}

fn is_wide(instruction: &Instruction) -> bool {
    (0..instruction.op_count())
        .any(|i| is_register(instruction, i) && instruction.op_register(i).is_ymm())
}

fn immediate(instruction: &Instruction) -> u8 {
    let last = instruction.op_count().wrapping_sub(1);
    if instruction.op_count() > 0 && instruction.op_kind(last) == OpKind::Immediate8 {
        instruction.immediate8()
    } else {
        0
    }
}

/// Whether it is an instruction of this module. (The others with a VEX prefix are as SSE's.)
pub fn is_own(instruction: &Instruction) -> bool {
    is_wide(instruction)
        || ::simd::table::fused(instruction.mnemonic()).is_some()
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Vzeroupper
                | Mnemonic::Vpbroadcastb
                | Mnemonic::Vpbroadcastw
                | Mnemonic::Vpbroadcastd
                | Mnemonic::Vpbroadcastq
                | Mnemonic::Vbroadcastss
        )
}

/// Whether there is code for an instruction with a VEX prefix that has vector registers.
pub fn select(instruction: &Instruction) -> bool {
    if instruction.mnemonic() == Mnemonic::Vzeroupper {
        return true;
    }
    if !is_own(instruction) {
        return ::simd::table::legacy(instruction.mnemonic())
            .is_some_and(|mnemonic| vector::is_known(instruction, mnemonic));
    }
    let known = (0..instruction.op_count()).all(|i| match instruction.op_kind(i) {
        OpKind::Register => is_vector(instruction, i) || instruction.op_register(i).is_gpr(),
        OpKind::Memory => addressable(instruction),
        OpKind::Immediate8 => true,
        _ => false,
    });
    known && how(instruction).is_some()
}

/// The lanes of a broadcast's source, in bytes.
fn broadcast(mnemonic: Mnemonic) -> Option<u32> {
    Some(match mnemonic {
        Mnemonic::Vpbroadcastb => 1,
        Mnemonic::Vpbroadcastw => 2,
        Mnemonic::Vpbroadcastd | Mnemonic::Vbroadcastss => 4,
        Mnemonic::Vpbroadcastq | Mnemonic::Vbroadcastsd => 8,
        Mnemonic::Vbroadcastf128 | Mnemonic::Vbroadcasti128 => 16,
        _ => return None,
    })
}

/// What an instruction of this module does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Move,
    /// In each half, one instruction of two operands, which may change places.
    Lanes(u32, bool),
    /// In each half, bytes of the two operands.
    Shuffle([[u8; 16]; 2]),
    /// PALIGNR by more than 16 bytes: bytes of the first operand and zeros.
    ShuffleWithZero([u8; 16]),
    /// By an immediate; None where zeros remain.
    Shift(u32, Option<u32>),
    ShuffleBytes,
    MultiplyEven,
    Blend,
    Arithmetic(vector::Arithmetic, bool),
    /// How many lanes each half has.
    Mask(u32, u32),
    Broadcast(u32),
    /// Halves of the two operands, low and high: 0 and 1 of the first, 2 and 3 of the last; 4 is zero.
    Halves([u8; 2]),
    /// A half of a register, to a register or to memory.
    ExtractHalf(u8),
    /// VPERMQ: quadwords.
    Quads([u8; 4]),
    /// Instructions that extend lanes, and how many bytes of the source a half is made of.
    Extend(&'static [u32], u32),
    /// VPTEST.
    Test,
    /// FMA.
    Fused(Fused),
}

fn how(instruction: &Instruction) -> Option<How> {
    let immediate = immediate(instruction);
    match instruction.mnemonic() {
        Mnemonic::Vinsertf128 | Mnemonic::Vinserti128 => {
            return Some(How::Halves(if immediate & 1 == 0 { [2, 1] } else { [0, 2] }));
        }
        Mnemonic::Vperm2f128 | Mnemonic::Vperm2i128 => {
            let half = |control: u8| if control & 8 != 0 { 4 } else { control & 3 };
            return Some(How::Halves([half(immediate), half(immediate >> 4)]));
        }
        Mnemonic::Vextractf128 | Mnemonic::Vextracti128 => return Some(How::ExtractHalf(immediate & 1)),
        Mnemonic::Vpermq | Mnemonic::Vpermpd => return Some(How::Quads([0, 2, 4, 6].map(|i| immediate >> i & 3))),
        Mnemonic::Vpblendd => {
            let order = |immediate: u8| {
                core::array::from_fn(|byte| byte as u8 + if immediate >> (byte / 4) & 1 != 0 { 16 } else { 0 })
            };
            return Some(How::Shuffle([order(immediate), order(immediate >> 4)]));
        }
        mnemonic => {
            if let Some(size) = broadcast(mnemonic) {
                return Some(How::Broadcast(size));
            }
        }
    }
    if let Some(fused) = ::simd::table::fused(instruction.mnemonic()) {
        return Some(How::Fused(fused));
    }
    let mnemonic = ::simd::table::legacy(instruction.mnemonic())?;
    if let Some((opcode, swapped)) = vector::lanes(mnemonic) {
        return Some(How::Lanes(opcode, swapped));
    }
    let upper = immediate >> ::simd::table::upper_shift(instruction.mnemonic());
    if let Some(order) = vector::shuffle(mnemonic, immediate) {
        let upper = vector::shuffle(mnemonic, upper).expect("of the same mnemonic");
        return Some(How::Shuffle([order, upper]));
    }
    if let Some((opcode, bits)) = vector::shift(mnemonic) {
        let by_immediate = instruction.op_kind(2) == OpKind::Immediate8;
        return by_immediate.then(|| How::Shift(opcode, vector::shift_count(mnemonic, immediate, bits)));
    }
    if let Some((how, double)) = vector::packed(mnemonic) {
        return Some(How::Arithmetic(how, double));
    }
    if let Some((opcodes, size)) = vector::extension(mnemonic) {
        return Some(How::Extend(opcodes, size));
    }
    Some(match mnemonic {
        Mnemonic::Movaps | Mnemonic::Movapd | Mnemonic::Movdqa | Mnemonic::Movups | Mnemonic::Movupd
        | Mnemonic::Movdqu | Mnemonic::Lddqu | Mnemonic::Movntps | Mnemonic::Movntpd | Mnemonic::Movntdq => How::Move,
        Mnemonic::Pslldq | Mnemonic::Psrldq => How::ShuffleWithZero(vector::byte_shift(mnemonic, immediate)),
        Mnemonic::Palignr => match immediate {
            0..=16 => How::Shuffle([core::array::from_fn(|place| {
                // The last operand comes first.
                match place as u8 + immediate {
                    place @ 0..=15 => place + 16,
                    place => place - 16,
                }
            }); 2]),
            _ => How::ShuffleWithZero(core::array::from_fn(|place| {
                (place as u8).saturating_add(immediate - 16).min(16)
            })),
        },
        Mnemonic::Pshufb => How::ShuffleBytes,
        Mnemonic::Pmuludq => How::MultiplyEven,
        Mnemonic::Pblendvb => How::Blend,
        Mnemonic::Pmovmskb => How::Mask(simd::I8X16_BITMASK, 16),
        Mnemonic::Movmskps => How::Mask(simd::I32X4_BITMASK, 4),
        Mnemonic::Movmskpd => How::Mask(simd::I64X2_BITMASK, 2),
        Mnemonic::Ptest => How::Test,
        _ => return None,
    })
}

impl Emitter {
    fn upper(register: u32) -> u32 {
        (offset::YMM_HIGH + 16 * register as usize) as u32
    }

    /// Pushes half of a register.
    fn half(&mut self, register: u32, half: usize) {
        if half == 0 {
            return self.vector(register);
        }
        self.code.i32(0);
        let at = self.cpu_address() + Self::upper(register);
        self.code.v128_memory(simd::V128_LOAD, at);
    }

    /// Gives half of a register what `push` pushes.
    fn set_half(&mut self, register: u32, half: usize, push: impl FnOnce(&mut Emitter)) {
        if half == 0 {
            push(self);
            return self.set_vector(register);
        }
        self.code.i32(0);
        push(self);
        let at = self.cpu_address() + Self::upper(register);
        self.code.v128_memory(simd::V128_STORE, at);
    }

    pub fn clear_upper(&mut self, register: u32) {
        self.set_half(register, 1, |emitter| emitter.code.v128(0));
    }

    /// Puts the last operand's halves into the locals `temporary` and `upper`, one that is in memory.
    fn load_halves(&mut self, instruction: &Instruction) {
        let vectors = self.vectors();
        if vector::aligned(instruction) {
            self.check_aligned(instruction, 32);
        }
        self.read_pointer(At::Operand(instruction), 32);
        self.code.tee(local::MODIFIED);
        self.code.v128_memory(simd::V128_LOAD, 0);
        self.code.set(vectors.temporary);
        self.code.get(local::MODIFIED);
        self.code.v128_memory(simd::V128_LOAD, 16);
        self.code.set(vectors.upper);
    }

    /// Writes the code of an instruction of this module.
    pub fn avx_instruction(&mut self, instruction: &Instruction, interpret: &mut dyn FnMut(&mut Emitter)) {
        if instruction.mnemonic() == Mnemonic::Vzeroupper {
            let registers = if self.code_size == crate::CodeSize::Bits64 { 16 } else { 8 };
            for register in 0..registers {
                self.clear_upper(register);
            }
            return;
        }
        let how = how(instruction).expect("select has chosen it");
        let register = |operand| Emitter::vector_number(instruction, operand);
        match how {
            How::Move if is_memory(instruction, 0) => return self.store_halves(instruction),
            How::Mask(opcode, lanes) => return self.mask_of_halves(instruction, opcode, lanes),
            How::Broadcast(size) => return self.broadcast(instruction, size),
            How::ExtractHalf(half) => return self.extract_half(instruction, usize::from(half)),
            How::Extend(opcodes, size) => return self.extend_halves(instruction, opcodes, size),
            How::Test => return self.test_halves(instruction),
            How::Fused(fused) => return self.fused(instruction, fused, interpret),
            _ => {}
        }
        // The last one that is not an immediate or a mask.
        let count = (0..instruction.op_count()).filter(|&i| instruction.op_kind(i) != OpKind::Immediate8).count() as u32;
        let last = count.min(3) - 1;
        let vectors = self.vectors();
        let in_memory = is_memory(instruction, last);
        if in_memory {
            if let How::Halves(_) = how {
                // VINSERTI128 has 128 bits there, which are its halves 2.
                if instruction.memory_size().size() == 16 {
                    self.whole_operand(instruction, last);
                    self.code.set(vectors.temporary);
                } else {
                    self.load_halves(instruction);
                }
            } else {
                self.load_halves(instruction);
            }
        }
        let destination = register(0);
        let first = if count >= 3 { register(1) } else { destination };
        let push_last = |emitter: &mut Emitter, half: usize| {
            if in_memory {
                let local = if half == 0 { vectors.temporary } else { vectors.upper };
                emitter.code.get(local);
            } else {
                emitter.half(register(last), half);
            }
        };
        match how {
            How::Halves(order) => {
                let push = |emitter: &mut Emitter, from: u8| match from {
                    0 | 1 => emitter.half(first, usize::from(from)),
                    2 | 3 => push_last(emitter, usize::from(from - 2)),
                    _ => emitter.code.v128(0),
                };
                push(self, order[0]);
                self.code.set(vectors.value);
                self.set_half(destination, 1, |emitter| push(emitter, order[1]));
                self.code.get(vectors.value);
                self.set_vector(destination);
            }
            How::Quads(order) => {
                let half = |emitter: &mut Emitter, order: &[u8]| {
                    push_last(emitter, 0);
                    push_last(emitter, 1);
                    let lanes = core::array::from_fn(|byte| order[byte / 8] * 8 + byte as u8 % 8);
                    emitter.code.shuffle(lanes);
                };
                half(self, &order[..2]);
                self.code.set(vectors.value);
                self.set_half(destination, 1, |emitter| half(emitter, &order[2..]));
                self.code.get(vectors.value);
                self.set_vector(destination);
            }
            How::Arithmetic(how, double) => self.or_interpret(
                |emitter, slow| {
                    let results = [vectors.value, vectors.result];
                    for half in 0..2 {
                        let b = if half == 0 { vectors.temporary } else { vectors.upper };
                        if !in_memory {
                            push_last(emitter, half);
                            emitter.code.set(b);
                        }
                        emitter.packed_result(how, double, |emitter| emitter.half(first, half), b, results[half], slow);
                    }
                    for half in 0..2 {
                        emitter.set_half(destination, half, |emitter| emitter.code.get(results[half]));
                    }
                },
                interpret,
            ),
            _ => {
                for half in 0..2 {
                    self.set_half(destination, half, |emitter| match how {
                        How::Move => push_last(emitter, half),
                        How::Lanes(opcode, swapped) => {
                            if swapped {
                                push_last(emitter, half);
                                emitter.half(first, half);
                            } else {
                                emitter.half(first, half);
                                push_last(emitter, half);
                            }
                            emitter.code.simd(opcode);
                        }
                        How::Shuffle(orders) => {
                            emitter.half(first, half);
                            push_last(emitter, half);
                            emitter.code.shuffle(orders[half]);
                        }
                        How::ShuffleWithZero(order) => {
                            // Of shifts by an immediate, what is shifted is the last operand.
                            if count >= 3 {
                                emitter.half(first, half);
                            } else {
                                push_last(emitter, half);
                            }
                            emitter.code.v128(0);
                            emitter.code.shuffle(order);
                        }
                        How::Shift(opcode, shift) => match shift {
                            Some(shift) => {
                                push_last(emitter, half);
                                emitter.code.i32(shift as i32);
                                emitter.code.simd(opcode);
                            }
                            None => emitter.code.v128(0),
                        },
                        How::ShuffleBytes => {
                            emitter.half(first, half);
                            push_last(emitter, half);
                            // What is beyond 15 gives 0.
                            emitter.code.v128(u128::from_le_bytes([0x8f; 16]));
                            emitter.code.simd(simd::V128_AND);
                            emitter.code.simd(simd::I8X16_SWIZZLE);
                        }
                        How::MultiplyEven => {
                            emitter.half(first, half);
                            emitter.half(first, half);
                            emitter.code.shuffle(vector::EVEN);
                            push_last(emitter, half);
                            push_last(emitter, half);
                            emitter.code.shuffle(vector::EVEN);
                            emitter.code.simd(simd::I64X2_EXTMUL_LOW_I32X4_U);
                        }
                        How::Blend => {
                            // Bits of the last operand where the mask's bytes are negative.
                            push_last(emitter, half);
                            emitter.half(first, half);
                            emitter.half(register(3), half);
                            emitter.code.i32(7);
                            emitter.code.simd(simd::I8X16_SHR_S);
                            emitter.code.simd(simd::V128_BITSELECT);
                        }
                        _ => unreachable!("it has code of its own"),
                    });
                }
            }
        }
    }

    fn store_halves(&mut self, instruction: &Instruction) {
        let vectors = self.vectors();
        let source = Emitter::vector_number(instruction, 1);
        self.half(source, 0);
        self.code.set(vectors.value);
        self.half(source, 1);
        self.code.set(vectors.upper);
        if vector::aligned(instruction) {
            self.check_aligned(instruction, 32);
        }
        self.store_vectors(At::Operand(instruction));
    }

    fn mask_of_halves(&mut self, instruction: &Instruction, opcode: u32, lanes: u32) {
        let source = Emitter::vector_number(instruction, 1);
        self.half(source, 0);
        self.code.simd(opcode);
        self.half(source, 1);
        self.code.simd(opcode);
        self.code.i32(lanes as i32);
        self.code.op(op::I32_SHL);
        self.code.op(op::I32_OR);
        self.extend_to_64();
        self.set_whole(number(instruction.op_register(0)));
    }

    fn broadcast(&mut self, instruction: &Instruction, size: u32) {
        let value = self.vectors().value;
        let destination = Emitter::vector_number(instruction, 0);
        if size == 16 {
            self.whole_operand(instruction, 1);
        } else if is_memory(instruction, 1) {
            self.low_operand(instruction, 1, size);
            if size == 8 {
                self.code.simd(simd::I64X2_SPLAT);
            } else {
                self.code.op(op::I32_WRAP_I64);
                self.code.simd(match size {
                    1 => simd::I8X16_SPLAT,
                    2 => simd::I16X8_SPLAT,
                    _ => simd::I32X4_SPLAT,
                });
            }
        } else {
            let source = Emitter::vector_number(instruction, 1);
            self.vector(source);
            self.vector(source);
            self.code.shuffle(core::array::from_fn(|byte| byte as u8 % size as u8));
        }
        self.code.set(value);
        self.code.get(value);
        self.set_vector(destination);
        let wide = is_wide(instruction);
        self.set_half(destination, 1, |emitter| {
            if wide {
                emitter.code.get(value);
            } else {
                emitter.code.v128(0);
            }
        });
    }

    fn extract_half(&mut self, instruction: &Instruction, half: usize) {
        let source = Emitter::vector_number(instruction, 1);
        self.half(source, half);
        if is_memory(instruction, 0) {
            let value = self.vectors().value;
            self.code.set(value);
            return self.store_vector(At::Operand(instruction));
        }
        let destination = Emitter::vector_number(instruction, 0);
        self.set_vector(destination);
        self.clear_upper(destination);
    }

    /// VPMOVZXBW and the like: each half is made of `size` bytes.
    fn extend_halves(&mut self, instruction: &Instruction, opcodes: &[u32], size: u32) {
        let value = self.vectors().value;
        if is_memory(instruction, 1) && size == 4 {
            self.low_operand(instruction, 1, 8);
            self.code.simd(simd::I64X2_SPLAT);
        } else {
            self.whole_operand(instruction, 1);
        }
        self.code.set(value);
        let destination = Emitter::vector_number(instruction, 0);
        for half in 0..2 {
            self.set_half(destination, half, |emitter| {
                emitter.code.get(value);
                if half == 1 {
                    emitter.code.get(value);
                    emitter.code.shuffle(core::array::from_fn(|byte| (byte as u8 + size as u8) % 16));
                }
                for &opcode in opcodes {
                    emitter.code.simd(opcode);
                }
            });
        }
    }

    /// FMA, by a helper: WebAssembly has nothing that rounds once.
    fn fused(&mut self, instruction: &Instruction, fused: Fused, interpret: &mut dyn FnMut(&mut Emitter)) {
        let vectors = self.vectors();
        let wide = is_wide(instruction);
        let halves = if wide { 2 } else { 1 };
        let [first, second] = [0, 1].map(|operand| Emitter::vector_number(instruction, operand));
        self.or_interpret(
            |emitter, slow| {
                if is_register(instruction, 2) {
                    let third = Emitter::vector_number(instruction, 2);
                    for half in 0..halves {
                        emitter.set_scratch(3 * half + 2, |emitter| emitter.half(third, half as usize));
                    }
                } else if fused.scalar() {
                    emitter.low_operand(instruction, 2, if fused.double() { 8 } else { 4 });
                    emitter.code.simd(simd::I64X2_SPLAT);
                    emitter.code.set(vectors.temporary);
                    emitter.set_scratch(2, |emitter| emitter.code.get(vectors.temporary));
                } else if wide {
                    emitter.load_halves(instruction);
                    emitter.set_scratch(2, |emitter| emitter.code.get(vectors.temporary));
                    emitter.set_scratch(5, |emitter| emitter.code.get(vectors.upper));
                } else {
                    emitter.whole_operand(instruction, 2);
                    emitter.code.set(vectors.temporary);
                    emitter.set_scratch(2, |emitter| emitter.code.get(vectors.temporary));
                }
                for half in 0..halves {
                    emitter.set_scratch(3 * half, |emitter| emitter.half(first, half as usize));
                    emitter.set_scratch(3 * half + 1, |emitter| emitter.half(second, half as usize));
                }
                emitter.call_fused(fused.bits(), halves);
                emitter.code.br_if(slow, Some(Hint::Unlikely));
                for half in 0..halves {
                    emitter.set_half(first, half as usize, |emitter| emitter.scratch(3 * half));
                }
                if !wide {
                    emitter.clear_upper(first);
                }
            },
            interpret,
        );
    }

    /// VPTEST: ZF and CF.
    fn test_halves(&mut self, instruction: &Instruction) {
        use cpu::flags::ZF;
        let vectors = self.vectors();
        let first = Emitter::vector_number(instruction, 0);
        if is_memory(instruction, 1) {
            self.load_halves(instruction);
        } else {
            let last = Emitter::vector_number(instruction, 1);
            self.half(last, 0);
            self.code.set(vectors.temporary);
            self.half(last, 1);
            self.code.set(vectors.upper);
        }
        // ZF: no bit is set in both. CF: none of the last operand's is clear in the first.
        for (opcode, place) in [(simd::V128_AND, ZF.trailing_zeros()), (simd::V128_ANDNOT, 0)] {
            for half in 0..2 {
                self.code.get(if half == 0 { vectors.temporary } else { vectors.upper });
                self.half(first, half);
                self.code.simd(opcode);
            }
            self.code.simd(simd::V128_OR);
            self.code.simd(simd::V128_ANY_TRUE);
            self.code.op(op::I32_EQZ);
            self.code.i32(place as i32);
            self.code.op(op::I32_SHL);
        }
        self.code.op(op::I32_OR);
        self.extend_to_64();
        self.code.set(local::FLAGS_RESULT);
        self.set_form(crate::flags::Form::Explicit);
    }
}
