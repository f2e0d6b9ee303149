//! The state of the unit: register stack, control and status, and the rules by which exceptions are
//! masked or left pending (Intel SDM vol. 1, 8.1 and 8.5 to 8.7).

use crate::control::{status, Control};
use crate::f80::{Class, F80};

/// The x87 unit.
///
/// It has no padding, every bit pattern is a valid state, and nothing in it refers to memory: its bytes
/// may be saved and restored as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Fpu {
    /// Significands of the physical registers R0 to R7; the MMX registers MM0 to MM7 are the same.
    pub(crate) significands: [u64; 8],
    /// Signs and exponents of the physical registers.
    pub(crate) sign_exponents: [u16; 8],
    /// Offset of the last instruction that was not a control instruction.
    pub(crate) instruction_offset: u64,
    /// Offset of its memory operand, if it had one.
    pub(crate) data_offset: u64,
    pub(crate) instruction_selector: u16,
    pub(crate) data_selector: u16,
    /// The 11 bits of its opcode that are not always the same.
    pub(crate) opcode: u16,
    pub(crate) control: u16,
    /// The status word without TOP, the summary and the busy bit, which follow from the rest.
    pub(crate) status: u16,
    /// Which physical registers are not empty, bit i for Ri.
    pub(crate) full: u8,
    /// The physical register that is ST(0); only its lowest three bits count.
    pub(crate) top: u8,
    pub(crate) reserved: [u8; 4],
}

const _: () = assert!(core::mem::size_of::<Fpu>() == 112, "no padding");

/// The status bits that `Fpu::status` holds.
pub(crate) const STORED_STATUS: u16 = status::EXCEPTIONS | status::STACK_FAULT | status::CONDITIONS;
/// Writable bits of the control word; bit 6 always reads as 1.
const CONTROL_BITS: u16 = 0x1f3f;
const CONTROL_ONE: u16 = 0x0040;

impl Default for Fpu {
    fn default() -> Fpu {
        Fpu::new()
    }
}

impl Fpu {
    /// The state after FNINIT, all registers 0.
    pub const fn new() -> Fpu {
        Fpu {
            significands: [0; 8],
            sign_exponents: [0; 8],
            instruction_offset: 0,
            data_offset: 0,
            instruction_selector: 0,
            data_selector: 0,
            opcode: 0,
            control: Control::INITIAL.0,
            status: 0,
            full: 0,
            top: 0,
            reserved: [0; 4],
        }
    }

    /// FNINIT. The registers keep their contents, marked empty.
    pub fn fninit(&mut self) {
        let Fpu {
            significands,
            sign_exponents,
            ..
        } = *self;
        *self = Fpu {
            significands,
            sign_exponents,
            ..Fpu::new()
        };
    }

    /// The control word (FNSTCW).
    #[inline]
    pub fn control_word(&self) -> u16 {
        self.control
    }

    /// FLDCW. An exception that the new word unmasks is pending afterwards.
    #[inline]
    pub fn fldcw(&mut self, word: u16) {
        self.control = word & CONTROL_BITS | CONTROL_ONE;
    }

    /// The status word (FNSTSW).
    #[inline]
    pub fn status_word(&self) -> u16 {
        let summary = if self.pending_exception() {
            status::SUMMARY | status::BUSY
        } else {
            0
        };
        self.status | ((self.top as u16 & 7) << 11) | summary
    }

    /// Sets condition codes, exceptions and TOP as a status word says; the summary follows from the
    /// exceptions and their masks.
    pub fn set_status_word(&mut self, word: u16) {
        self.status = word & STORED_STATUS;
        self.top = ((word & status::TOP) >> 11) as u8;
    }

    /// Whether an unmasked exception is pending: the next waiting instruction (FWAIT, every x87
    /// instruction whose name does not begin with FN, every MMX instruction) has to raise #MF (or
    /// assert FERR#, as CR0.NE says) instead of being executed.
    #[inline]
    pub fn pending_exception(&self) -> bool {
        self.status & !self.control & status::EXCEPTIONS != 0
    }

    /// FNCLEX. The condition codes stay.
    #[inline]
    pub fn fnclex(&mut self) {
        self.status &= status::CONDITIONS;
    }

    /// Notes where an instruction that is not a control instruction stands, and the lowest three bits
    /// of its first opcode byte with its ModRM byte (D8 C1 is 0x0c1), for #MF handlers.
    #[inline]
    pub fn note_instruction(&mut self, selector: u16, offset: u64, opcode: u16) {
        self.instruction_selector = selector;
        self.instruction_offset = offset;
        self.opcode = opcode & 0x07ff;
    }

    /// Notes where the memory operand of such an instruction stands.
    #[inline]
    pub fn note_operand(&mut self, selector: u16, offset: u64) {
        self.data_selector = selector;
        self.data_offset = offset;
    }

