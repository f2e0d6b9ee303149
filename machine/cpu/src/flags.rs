//! The arithmetic flags CF, PF, AF, ZF, SF and OF.
//!
//! Most are overwritten before anybody reads them, so what is kept is what the last instruction
//! computed, and a flag is computed when it is asked for. Intel SDM volume 1, section 3.4.3.1.

pub const CF: u64 = 1 << 0;
pub const PF: u64 = 1 << 2;
pub const AF: u64 = 1 << 4;
pub const ZF: u64 = 1 << 6;
pub const SF: u64 = 1 << 7;
pub const OF: u64 = 1 << 11;
/// All that this module is about.
pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;

/// What the last instruction that has set flags was: `kind = operation << 2 | log2(bytes)`.
///
/// | operation | flags.result | flags.a | flags.b |
/// | --- | --- | --- | --- |
/// | EXPLICIT | the flags themselves, at their places in RFLAGS | | |
/// | ADD (also ADC) | the result | first operand | second operand |
/// | SUB (also SBB, CMP, NEG as 0 - x) | the result | first operand | second operand |
/// | LOGIC (CF = OF = AF = 0) | the result | | |
/// | INC, DEC | the result | | CF, 0 or 1 |
/// | GIVEN | the result, for ZF, SF and PF | | CF, AF and OF at their places in RFLAGS |
/// | MULTIPLY (IMUL with two operands) | the result | first operand | second operand |
///
/// Values are kept in the low bits; what is above the operand's size does not matter.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    pub result: u64,
    pub a: u64,
    pub b: u64,
    pub kind: u32,
    /// So that the structure has no bytes of unknown content.
    pub reserved: u32,
}

pub mod operation {
    pub const EXPLICIT: u32 = 0;
    pub const ADD: u32 = 1;
    pub const SUB: u32 = 2;
    pub const LOGIC: u32 = 3;
    pub const INC: u32 = 4;
    pub const DEC: u32 = 5;
    pub const GIVEN: u32 = 6;
    pub const MULTIPLY: u32 = 7;
}

impl Flags {
    #[inline(always)]
    pub fn explicit(flags: u64) -> Flags {
        Flags { result: flags & ARITHMETIC, a: 0, b: 0, kind: operation::EXPLICIT << 2, reserved: 0 }
    }

    #[inline(always)]
    fn operation(&self) -> u32 {
        self.kind >> 2
    }

    /// How far left a value goes so that its highest bit is bit 63.
    #[inline(always)]
    fn shift(&self) -> u32 {
        64 - (8 << (self.kind & 3))
    }

    /// The carry (ADD) or borrow (SUB) out of each bit.
    #[inline(always)]
    fn carries(&self) -> u64 {
        let Flags { result, a, b, .. } = *self;
        if self.operation() == operation::ADD {
            (a & b) | ((a | b) & !result)
        } else {
            (!a & b) | ((!a | b) & result)
        }
    }

    /// Whether the signed product of `a` and `b` does not fit.
    #[cold]
    fn product_overflows(&self) -> bool {
        let signed = |value: u64| i128::from((value << self.shift()) as i64 >> self.shift());
        signed(self.a) * signed(self.b) != signed(self.result)
    }

    #[inline(always)]
    pub fn cf(&self) -> bool {
        match self.operation() {
            operation::EXPLICIT => self.result & CF != 0,
            operation::ADD | operation::SUB => ((self.carries() << self.shift()) as i64) < 0,
            operation::INC | operation::DEC => self.b != 0,
            operation::GIVEN => self.b & CF != 0,
            operation::MULTIPLY => self.product_overflows(),
            _ => false,
        }
    }

    #[inline(always)]
    pub fn zf(&self) -> bool {
        if self.operation() == operation::EXPLICIT {
            self.result & ZF != 0
        } else {
            self.result << self.shift() == 0
        }
    }

    #[inline(always)]
    pub fn sf(&self) -> bool {
        if self.operation() == operation::EXPLICIT {
            self.result & SF != 0
        } else {
            ((self.result << self.shift()) as i64) < 0
        }
    }

    #[inline(always)]
    pub fn pf(&self) -> bool {
        if self.operation() == operation::EXPLICIT {
            self.result & PF != 0
        } else {
            (self.result as u8).count_ones() & 1 == 0
        }
    }

    #[inline(always)]
    pub fn af(&self) -> bool {
        match self.operation() {
            operation::EXPLICIT => self.result & AF != 0,
            operation::ADD | operation::SUB => (self.a ^ self.b ^ self.result) & 16 != 0,
            operation::INC => self.result & 15 == 0,
            operation::DEC => self.result & 15 == 15,
            operation::GIVEN => self.b & AF != 0,
            _ => false,
        }
    }

    #[inline(always)]
    pub fn of(&self) -> bool {
        let top = |value: u64| ((value << self.shift()) as i64) < 0;
        let Flags { result, a, b, .. } = *self;
        match self.operation() {
            operation::EXPLICIT => result & OF != 0,
            operation::ADD => top((a ^ result) & (b ^ result)),
            operation::SUB => top((a ^ b) & (a ^ result)),
            operation::INC => result << self.shift() == 1 << 63,
            operation::DEC => result << self.shift() == u64::MAX >> 1 >> self.shift() << self.shift(),
            operation::GIVEN => self.b & OF != 0,
            operation::MULTIPLY => self.product_overflows(),
            _ => false,
        }
    }

    /// All of them, at their places in RFLAGS.
    pub fn bits(&self) -> u64 {
        if self.operation() == operation::EXPLICIT {
            return self.result;
        }
        let mut bits = 0;
        for (set, bit) in [
            (self.cf(), CF),
            (self.pf(), PF),
            (self.af(), AF),
            (self.zf(), ZF),
            (self.sf(), SF),
            (self.of(), OF),
        ] {
            if set {
                bits |= bit;
            }
        }
        bits
    }

    /// Condition code `cc` of Jcc, SETcc and CMOVcc (Intel SDM volume 1, appendix B).
    #[inline(always)]
    pub fn condition(&self, cc: u8) -> bool {
        let holds = match cc >> 1 {
            0 => self.of(),
            1 => self.cf(),
            2 => self.zf(),
            3 => self.cf() || self.zf(),
            4 => self.sf(),
            5 => self.pf(),
            6 => self.sf() != self.of(),
            _ => self.zf() || self.sf() != self.of(),
        };
        holds != (cc & 1 != 0)
    }
}
