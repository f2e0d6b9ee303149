//! From bytes to what the interpreter executes: a handler and its operands.
//!
//! The crate iced-x86 knows the instruction set; here its instructions become [`Op`]s, for which
//! `instructions` has the handlers.

use alloc::vec::Vec;

use iced_x86::{Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, OpKind, Register};

use crate::instructions;
use crate::segment;
use crate::state::Mode;
use crate::{Cpu, Step};

pub type Handler = fn(&mut Cpu, &Op) -> Step;

/// Numbers of registers as operands: 0 to 15, and 16 to 19 for AH, CH, DH and BH.
pub const HIGH: u8 = 16;
/// As `Op::base` or `Op::index`: `State::rip` (the next instruction's address) and `State::zero`,
/// which lie behind `State::gpr`.
const RIP_NUMBER: u8 = 16;
pub const NO_NUMBER: u8 = 17;

/// How an address becomes a linear one.
pub mod address {
    /// As it is.
    pub const PLAIN: u8 = 0;
    /// 64 bits, with FS's or GS's base.
    pub const SEGMENT: u8 = 1;
    /// Cut to 32 bits, then the base.
    pub const BITS32: u8 = 2;
    /// Cut to 16 bits, then the base.
    pub const BITS16: u8 = 3;
    /// Cut to 32 bits, where the base is known to be 0 (`Mode::FLAT`).
    pub const FLAT: u8 = 4;
}

/// One instruction, decoded.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Op {
    pub handler: Handler,
    /// In bytes.
    pub length: u8,
    /// The first operand's register, or what else the handler takes it for.
    pub a: u8,
    /// The second operand's register.
    pub b: u8,
    /// The third operand's, a condition, or log2 of a size.
    pub c: u8,
    /// Of the memory operand: base + (index << scale) + displacement.
    pub base: u8,
    pub index: u8,
    /// The scale, and above `SCALE_BITS` what `address` has.
    addressing: u8,
    /// The handler's number where it is one of those that the loop has in itself (`instructions::quick`), or 0.
    pub quick: u8,
    pub segment: u8,
    /// `prefix::…`
    pub prefixes: u8,
    /// The instruction's number in iced-x86, for handlers of several.
    pub code: u16,
    pub displacement: u64,
    /// Immediate operand, sign-extended to 64 bits; for branches the distance from the next instruction.
    pub immediate: u64,
}

/// Of `Op::addressing`.
const SCALE_BITS: u32 = 2;

impl Op {
    /// How the memory operand's offset becomes an address: `address::…`
    #[inline(always)]
    pub fn address_kind(&self) -> u8 {
        self.addressing >> SCALE_BITS
    }

    /// By how many bits the index is shifted.
    #[inline(always)]
    pub fn scale(&self) -> u8 {
        self.addressing & ((1 << SCALE_BITS) - 1)
    }

    pub fn set_addressing(&mut self, kind: u8, scale: u8) {
        self.addressing = kind << SCALE_BITS | scale;
    }
}

pub mod prefix {
    pub const REP: u8 = 1;
    pub const REPNE: u8 = 2;
    /// Addresses of 64 bits, 32 otherwise (or 16 with `ADDRESS16`).
    pub const ADDRESS64: u8 = 4;
    pub const ADDRESS16: u8 = 8;
    pub const LOCK: u8 = 16;
}

fn bitness(mode: u32) -> u32 {
    if mode & Mode::LONG != 0 {
        64
    } else if mode & Mode::BITS16 != 0 {
        16
    } else {
        32
    }
}

