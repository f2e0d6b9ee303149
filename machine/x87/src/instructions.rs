//! The instructions (Intel SDM vol. 2), as methods that take and give plain values.
//!
//! Waiting instructions have to ask `Fpu::pending_exception` first. Instructions that store to memory
//! return `None` when an unmasked exception forbids it. They change the state (TOP, status) at once:
//! check that the destination can be written before, or restore a copy of the state when it cannot.

use crate::arith::{self, compare, Operand, Operation, Relation};
use crate::control::{status, Control};
use crate::convert;
use crate::f80::{Class, F80};
use crate::fpu::Fpu;
use crate::remainder::{extract, remainder, scale, Quotient};
use crate::round::{rounds_up, HALF};
use crate::transcendental;

/// A constant that an instruction loads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Constant {
    /// FLD1: 1
    One,
    /// FLDL2T: log2(10)
    Log2Of10,
    /// FLDL2E: log2(e)
    Log2OfE,
    /// FLDPI: pi
    Pi,
    /// FLDLG2: log10(2)
    Log10Of2,
    /// FLDLN2: ln(2)
    LnOf2,
    /// FLDZ: +0
    Zero,
}

impl Constant {
    /// The value, rounded from a longer one as the control word says (without any exception).
    fn value(self, control: Control) -> F80 {
        // Exponent, the first 64 bits, and whether the rest is above one half (`HALF | 1`) or below.
        let (exponent, significand, rest) = match self {
            Constant::One => return F80::ONE,
            Constant::Zero => return F80::ZERO,
            Constant::Log2Of10 => (0x4000, 0xd49a_784b_cd1b_8afe, 1),
            Constant::Log2OfE => (0x3fff, 0xb8aa_3b29_5c17_f0bb, HALF | 1),
            Constant::Pi => (0x4000, 0xc90f_daa2_2168_c234, HALF | 1),
            Constant::Log10Of2 => (0x3ffd, 0x9a20_9a84_fbcf_f798, HALF | 1),
            Constant::LnOf2 => (0x3ffe, 0xb172_17f7_d1cf_79ab, HALF | 1),
        };
        let up = rounds_up(control.rounding(), false, significand & 1 != 0, rest);
        F80::new(exponent, significand + up as u64)
    }
}

fn is_nan(value: F80) -> bool {
    matches!(value.class(), Class::QuietNan | Class::SignalingNan)
}

/// Arithmetic.
impl Fpu {
    /// FADD, FMUL, FSUB, FSUBR, FDIV, FDIVR ST(0), ST(i)
    #[inline]
    pub fn arithmetic_st0(&mut self, operation: Operation, i: usize) {
        if self.is_empty(0) || self.is_empty(i) {
            return self.underflow_into(0, false);
        }
        let result = operation.apply(self.control(), self.st(0).into(), self.st(i).into());
        self.finish(0, result);
    }

    /// FADD, FMUL, FSUB, FSUBR, FDIV, FDIVR ST(i), ST(0), and with `pop` FADDP and so on. The operation
    /// is what the name says with ST(i) as destination: `Subtract` is ST(i) - ST(0).
    #[inline]
    pub fn arithmetic_sti(&mut self, operation: Operation, i: usize, pop: bool) {
        if self.is_empty(0) || self.is_empty(i) {
            return self.underflow_into(i, pop);
        }
        let result = operation.apply(self.control(), self.st(i).into(), self.st(0).into());
        if self.finish(i, result) && pop {
            self.pop();
        }
    }

    /// FADD and so on with a single-precision operand.
    #[inline]
    pub fn arithmetic_f32(&mut self, operation: Operation, bits: u32) {
        self.arithmetic_memory(operation, convert::from_f32(bits));
    }

    /// FADD and so on with a double-precision operand.
    #[inline]
    pub fn arithmetic_f64(&mut self, operation: Operation, bits: u64) {
        self.arithmetic_memory(operation, convert::from_f64(bits));
    }

    /// FIADD and so on with a 16-bit operand.
    #[inline]
    pub fn arithmetic_i16(&mut self, operation: Operation, value: i16) {
        self.arithmetic_memory(operation, convert::from_i64(value as i64).into());
    }

    /// FIADD and so on with a 32-bit operand.
    #[inline]
    pub fn arithmetic_i32(&mut self, operation: Operation, value: i32) {
        self.arithmetic_memory(operation, convert::from_i64(value as i64).into());
    }