    /// The tag word: two bits a physical register, R0 in the lowest; 0 valid, 1 zero, 2 special,
    /// 3 empty.
    pub fn tag_word(&self) -> u16 {
        (0..8).rev().fold(0, |word, index| {
            let tag = if self.full & (1 << index) == 0 {
                3
            } else {
                match self.physical(index).class() {
                    Class::Normal => 0,
                    Class::Zero => 1,
                    _ => 2,
                }
            };
            word << 2 | tag
        })
    }

    /// Which physical registers are not empty, as FXSAVE stores it.
    #[inline]
    pub fn abridged_tag_word(&self) -> u8 {
        self.full
    }

    /// Sets which registers are empty (tag 3); the other tags follow from the contents.
    pub fn set_tag_word(&mut self, word: u16) {
        self.full = (0..8).fold(0, |full, index| {
            let empty = word >> (2 * index) & 3 == 3;
            full | (!empty as u8) << index
        });
    }

    /// TOP, the number of the physical register that is ST(0).
    #[inline]
    pub fn top(&self) -> usize {
        self.top as usize & 7
    }

    /// The contents of a physical register (0 to 7).
    #[inline]
    pub fn physical(&self, index: usize) -> F80 {
        F80::new(self.sign_exponents[index & 7], self.significands[index & 7])
    }

    /// Sets the contents of a physical register without marking it as full.
    #[inline]
    pub fn set_physical(&mut self, index: usize, value: F80) {
        self.sign_exponents[index & 7] = value.sign_exponent;
        self.significands[index & 7] = value.significand;
    }

    /// The contents of ST(i), whether empty or not.
    #[inline]
    pub fn st(&self, i: usize) -> F80 {
        self.physical(self.top().wrapping_add(i))
    }

    /// Whether ST(i) is empty.
    #[inline]
    pub fn is_empty(&self, i: usize) -> bool {
        self.full & (1 << (self.top().wrapping_add(i) & 7)) == 0
    }

    /// Control word as arithmetic takes it.
    #[inline]
    pub(crate) fn control(&self) -> Control {
        Control(self.control)
    }

    /// Writes ST(i) and marks it as full.
    #[inline]
    pub(crate) fn set(&mut self, i: usize, value: F80) {
        let index = self.top().wrapping_add(i) & 7;
        self.set_physical(index, value);
        self.full |= 1 << index;
    }

    /// Marks ST(0) as empty and makes ST(1) the new top.
    #[inline]
    pub(crate) fn pop(&mut self) {
        self.full &= !(1 << self.top());
        self.top = (self.top + 1) & 7;
    }

    /// Makes a new ST(0).
    #[inline]
    pub(crate) fn push(&mut self, value: F80) {
        self.top = self.top.wrapping_sub(1) & 7;
        self.set(0, value);
    }

    /// Clears C1, as instructions that cannot round do.
    #[inline]
    pub(crate) fn clear_c1(&mut self) {
        self.status &= !status::C1;
    }

    /// Sets the condition codes that comparisons and FXAM give.
    #[inline]
    pub(crate) fn set_conditions(&mut self, conditions: u16) {
        self.status = self.status & !status::CONDITIONS | conditions;
    }

    /// Takes note of what an operation raised, with C1. Says whether a register may be written:
    /// unmasked invalid operations, denormal operands and divisions by zero leave all as it was.
    #[inline]
    pub(crate) fn raise(&mut self, flags: u16) -> bool {
        const BEFORE: u16 = status::INVALID | status::DENORMAL | status::ZERO_DIVIDE;
        if flags & BEFORE & !self.control == 0 {
            self.status = self.status & !status::C1 | flags;
            return true;
        }
        // What would have come after the exception has not happened.
        let kept = if flags & status::DENORMAL & !self.control != 0 {
            status::DENORMAL
        } else {
            flags & (status::INVALID | status::ZERO_DIVIDE | status::STACK_FAULT | status::C1)
        };
        self.status = self.status & !status::C1 | kept;
        false
    }

    /// The same for a result that goes to memory: unmasked over- and underflow forbid it, too, and
    /// leave no trace of the rounding.
    #[inline]
    pub(crate) fn raise_store(&mut self, flags: u16) -> bool {
        let range = flags & (status::OVERFLOW | status::UNDERFLOW);
        if range & !self.control == 0 {
            return self.raise(flags);
        }
        self.status = self.status & !status::C1 | range;
        false
    }

    /// An empty register was read. Says whether the masked answer, the indefinite value, goes on.
    #[cold]
    pub(crate) fn stack_underflow(&mut self) -> bool {
        self.raise(status::INVALID | status::STACK_FAULT)
    }

    /// A full register would be pushed onto.
    #[cold]
    pub(crate) fn stack_overflow(&mut self) -> bool {
        self.raise(status::INVALID | status::STACK_FAULT | status::C1)
    }
}