/// Decodes a block up to and with the first instruction that may go elsewhere. Returns how many
/// bytes it has.
pub fn block(bytes: &[u8], mode: u32, most: usize, ops: &mut Vec<Op>) -> usize {
    let mut decoder = Decoder::with_ip(bitness(mode), bytes, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut size = 0;
    for _ in 0..most {
        if !decoder.can_decode() {
            break;
        }
        decoder.decode_out(&mut instruction);
        if decoder.last_error() == DecoderError::NoMoreBytes {
            break;
        }
        let from = size;
        size = decoder.position();
        ops.push(op(&instruction, &bytes[from..size], mode));
        if instruction.is_invalid() || instruction.flow_control() != FlowControl::Next {
            break;
        }
    }
    size
}

/// Decodes one instruction. None where there are too few bytes.
pub fn one(bytes: &[u8], mode: u32) -> Option<Op> {
    let mut decoder = Decoder::with_ip(bitness(mode), bytes, 0, DecoderOptions::NONE);
    if !decoder.can_decode() {
        return None;
    }
    let instruction = decoder.decode();
    if decoder.last_error() == DecoderError::NoMoreBytes && bytes.len() < 15 {
        return None;
    }
    Some(op(&instruction, &bytes[..decoder.position()], mode))
}

/// The number of a general register, of a vector register, or of a segment register.
pub fn number(register: Register) -> u8 {
    match register {
        Register::AH => HIGH,
        Register::CH => HIGH + 1,
        Register::DH => HIGH + 2,
        Register::BH => HIGH + 3,
        Register::ES => segment::ES as u8,
        Register::CS => segment::CS as u8,
        Register::SS => segment::SS as u8,
        Register::DS => segment::DS as u8,
        Register::FS => segment::FS as u8,
        Register::GS => segment::GS as u8,
        Register::None => NO_NUMBER,
        // iced-x86 counts the high halves among those of 8 bits.
        _ if register.is_gpr8() => register.full_register().number() as u8,
        _ => register.number() as u8,
    }
}

fn is_memory(kind: OpKind) -> bool {
    kind == OpKind::Memory
}

fn op(instruction: &Instruction, bytes: &[u8], mode: u32) -> Op {
    let long = mode & Mode::LONG != 0;
    let mut op = Op {
        handler: instructions::invalid,
        length: instruction.len() as u8,
        a: 0,
        b: 0,
        c: 0,
        base: NO_NUMBER,
        index: NO_NUMBER,
        addressing: address::PLAIN << SCALE_BITS,
        quick: 0,
        segment: segment::DS as u8,
        prefixes: 0,
        code: instruction.code() as u16,
        displacement: 0,
        immediate: 0,
    };
    if instruction.is_invalid() {
        return op;
    }
    let registers = [0, 1, 2].map(|i| {
        if i < instruction.op_count() && instruction.op_kind(i) == OpKind::Register {
            number(instruction.op_register(i))
        } else {
            0
        }
    });
    [op.a, op.b, op.c] = registers;
    let mut address_size = bitness(mode) as usize / 8;
    for i in 0..instruction.op_count() {
        match instruction.op_kind(i) {
            kind if is_memory(kind) => memory(&mut op, instruction, mode),
            OpKind::Immediate8 | OpKind::Immediate16 | OpKind::Immediate32 | OpKind::Immediate64
            | OpKind::Immediate8to16 | OpKind::Immediate8to32 | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => {
                // ENTER and INSERTQ/EXTRQ have a second one (Immediate8_2nd).
                op.immediate = instruction.immediate(i);
            }
            OpKind::Immediate8_2nd => op.c = instruction.immediate8_2nd(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                op.immediate = instruction.near_branch_target().wrapping_sub(instruction.next_ip());
            }
            OpKind::FarBranch16 => {
                op.immediate = u64::from(instruction.far_branch16());
                op.displacement = u64::from(instruction.far_branch_selector());
            }
            OpKind::FarBranch32 => {
                op.immediate = u64::from(instruction.far_branch32());
                op.displacement = u64::from(instruction.far_branch_selector());
            }
            OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => address_size = 2,
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => address_size = 4,
            OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => address_size = 8,
            _ => {}
        }
    }
    op.segment = match instruction.memory_segment() {
        other if long && !matches!(other, Register::FS | Register::GS) => default_segment(instruction),
        Register::None => segment::DS as u8,
        other => number(other),
    };
    if instruction.has_rep_prefix() {
        op.prefixes |= prefix::REP;
    }
    if instruction.has_repne_prefix() {
        op.prefixes |= prefix::REPNE;
    }
    if instruction.has_lock_prefix() {
        op.prefixes |= prefix::LOCK;
    }
    match address_size {
        8 => op.prefixes |= prefix::ADDRESS64,
        2 => op.prefixes |= prefix::ADDRESS16,
        _ => {}
    }
    instructions::select(instruction, bytes, mode, &mut op);
    op.quick = instructions::quick::number(op.handler);
    op
}

/// 64-bit code's prefixes for other segments than FS and GS change nothing: which one it is makes the
/// difference between two exceptions only.
fn default_segment(instruction: &Instruction) -> u8 {
    match instruction.memory_base() {
        Register::RSP | Register::RBP | Register::ESP | Register::EBP => segment::SS as u8,
        _ => segment::DS as u8,
    }
}

fn memory(op: &mut Op, instruction: &Instruction, mode: u32) {
    let long = mode & Mode::LONG != 0;
    let base = instruction.memory_base();
    let index = instruction.memory_index();
    op.displacement = instruction.memory_displacement64();
    op.base = match base {
        Register::RIP | Register::EIP => {
            // iced-x86 has added the next instruction's address, which only the processor knows.
            op.displacement = op.displacement.wrapping_sub(instruction.next_ip());
            RIP_NUMBER
        }
        _ => number(base),
    };
    op.index = number(index);
    let scale = instruction.memory_index_scale().trailing_zeros() as u8;
    let size = if base != Register::None { base.size() } else { index.size() };
    let size = if base == Register::None && index == Register::None {
        instruction.memory_displ_size() as usize
    } else {
        size
    };
    let segment = instruction.memory_segment();
    let has_base = matches!(segment, Register::FS | Register::GS);
    let mut address = match size {
        2 => address::BITS16,
        4 => address::BITS32,
        _ if has_base => address::SEGMENT,
        _ => address::PLAIN,
    };
    // Without a base or an index, the displacement of 64-bit code is sign-extended; only with the
    // address size prefix it is one of 32 bits.
    if long && base == Register::None && index == Register::None {
        let short = instruction.memory_displ_size() == 4 && op.displacement >> 32 == 0
            && op.displacement >> 31 != 0;
        address = if short {
            address::BITS32
        } else if has_base {
            address::SEGMENT
        } else {
            address::PLAIN
        };
    }
    if !long && address == address::PLAIN {
        address = address::BITS32;
    }
    if mode & Mode::FLAT != 0 && address == address::BITS32 && !has_base {
        address = address::FLAT;
    }
    op.set_addressing(address, scale);
}

impl Cpu {
    #[inline(always)]
    fn address_register(&self, number: u8) -> u64 {
        // RIP and zero lie behind the general registers: see `RIP_NUMBER`.
        unsafe { *(&raw const self.state.gpr).cast::<u64>().add(number as usize) }
    }

    /// An instruction's memory operand, without segment.
    #[inline(always)]
    pub fn offset(&self, op: &Op) -> u64 {
        self.address_register(op.base)
            .wrapping_add(self.address_register(op.index) << op.scale())
            .wrapping_add(op.displacement)
    }

    /// The linear address of an instruction's memory operand.
    #[inline(always)]
    pub fn address(&self, op: &Op) -> u64 {
        let offset = self.offset(op);
        match op.address_kind() {
            address::PLAIN => offset,
            address::FLAT => offset & 0xffff_ffff,
            _ => self.address_slow(op, offset),
        }
    }

    #[inline(never)]
    fn address_slow(&self, op: &Op, offset: u64) -> u64 {
        self.linear(op.segment, self.cut(op, offset))
    }

    /// LEA's result before it is cut to the operand's size.
    pub fn cut(&self, op: &Op, offset: u64) -> u64 {
        match op.address_kind() {
            address::BITS32 | address::FLAT => offset & 0xffff_ffff,
            address::BITS16 => offset & 0xffff,
            _ => offset,
        }
    }

    /// An offset in a segment as a linear address.
    #[inline(always)]
    pub fn linear(&self, segment: u8, offset: u64) -> u64 {
        let sum = offset.wrapping_add(self.segment_base(segment as usize));
        if self.long() {
            sum
        } else {
            sum & 0xffff_ffff
        }
    }
}

/// Whether the interpreter has the instruction with which these bytes begin.
pub fn has_handler(bytes: &[u8], mode: u32) -> bool {
    one(bytes, mode).is_some_and(|op| op.handler as usize != instructions::invalid as Handler as usize)
}