    #[inline]
    fn arithmetic_memory(&mut self, operation: Operation, source: Operand) {
        if self.is_empty(0) {
            return self.underflow_into(0, false);
        }
        let result = operation.apply(self.control(), self.st(0).into(), source);
        self.finish(0, result);
    }

    /// Writes ST(i) unless an unmasked exception forbids it, and says whether it did.
    #[inline]
    fn finish(&mut self, i: usize, (value, flags): (F80, u16)) -> bool {
        let written = self.raise(flags);
        if written {
            self.set(i, value);
        }
        written
    }

    /// Stack underflow of an operation whose result goes to ST(i).
    #[cold]
    fn underflow_into(&mut self, i: usize, pop: bool) {
        if self.stack_underflow() {
            self.set(i, F80::INDEFINITE);
            if pop {
                self.pop();
            }
        }
    }

    /// An instruction that replaces ST(0) by a function of it.
    #[inline]
    fn unary(&mut self, function: impl FnOnce(Control, F80) -> (F80, u16)) {
        if self.is_empty(0) {
            return self.underflow_into(0, false);
        }
        let result = function(self.control(), self.st(0));
        self.finish(0, result);
    }

    /// FSQRT
    pub fn fsqrt(&mut self) {
        self.unary(arith::square_root);
    }

    /// FRNDINT
    pub fn frndint(&mut self) {
        self.unary(convert::round_to_integral);
    }

    /// FCHS
    #[inline]
    pub fn fchs(&mut self) {
        self.unary(|_, value| (value.negated(), 0));
    }

    /// FABS
    #[inline]
    pub fn fabs(&mut self) {
        self.unary(|_, value| (value.absolute(), 0));
    }

    /// FPREM
    pub fn fprem(&mut self) {
        self.remainder(Quotient::Truncated);
    }

    /// FPREM1
    pub fn fprem1(&mut self) {
        self.remainder(Quotient::Nearest);
    }

    fn remainder(&mut self, quotient: Quotient) {
        self.status &= !status::C2;
        if self.is_empty(0) || self.is_empty(1) {
            return self.underflow_into(0, false);
        }
        let (value, flags) = remainder(self.control(), self.st(0), self.st(1), quotient);
        // Without a remainder, C0 and C3 stay; the flags bring the new ones.
        let conditions = self.status & (status::C0 | status::C3);
        if self.finish(0, (value, flags)) && !is_nan(value) {
            self.status &= !(conditions & !flags);
        }
    }

    /// FSCALE
    pub fn fscale(&mut self) {
        if self.is_empty(0) || self.is_empty(1) {
            return self.underflow_into(0, false);
        }
        let result = scale(self.control(), self.st(0), self.st(1));
        self.finish(0, result);
    }

    /// FXTRACT
    pub fn fxtract(&mut self) {
        if self.is_empty(0) {
            if self.stack_underflow() {
                self.set(0, F80::INDEFINITE);
                self.push(F80::INDEFINITE);
            }
            return;
        }
        if !self.is_empty(7) {
            return self.overflow_pair();
        }
        let (exponent, significand, flags) = extract(self.st(0));
        if self.raise(flags) {
            self.set(0, exponent);
            self.push(significand);
        }
    }

    /// Stack overflow of an instruction that replaces ST(0) and pushes a second result.
    #[cold]
    fn overflow_pair(&mut self) {
        if self.stack_overflow() {
            self.set(0, F80::INDEFINITE);
            self.push(F80::INDEFINITE);
        }
    }
}

/// Transcendental functions.
impl Fpu {
    /// F2XM1
    pub fn f2xm1(&mut self) {
        self.unary(transcendental::exp2_minus_1);
    }

    /// FYL2X
    pub fn fyl2x(&mut self) {
        self.binary_pop(transcendental::y_log2_x);
    }

    /// FYL2XP1
    pub fn fyl2xp1(&mut self) {
        self.binary_pop(transcendental::y_log2_x_plus_1);
    }

    /// FPATAN
    pub fn fpatan(&mut self) {
        self.binary_pop(transcendental::arctangent);
    }

