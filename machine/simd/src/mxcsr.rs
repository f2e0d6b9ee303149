//! The control and status register of the SIMD floating point unit (Intel SDM volume 1, 10.2.3 and 11.5).

/// Invalid operation.
pub const IE: u32 = 1 << 0;
/// Denormal operand.
pub const DE: u32 = 1 << 1;
/// Division by zero.
pub const ZE: u32 = 1 << 2;
/// Overflow.
pub const OE: u32 = 1 << 3;
/// Underflow.
pub const UE: u32 = 1 << 4;
/// Precision: the result is not exact.
pub const PE: u32 = 1 << 5;
/// Denormals are zeros: denormal operands count as zeros of their sign.
pub const DAZ: u32 = 1 << 6;
/// How far left of its flag the mask of an exception lies.
pub const MASK_SHIFT: u32 = 7;
/// The rounding control's position; two bits.
pub const RC_SHIFT: u32 = 13;
/// Flush to zero: tiny results become zeros while underflow is masked.
pub const FTZ: u32 = 1 << 15;
/// All six flags.
pub const FLAGS: u32 = 0x3f;
/// The bits that LDMXCSR, FXRSTOR and XRSTOR accept; any other raises #GP. FXSAVE stores it as MXCSR_MASK.
pub const WRITABLE: u32 = 0xffff;

/// Rounding control: to nearest, ties to even.
pub const NEAREST: u32 = 0;
/// Rounding control: toward minus infinity.
pub const DOWN: u32 = 1;
/// Rounding control: toward plus infinity.
pub const UP: u32 = 2;
/// Rounding control: toward zero.
pub const ZERO: u32 = 3;

/// Where `execute` finds the flags of an operation's earlier steps: the register's own bits end below.
const REPORTED_SHIFT: u32 = 16;

/// The register's value.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mxcsr(pub u32);

impl Default for Mxcsr {
    /// The value after reset: all exceptions masked, rounding to nearest.
    fn default() -> Self {
        Mxcsr(0x1f80)
    }
}

/// An operation has raised an exception that is not masked: the caller raises #XM and writes no destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unmasked;

impl Mxcsr {
    /// The rounding control, `NEAREST` to `ZERO`.
    #[inline(always)]
    pub const fn rounding(self) -> u32 {
        self.0 >> RC_SHIFT & 3
    }

    /// Whether the host's own arithmetic, which rounds to nearest, is what the guest asks for.
    #[inline(always)]
    pub(crate) const fn nearest(self) -> bool {
        self.0 & 3 << RC_SHIFT == 0
    }

    /// Whether an inexact result need not be noticed any more, and the host's arithmetic is what the guest asks for.
    #[inline(always)]
    pub(crate) const fn nearest_and_inexact(self) -> bool {
        self.0 & (3 << RC_SHIFT | PE) == PE
    }

    #[inline(always)]
    pub(crate) fn raise(&mut self, flags: u32) {
        self.0 |= flags;
    }

    /// Whether the exception of this flag is masked.
    #[inline(always)]
    pub const fn masked(self, flag: u32) -> bool {
        self.0 & flag << MASK_SHIFT != 0
    }

    /// Whether every exception is masked, so that no operation can raise #XM.
    #[inline(always)]
    pub const fn all_masked(self) -> bool {
        self.0 & FLAGS << MASK_SHIFT == FLAGS << MASK_SHIFT
    }

    /// The end of a step of an operation of several: whether an exception that is not masked has been raised, so that
    /// the next step is not taken. What the steps so far have raised is reported in any case.
    pub(crate) fn ends_step(&mut self) -> bool {
        if self.all_masked() {
            return false;
        }
        let unmasked = self.0 & !(self.0 >> MASK_SHIFT) & FLAGS;
        if unmasked & (IE | DE | ZE) == 0 {
            self.0 |= (self.0 & FLAGS) << REPORTED_SHIFT;
        }
        unmasked != 0
    }

    /// Runs one instruction's operation (all of its lanes) and says whether it raised an exception that is not masked.
    ///
    /// Flags are sticky, so that a flag alone does not tell which instruction raised it. In either case this register
    /// holds afterwards what the processor leaves in MXCSR: the exceptions found before the computation (invalid,
    /// denormal, division by zero), if one of them is not masked, keep those found after it from being reported.
    #[inline(always)]
    pub fn execute<T>(&mut self, operation: impl FnOnce(&mut Mxcsr) -> T) -> Result<T, Unmasked> {
        if self.all_masked() {
            return Ok(operation(self));
        }
        let mut now = Mxcsr(self.0 & !FLAGS);
        let result = operation(&mut now);
        let mut raised = now.0 & FLAGS;
        let unmasked = !(self.0 >> MASK_SHIFT) & FLAGS;
        if raised & unmasked & (IE | DE | ZE) != 0 {
            raised &= IE | DE | ZE | now.0 >> REPORTED_SHIFT;
        }
        self.0 |= raised;
        if raised & unmasked != 0 {
            Err(Unmasked)
        } else {
            Ok(result)
        }
    }
}
