//! The control word and the bits of the status word (Intel SDM vol. 1, 8.1.3 and 8.1.5).

/// Bits of the status word. The exceptions' masks have the same places in the control word.
pub mod status {
    /// Invalid operation.
    pub const INVALID: u16 = 0x0001;
    /// Denormal operand.
    pub const DENORMAL: u16 = 0x0002;
    /// Division by zero.
    pub const ZERO_DIVIDE: u16 = 0x0004;
    /// Overflow.
    pub const OVERFLOW: u16 = 0x0008;
    /// Underflow.
    pub const UNDERFLOW: u16 = 0x0010;
    /// Precision (inexact result).
    pub const PRECISION: u16 = 0x0020;
    /// Stack fault: the invalid operation was an overflow or underflow of the register stack.
    pub const STACK_FAULT: u16 = 0x0040;
    /// Error summary: an unmasked exception is pending.
    pub const SUMMARY: u16 = 0x0080;
    /// Condition code C0.
    pub const C0: u16 = 0x0100;
    /// Condition code C1: rounded up, or stack overflow rather than underflow.
    pub const C1: u16 = 0x0200;
    /// Condition code C2.
    pub const C2: u16 = 0x0400;
    /// Number of the register that is ST(0).
    pub const TOP: u16 = 0x3800;
    /// Condition code C3.
    pub const C3: u16 = 0x4000;
    /// Busy: mirrors `SUMMARY`.
    pub const BUSY: u16 = 0x8000;
    /// All six exceptions.
    pub const EXCEPTIONS: u16 = 0x003f;
    /// All four condition codes.
    pub const CONDITIONS: u16 = C0 | C1 | C2 | C3;
}

/// How inexact results are rounded (bits 11 and 10 of the control word).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    /// To the nearest, ties to even.
    Nearest,
    /// Toward minus infinity.
    Down,
    /// Toward plus infinity.
    Up,
    /// Toward zero.
    Zero,
}

/// A control word: exception masks, precision and rounding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Control(pub u16);

impl Control {
    /// What FNINIT loads: all exceptions masked, 64-bit precision, to the nearest.
    pub const INITIAL: Control = Control(0x037f);
    const PRECISION: u16 = 0x0300;
    const ROUNDING: u16 = 0x0c00;

    /// The rounding mode.
    #[inline]
    pub const fn rounding(self) -> Rounding {
        match self.0 & Control::ROUNDING {
            0x0000 => Rounding::Nearest,
            0x0400 => Rounding::Down,
            0x0800 => Rounding::Up,
            _ => Rounding::Zero,
        }
    }

    /// Bits of the significand to which add, subtract, multiply, divide and square root round.
    #[inline]
    pub const fn precision_bits(self) -> u32 {
        match self.0 & Control::PRECISION {
            0x0000 => 24,
            0x0200 => 53,
            // 0x0100 is reserved; processors treat it as extended precision.
            _ => 64,
        }
    }

    /// This word with extended precision, for instructions that precision control does not concern.
    #[inline]
    pub(crate) const fn extended(self) -> Control {
        Control(self.0 | Control::PRECISION)
    }

    /// This word with another rounding mode.
    #[inline]
    pub(crate) const fn toward_zero(self) -> Control {
        Control(self.0 | Control::ROUNDING)
    }

    /// Rounding to the nearest and extended precision, what nearly all code uses.
    #[inline]
    pub(crate) const fn is_common(self) -> bool {
        self.0 & (Control::PRECISION | Control::ROUNDING) == Control::PRECISION
    }

    /// Whether all the exceptions in `flags` are masked.
    #[inline]
    pub const fn masks(self, flags: u16) -> bool {
        flags & status::EXCEPTIONS & !self.0 == 0
    }
}