    /// A function of ST(1) and ST(0), in this order, that replaces both.
    fn binary_pop(&mut self, function: impl FnOnce(Control, F80, F80) -> (F80, u16)) {
        if self.is_empty(0) || self.is_empty(1) {
            return self.underflow_into(1, true);
        }
        let result = function(self.control(), self.st(1), self.st(0));
        if self.finish(1, result) {
            self.pop();
        }
    }

    /// FSIN
    pub fn fsin(&mut self) {
        self.trigonometric(transcendental::sine);
    }

    /// FCOS
    pub fn fcos(&mut self) {
        self.trigonometric(transcendental::cosine);
    }

    fn trigonometric(&mut self, function: impl FnOnce(Control, F80) -> (F80, u16)) {
        self.status &= !status::C2;
        if !self.is_empty(0) && transcendental::is_out_of_range(self.st(0)) {
            self.status = self.status & !status::C1 | status::C2;
            return;
        }
        self.unary(function);
    }

    /// FSINCOS
    pub fn fsincos(&mut self) {
        self.trigonometric_pair(|control, value| {
            let (sine, flags) = transcendental::sine(control, value);
            let (cosine, more) = transcendental::cosine(control, value);
            (sine, cosine, flags | more)
        });
    }

    /// FPTAN
    pub fn fptan(&mut self) {
        self.trigonometric_pair(|control, value| {
            let (tangent, flags) = transcendental::tangent(control, value);
            (
                tangent,
                if is_nan(tangent) { tangent } else { F80::ONE },
                flags,
            )
        });
    }

    fn trigonometric_pair(&mut self, function: impl FnOnce(Control, F80) -> (F80, F80, u16)) {
        self.status &= !status::C2;
        if self.is_empty(0) {
            if self.stack_underflow() {
                self.set(0, F80::INDEFINITE);
                self.push(F80::INDEFINITE);
            }
            return;
        }
        if !self.is_empty(7) {
            return self.overflow_pair();
        }
        if transcendental::is_out_of_range(self.st(0)) {
            self.status = self.status & !status::C1 | status::C2;
            return;
        }
        let (first, second, flags) = function(self.control(), self.st(0));
        if self.raise(flags) {
            self.set(0, first);
            self.push(second);
        }
    }
}

/// Loads.
impl Fpu {
    /// FLD ST(i)
    #[inline]
    pub fn fld_st(&mut self, i: usize) {
        if self.is_empty(i) || !self.is_empty(7) {
            let masked = if self.is_empty(i) {
                self.stack_underflow()
            } else {
                self.stack_overflow()
            };
            if masked {
                self.push(F80::INDEFINITE);
            }
            return;
        }
        self.clear_c1();
        self.push(self.st(i));
    }

    /// FLD m80fp
    #[inline]
    pub fn fld_f80(&mut self, value: F80) {
        self.load((value, 0));
    }

    /// FLD m32fp
    #[inline]
    pub fn fld_f32(&mut self, bits: u32) {
        self.load(convert::load(convert::from_f32(bits)));
    }

    /// FLD m64fp
    #[inline]
    pub fn fld_f64(&mut self, bits: u64) {
        self.load(convert::load(convert::from_f64(bits)));
    }

    /// FILD m16int, m32int or m64int
    #[inline]
    pub fn fild(&mut self, value: i64) {
        self.load((convert::from_i64(value), 0));
    }

    /// FBLD
    pub fn fbld(&mut self, bytes: [u8; 10]) {
        self.load((convert::from_decimal(bytes), 0));
    }

    /// FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ
    pub fn fld_constant(&mut self, constant: Constant) {
        self.load((constant.value(self.control()), 0));
    }

    #[inline]
    fn load(&mut self, (value, flags): (F80, u16)) {
        if !self.is_empty(7) {
            if self.stack_overflow() {
                self.push(F80::INDEFINITE);
            }
            return;
        }
        // A denormal is loaded even if its exception is unmasked.
        if self.raise(flags) || flags & status::INVALID == 0 {
            self.push(value);
        }
    }
}

/// Stores.
impl Fpu {
    /// FST ST(i), with `pop` FSTP ST(i)
    #[inline]
    pub fn fst_st(&mut self, i: usize, pop: bool) {
        if self.is_empty(0) {
            return self.underflow_into(i, pop);
        }
        self.clear_c1();
        self.set(i, self.st(0));
        if pop {
            self.pop();
        }
    }

    /// FSTP ST(i) in its undocumented encoding D9 D8+i: an empty ST(0) is popped without more ado.
    pub fn fstp_st_unchecked(&mut self, i: usize) {
        if self.is_empty(0) {
            self.clear_c1();
            return self.pop();
        }
        self.fst_st(i, true);
    }

    /// FST m32fp, with `pop` FSTP m32fp
    #[inline]
    pub fn fst_f32(&mut self, pop: bool) -> Option<u32> {
        self.store(pop, convert::to_f32)
    }

    /// FST m64fp, with `pop` FSTP m64fp
    #[inline]
    pub fn fst_f64(&mut self, pop: bool) -> Option<u64> {
        self.store(pop, convert::to_f64)
    }

    /// FSTP m80fp
    #[inline]
    pub fn fstp_f80(&mut self) -> Option<F80> {
        if self.is_empty(0) {
            if !self.stack_underflow() {
                return None;
            }
            self.pop();
            return Some(F80::INDEFINITE);
        }
        self.clear_c1();
        let value = self.st(0);
        self.pop();
        Some(value)
    }

    /// FIST m16int, with `pop` FISTP m16int
    #[inline]
    pub fn fist_i16(&mut self, pop: bool) -> Option<i16> {
        self.store(pop, convert::to_i16)
    }

    /// FIST m32int, with `pop` FISTP m32int
    #[inline]
    pub fn fist_i32(&mut self, pop: bool) -> Option<i32> {
        self.store(pop, convert::to_i32)
    }

    /// FISTP m64int
    #[inline]
    pub fn fistp_i64(&mut self) -> Option<i64> {
        self.store(true, convert::to_i64)
    }

    /// FISTTP m16int
    #[inline]
    pub fn fisttp_i16(&mut self) -> Option<i16> {
        self.store(true, |control, value| {
            convert::to_i16(control.toward_zero(), value)
        })
    }

    /// FISTTP m32int
    #[inline]
    pub fn fisttp_i32(&mut self) -> Option<i32> {
        self.store(true, |control, value| {
            convert::to_i32(control.toward_zero(), value)
        })
    }

    /// FISTTP m64int
    #[inline]
    pub fn fisttp_i64(&mut self) -> Option<i64> {
        self.store(true, |control, value| {
            convert::to_i64(control.toward_zero(), value)
        })
    }

    /// FBSTP
    pub fn fbstp(&mut self) -> Option<[u8; 10]> {
        self.store(true, convert::to_decimal)
    }

    #[inline]
    fn store<T>(&mut self, pop: bool, convert: impl Fn(Control, F80) -> (T, u16)) -> Option<T> {
        let (value, flags) = if self.is_empty(0) {
            // The indefinite value of the destination's type: what an unsupported encoding gives.
            let (value, _) = convert(self.control(), F80::new(0xffff, 0));
            (value, status::INVALID | status::STACK_FAULT)
        } else {
            convert(self.control(), self.st(0))
        };
        if !self.raise_store(flags) {
            return None;
        }
        if pop {
            self.pop();
        }
        Some(value)
    }
}

/// Comparisons.
impl Fpu {
    /// FCOM ST(i), FCOMP, FCOMPP (`pops` 0, 1, 2); with `quiet` FUCOM, FUCOMP, FUCOMPP.
    pub fn fcom_st(&mut self, i: usize, quiet: bool, pops: u32) {
        if self.is_empty(0) || self.is_empty(i) {
            return self.compare_underflow(pops);
        }
        let result = compare(self.st(0).into(), self.st(i).into(), quiet);
        self.finish_compare(result, pops);
    }

    /// FCOM m32fp, with `pop` FCOMP m32fp
    pub fn fcom_f32(&mut self, bits: u32, pop: bool) {
        self.compare_memory(convert::from_f32(bits), pop);
    }

    /// FCOM m64fp, with `pop` FCOMP m64fp
    pub fn fcom_f64(&mut self, bits: u64, pop: bool) {
        self.compare_memory(convert::from_f64(bits), pop);
    }

    /// FICOM m16int, with `pop` FICOMP m16int
    pub fn ficom_i16(&mut self, value: i16, pop: bool) {
        self.compare_memory(convert::from_i64(value as i64).into(), pop);
    }

    /// FICOM m32int, with `pop` FICOMP m32int
    pub fn ficom_i32(&mut self, value: i32, pop: bool) {
        self.compare_memory(convert::from_i64(value as i64).into(), pop);
    }

    /// FTST
    pub fn ftst(&mut self) {
        self.compare_memory(F80::ZERO.into(), false);
    }

    fn compare_memory(&mut self, source: Operand, pop: bool) {
        let pops = pop as u32;
        if self.is_empty(0) {
            return self.compare_underflow(pops);
        }
        let result = compare(self.st(0).into(), source, false);
        self.finish_compare(result, pops);
    }

    #[cold]
    fn compare_underflow(&mut self, pops: u32) {
        let flags = status::INVALID | status::STACK_FAULT;
        self.finish_compare((Relation::Unordered, flags), pops);
    }

    fn finish_compare(&mut self, (relation, flags): (Relation, u16), pops: u32) {
        // The processor sets the condition codes even if an exception is unmasked.
        let pops = if self.raise(flags) { pops } else { 0 };
        self.set_conditions(relation.conditions());
        for _ in 0..pops {
            self.pop();
        }
    }

    /// FCOMI, FCOMIP and with `quiet` FUCOMI, FUCOMIP. The relation goes to ZF, PF and CF (see
    /// `Relation::flags`).
    pub fn fcomi(&mut self, i: usize, quiet: bool, pop: bool) -> Relation {
        let (relation, flags) = if self.is_empty(0) || self.is_empty(i) {
            (Relation::Unordered, status::INVALID | status::STACK_FAULT)
        } else {
            compare(self.st(0).into(), self.st(i).into(), quiet)
        };
        let c1 = self.status & status::C1;
        if self.raise(flags) && pop {
            self.pop();
        }
        if flags & status::STACK_FAULT == 0 {
            self.status |= c1;
        }
        relation
    }

    /// FXAM
    pub fn fxam(&mut self) {
        let class = if self.is_empty(0) {
            status::C3 | status::C0
        } else {
            match self.st(0).class() {
                Class::Unsupported => 0,
                Class::SignalingNan | Class::QuietNan => status::C0,
                Class::Normal => status::C2,
                Class::Infinity => status::C2 | status::C0,
                Class::Zero => status::C3,
                Class::Denormal => status::C3 | status::C2,
            }
        };
        let sign = if self.st(0).is_negative() {
            status::C1
        } else {
            0
        };
        self.set_conditions(class | sign);
    }
}

/// Moves within the stack, and its management.
impl Fpu {
    /// FXCH ST(i)
    #[inline]
    pub fn fxch(&mut self, i: usize) {
        let (mut top, mut other) = (self.st(0), self.st(i));
        if self.is_empty(0) || self.is_empty(i) {
            if !self.stack_underflow() {
                return;
            }
            if self.is_empty(0) {
                top = F80::INDEFINITE;
            }
            if self.is_empty(i) {
                other = F80::INDEFINITE;
            }
        } else {
            self.clear_c1();
        }
        self.set(0, other);
        self.set(i, top);
    }

    /// FCMOVcc: ST(i) to ST(0) if the condition holds.
    #[inline]
    pub fn fcmov(&mut self, i: usize, condition: bool) {
        if self.is_empty(0) || self.is_empty(i) {
            return self.underflow_into(0, false);
        }
        if condition {
            self.set(0, self.st(i));
        }
    }

    /// FINCSTP
    pub fn fincstp(&mut self) {
        self.clear_c1();
        self.top = (self.top + 1) & 7;
    }

    /// FDECSTP
    pub fn fdecstp(&mut self) {
        self.clear_c1();
        self.top = self.top.wrapping_sub(1) & 7;
    }

    /// FFREE ST(i), with `pop` the undocumented FFREEP
    pub fn ffree(&mut self, i: usize, pop: bool) {
        self.clear_c1();
        self.full &= !(1 << (self.top().wrapping_add(i) & 7));
        if pop {
            self.pop();
        }
    }

    /// FNOP
    pub fn fnop(&mut self) {}
}

impl Relation {
    /// ZF, PF and CF as FCOMI and FUCOMI set them; they clear OF, SF and AF.
    #[inline]
    pub const fn flags(self) -> (bool, bool, bool) {
        match self {
            Relation::Greater => (false, false, false),
            Relation::Less => (false, false, true),
            Relation::Equal => (true, false, false),
            Relation::Unordered => (true, true, true),
        }
    }
}
