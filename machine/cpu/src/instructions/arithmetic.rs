//! Addition to division, logic, comparisons.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::{by_width, is_memory, lazy, load_rm, operand_size, result_flags, set_zf, Byte, Dword, Qword, Width, Word};
use crate::decode::{Handler, Op};
use crate::exception::DIVIDE_ERROR;
use crate::flags::{operation, Flags, AF, ARITHMETIC, CF, OF};
use crate::state::{RAX, RDX};
use crate::{Cpu, Step};

/// What has two operands, of which the first is also the destination.
pub trait Binary: 'static {
    const WRITES: bool = true;
    /// Operands are zero above their size; results may have anything there.
    fn apply<W: Width>(flags: &Flags, a: u64, b: u64) -> (u64, Flags);
}

macro_rules! binary {
    ($($name:ident($flags:ident, $a:ident, $b:ident) = $operation:ident, $result:expr $(, $writes:ident)?;)*) => {$(
        pub struct $name;
        impl Binary for $name {
            $(const WRITES: bool = $writes!();)?
            #[inline(always)]
            fn apply<W: Width>($flags: &Flags, $a: u64, $b: u64) -> (u64, Flags) {
                let _ = $flags;
                let result = $result;
                (result, lazy::<W>(operation::$operation, result, $a, $b))
            }
        }
    )*};
}
macro_rules! compares { () => { false }; }

binary! {
    Add(flags, a, b) = ADD, a.wrapping_add(b);
    Adc(flags, a, b) = ADD, a.wrapping_add(b).wrapping_add(u64::from(flags.cf()));
    Sub(flags, a, b) = SUB, a.wrapping_sub(b);
    Sbb(flags, a, b) = SUB, a.wrapping_sub(b).wrapping_sub(u64::from(flags.cf()));
    And(flags, a, b) = LOGIC, a & b;
    Or(flags, a, b) = LOGIC, a | b;
    Xor(flags, a, b) = LOGIC, a ^ b;
    Cmp(flags, a, b) = SUB, a.wrapping_sub(b), compares;
    Test(flags, a, b) = LOGIC, a & b, compares;
}

/// The destination is a register.
#[inline(always)]
pub fn to_register<B: Binary, S: Source, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = S::load::<W>(cpu, op)?;
    let a = W::get(cpu, op.a);
    let (result, flags) = B::apply::<W>(&cpu.state.flags, a, b);
    cpu.state.flags = flags;
    if B::WRITES {
        W::set(cpu, op.a, result);
    }
    Ok(())
}

#[inline(always)]
pub fn to_memory<B: Binary, S: Source, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    let b = S::load::<W>(cpu, op)?;
    if B::WRITES {
        W::prepare(cpu, va)?;
    }
    let a = W::load(cpu, va)?;
    let (result, flags) = B::apply::<W>(&cpu.state.flags, a, b);
    if B::WRITES {
        W::store(cpu, va, result)?;
    }
    cpu.state.flags = flags;
    Ok(())
}

pub trait Source: 'static {
    fn load<W: Width>(cpu: &mut Cpu, op: &Op) -> Result<u64, crate::Stop>;
}

pub struct Register;
pub struct Immediate;
pub struct InMemory;

impl Source for Register {
    #[inline(always)]
    fn load<W: Width>(cpu: &mut Cpu, op: &Op) -> Result<u64, crate::Stop> {
        Ok(W::get(cpu, op.b))
    }
}

impl Source for Immediate {
    #[inline(always)]
    fn load<W: Width>(_: &mut Cpu, op: &Op) -> Result<u64, crate::Stop> {
        Ok(op.immediate & W::MASK)
    }
}

impl Source for InMemory {
    #[inline(always)]
    fn load<W: Width>(cpu: &mut Cpu, op: &Op) -> Result<u64, crate::Stop> {
        let va = cpu.address(op);
        W::load(cpu, va)
    }
}

fn select_binary<B: Binary>(instruction: &Instruction) -> Handler {
    let size = operand_size(instruction, 0);
    let source = instruction.op_kind(1);
    match (is_memory(instruction, 0), source) {
        (false, OpKind::Register) => by_width!(size, to_register, B, Register),
        (false, OpKind::Memory) => by_width!(size, to_register, B, InMemory),
        (false, _) => by_width!(size, to_register, B, Immediate),
        (true, OpKind::Register) => by_width!(size, to_memory, B, Register),
        (true, _) => by_width!(size, to_memory, B, Immediate),
    }
}

/// What has one operand.
trait Unary: 'static {
    fn apply<W: Width>(flags: &Flags, a: u64) -> (u64, Flags);
}

struct Inc;
struct Dec;
struct Neg;
struct Not;

impl Unary for Inc {
    #[inline(always)]
    fn apply<W: Width>(flags: &Flags, a: u64) -> (u64, Flags) {
        let result = a.wrapping_add(1);
        (result, lazy::<W>(operation::INC, result, 0, u64::from(flags.cf())))
    }
}

impl Unary for Dec {
    #[inline(always)]
    fn apply<W: Width>(flags: &Flags, a: u64) -> (u64, Flags) {
        let result = a.wrapping_sub(1);
        (result, lazy::<W>(operation::DEC, result, 0, u64::from(flags.cf())))
    }
}

impl Unary for Neg {
    #[inline(always)]
    fn apply<W: Width>(_: &Flags, a: u64) -> (u64, Flags) {
        let result = 0u64.wrapping_sub(a);
        (result, lazy::<W>(operation::SUB, result, 0, a))
    }
}

impl Unary for Not {
    #[inline(always)]
    fn apply<W: Width>(flags: &Flags, a: u64) -> (u64, Flags) {
        (!a, *flags)
    }
}

fn unary_register<U: Unary, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let (result, flags) = U::apply::<W>(&cpu.state.flags, W::get(cpu, op.a));
    cpu.state.flags = flags;
    W::set(cpu, op.a, result);
    Ok(())
}

fn unary_memory<U: Unary, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    W::prepare(cpu, va)?;
    let a = W::load(cpu, va)?;
    let (result, flags) = U::apply::<W>(&cpu.state.flags, a);
    W::store(cpu, va, result)?;
    cpu.state.flags = flags;
    Ok(())
}

fn select_unary<U: Unary>(instruction: &Instruction) -> Handler {
    let size = operand_size(instruction, 0);
    if is_memory(instruction, 0) {
        by_width!(size, unary_memory, U)
    } else {
        by_width!(size, unary_register, U)
    }
}

/// MUL and IMUL with one operand: the double-sized product of the accumulator.
fn multiply<const SIGNED: bool, const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = load_rm::<W, MEMORY>(cpu, op, op.a)?;
    let a = W::get(cpu, RAX as u8);
    let (low, high, overflow) = if SIGNED {
        let product = i128::from(W::signed(a)) * i128::from(W::signed(b));
        let low = product as u64 & W::MASK;
        (low, (product >> W::BITS) as u64, i128::from(W::signed(low)) != product)
    } else {
        let product = u128::from(a) * u128::from(b);
        let high = (product >> W::BITS) as u64;
        (product as u64 & W::MASK, high, high != 0)
    };
    if W::BITS == 8 {
        Word::set(cpu, RAX as u8, low | (high & 0xff) << 8);
    } else {
        W::set(cpu, RAX as u8, low);
        W::set(cpu, RDX as u8, high);
    }
    cpu.state.flags = result_flags::<W>(low, if overflow { CF | OF } else { 0 });
    Ok(())
}

/// IMUL with two or three operands.
fn multiply_into<const MEMORY: bool, const IMMEDIATE: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    let other = if IMMEDIATE { op.immediate & W::MASK } else { W::get(cpu, op.a) };
    let result = source.wrapping_mul(other);
    W::set(cpu, op.a, result);
    cpu.state.flags = lazy::<W>(operation::MULTIPLY, result, source, other);
    Ok(())
}

fn divide<const SIGNED: bool, const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let divisor = load_rm::<W, MEMORY>(cpu, op, op.a)?;
    if divisor == 0 {
        return cpu.raise(DIVIDE_ERROR, 0);
    }
    let (low, high) = if W::BITS == 8 {
        let ax = Word::get(cpu, RAX as u8);
        (ax & 0xff, ax >> 8)
    } else {
        (W::get(cpu, RAX as u8), W::get(cpu, RDX as u8))
    };
    let (quotient, remainder) = if SIGNED {
        let shift = 128 - 2 * W::BITS;
        let dividend = u128::from(high) << W::BITS | u128::from(low);
        let dividend = (dividend << shift) as i128 >> shift;
        let divisor = i128::from(W::signed(divisor));
        // Only of 128 bits the quotient may not be one: -2^127 / -1.
        let Some(quotient) = dividend.checked_div(divisor) else {
            return cpu.raise(DIVIDE_ERROR, 0);
        };
        if quotient != i128::from(W::signed(quotient as u64)) {
            return cpu.raise(DIVIDE_ERROR, 0);
        }
        (quotient as u64, (dividend % divisor) as u64)
    } else {
        if high >= divisor {
            return cpu.raise(DIVIDE_ERROR, 0);
        }
        if W::BITS == 64 && high != 0 {
            let dividend = u128::from(high) << 64 | u128::from(low);
            ((dividend / u128::from(divisor)) as u64, (dividend % u128::from(divisor)) as u64)
        } else {
            let dividend = if W::BITS == 64 { low } else { high << W::BITS | low };
            (dividend / divisor, dividend % divisor)
        }
    };
    if W::BITS == 8 {
        Word::set(cpu, RAX as u8, quotient & 0xff | (remainder & 0xff) << 8);
    } else {
        W::set(cpu, RAX as u8, quotient);
        W::set(cpu, RDX as u8, remainder);
    }
    Ok(())
}

/// CMPXCHG.
fn compare_exchange<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let accumulator = W::get(cpu, RAX as u8);
    let source = W::get(cpu, op.b);
    let va = if MEMORY { cpu.address(op) } else { 0 };
    if MEMORY {
        W::prepare(cpu, va)?;
    }
    let destination = load_rm::<W, MEMORY>(cpu, op, op.a)?;
    let equal = accumulator == destination;
    if MEMORY {
        // It is written in any case.
        W::store(cpu, va, if equal { source } else { destination })?;
    } else if equal {
        W::set(cpu, op.a, source);
    }
    if !equal {
        W::set(cpu, RAX as u8, destination);
    }
    let result = accumulator.wrapping_sub(destination);
    cpu.state.flags = lazy::<W>(operation::SUB, result, accumulator, destination);
    Ok(())
}

/// CMPXCHG8B.
fn compare_exchange_8(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    cpu.prepare_store::<u64>(va)?;
    let destination = cpu.load::<u64>(va)?;
    let [a, c, d, b] = [RAX, crate::state::RCX, RDX, crate::state::RBX].map(|r| cpu.state.gpr[r] & 0xffff_ffff);
    let equal = destination == d << 32 | a;
    cpu.store::<u64>(va, if equal { c << 32 | b } else { destination })?;
    if !equal {
        cpu.state.gpr[RAX] = destination & 0xffff_ffff;
        cpu.state.gpr[RDX] = destination >> 32;
    }
    set_zf(cpu, equal);
    Ok(())
}

/// CMPXCHG16B.
fn compare_exchange_16(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    if va % 16 != 0 {
        return cpu.raise(crate::exception::GENERAL_PROTECTION, 0);
    }
    cpu.probe(va, 16, crate::Access::Write)?;
    let destination = cpu.load128(va)?;
    let equal = destination == [cpu.state.gpr[RAX], cpu.state.gpr[RDX]];
    let source = [cpu.state.gpr[crate::state::RBX], cpu.state.gpr[crate::state::RCX]];
    cpu.store128(va, if equal { source } else { destination })?;
    if !equal {
        [cpu.state.gpr[RAX], cpu.state.gpr[RDX]] = destination;
    }
    set_zf(cpu, equal);
    Ok(())
}

/// XADD.
fn exchange_add<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = W::get(cpu, op.b);
    let va = if MEMORY { cpu.address(op) } else { 0 };
    if MEMORY {
        W::prepare(cpu, va)?;
    }
    let destination = load_rm::<W, MEMORY>(cpu, op, op.a)?;
    let result = destination.wrapping_add(source);
    if MEMORY {
        W::store(cpu, va, result)?;
        W::set(cpu, op.b, destination);
    } else {
        // In this order: both may be the same register.
        W::set(cpu, op.b, destination);
        W::set(cpu, op.a, result);
    }
    cpu.state.flags = lazy::<W>(operation::ADD, result, destination, source);
    Ok(())
}

/// ADCX (CF) and ADOX (OF).
fn add_with<const FLAG: u64, const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = load_rm::<W, MEMORY>(cpu, op, op.b)?;
    let a = W::get(cpu, op.a);
    let bits = cpu.state.flags.bits();
    let sum = u128::from(a) + u128::from(b) + u128::from(bits & FLAG != 0);
    W::set(cpu, op.a, sum as u64);
    let carry = if sum >> W::BITS != 0 { FLAG } else { 0 };
    cpu.state.flags = Flags::explicit(bits & !FLAG | carry);
    Ok(())
}

// -- Decimal arithmetic, which only 32-bit code has ---------------------------

fn decimal_adjust<const SUBTRACT: bool>(cpu: &mut Cpu, _: &Op) -> Step {
    let al = Byte::get(cpu, RAX as u8);
    let old = cpu.state.flags;
    let mut flags = 0;
    let mut result = al;
    let mut adjust = |amount: u64| {
        result = if SUBTRACT { result.wrapping_sub(amount) } else { result.wrapping_add(amount) } & 0xff;
    };
    if al & 15 > 9 || old.af() {
        adjust(6);
        flags |= AF;
        if SUBTRACT && (al < 6 || old.cf()) {
            flags |= CF;
        }
    }
    if al > 0x99 || old.cf() {
        adjust(0x60);
        flags |= CF;
    }
    Byte::set(cpu, RAX as u8, result);
    cpu.state.flags = result_flags::<Byte>(result, flags);
    Ok(())
}

fn ascii_adjust<const SUBTRACT: bool>(cpu: &mut Cpu, _: &Op) -> Step {
    let mut ax = Word::get(cpu, RAX as u8);
    let old = cpu.state.flags;
    let adjusts = ax & 15 > 9 || old.af();
    if adjusts {
        ax = if SUBTRACT { ax.wrapping_sub(0x106) } else { ax.wrapping_add(0x106) };
    }
    ax &= 0xff0f;
    Word::set(cpu, RAX as u8, ax);
    cpu.state.flags = result_flags::<Byte>(ax & 0xff, if adjusts { AF | CF } else { 0 });
    Ok(())
}

fn ascii_multiply(cpu: &mut Cpu, op: &Op) -> Step {
    let base = op.immediate & 0xff;
    if base == 0 {
        return cpu.raise(DIVIDE_ERROR, 0);
    }
    let al = Byte::get(cpu, RAX as u8);
    Word::set(cpu, RAX as u8, (al / base) << 8 | al % base);
    cpu.state.flags = result_flags::<Byte>(al % base, 0);
    Ok(())
}

fn ascii_divide(cpu: &mut Cpu, op: &Op) -> Step {
    let ax = Word::get(cpu, RAX as u8);
    let al = (ax & 0xff).wrapping_add((ax >> 8).wrapping_mul(op.immediate & 0xff)) & 0xff;
    Word::set(cpu, RAX as u8, al);
    cpu.state.flags = result_flags::<Byte>(al, 0);
    Ok(())
}

fn set_al_from_carry(cpu: &mut Cpu, _: &Op) -> Step {
    let value = if cpu.state.flags.cf() { 0xff } else { 0 };
    Byte::set(cpu, RAX as u8, value);
    Ok(())
}

// -- The flags themselves ------------------------------------------------------

fn change_carry<const HOW: u8>(cpu: &mut Cpu, _: &Op) -> Step {
    let bits = cpu.state.flags.bits();
    cpu.state.flags = Flags::explicit(match HOW {
        0 => bits & !CF,
        1 => bits | CF,
        _ => bits ^ CF,
    });
    Ok(())
}

fn load_ah(cpu: &mut Cpu, _: &Op) -> Step {
    let bits = cpu.state.flags.bits() & 0xff | 2;
    Byte::set(cpu, crate::decode::HIGH, bits);
    Ok(())
}

fn store_ah(cpu: &mut Cpu, _: &Op) -> Step {
    let ah = Byte::get(cpu, crate::decode::HIGH);
    let of = cpu.state.flags.bits() & OF;
    cpu.state.flags = Flags::explicit(ah & ARITHMETIC & 0xff | of);
    Ok(())
}

/// `f::<MEMORY, Width>` for the operand that decides.
macro_rules! rm_width {
    ($instruction:expr, $operand:expr, $size:expr, $name:ident $(, $generic:tt)*) => {
        match (is_memory($instruction, $operand), $size) {
            (false, 1) => $name::<$($generic,)* false, Byte> as Handler,
            (false, 2) => $name::<$($generic,)* false, Word>,
            (false, 4) => $name::<$($generic,)* false, Dword>,
            (false, _) => $name::<$($generic,)* false, Qword>,
            (true, 1) => $name::<$($generic,)* true, Byte>,
            (true, 2) => $name::<$($generic,)* true, Word>,
            (true, 4) => $name::<$($generic,)* true, Dword>,
            (true, _) => $name::<$($generic,)* true, Qword>,
        }
    };
}
pub(super) use rm_width;

fn select_multiply_into<const IMMEDIATE: bool>(instruction: &Instruction) -> Handler {
    match (is_memory(instruction, 1), operand_size(instruction, 0)) {
        (false, 2) => multiply_into::<false, IMMEDIATE, Word>,
        (false, 4) => multiply_into::<false, IMMEDIATE, Dword>,
        (false, _) => multiply_into::<false, IMMEDIATE, Qword>,
        (true, 2) => multiply_into::<true, IMMEDIATE, Word>,
        (true, 4) => multiply_into::<true, IMMEDIATE, Dword>,
        (true, _) => multiply_into::<true, IMMEDIATE, Qword>,
    }
}

pub fn select(instruction: &Instruction) -> Option<Handler> {
    let size = || operand_size(instruction, 0);
    Some(match instruction.mnemonic() {
        Mnemonic::Add => select_binary::<Add>(instruction),
        Mnemonic::Adc => select_binary::<Adc>(instruction),
        Mnemonic::Sub => select_binary::<Sub>(instruction),
        Mnemonic::Sbb => select_binary::<Sbb>(instruction),
        Mnemonic::And => select_binary::<And>(instruction),
        Mnemonic::Or => select_binary::<Or>(instruction),
        Mnemonic::Xor => select_binary::<Xor>(instruction),
        Mnemonic::Cmp => select_binary::<Cmp>(instruction),
        Mnemonic::Test => select_binary::<Test>(instruction),
        Mnemonic::Inc => select_unary::<Inc>(instruction),
        Mnemonic::Dec => select_unary::<Dec>(instruction),
        Mnemonic::Neg => select_unary::<Neg>(instruction),
        Mnemonic::Not => select_unary::<Not>(instruction),
        Mnemonic::Mul => rm_width!(instruction, 0, size(), multiply, false),
        Mnemonic::Imul => match instruction.op_count() {
            1 => rm_width!(instruction, 0, size(), multiply, true),
            2 => select_multiply_into::<false>(instruction),
            _ => select_multiply_into::<true>(instruction),
        },
        Mnemonic::Div => rm_width!(instruction, 0, size(), divide, false),
        Mnemonic::Idiv => rm_width!(instruction, 0, size(), divide, true),
        Mnemonic::Cmpxchg => rm_width!(instruction, 0, size(), compare_exchange),
        Mnemonic::Cmpxchg8b => compare_exchange_8,
        Mnemonic::Cmpxchg16b => compare_exchange_16,
        Mnemonic::Xadd => rm_width!(instruction, 0, size(), exchange_add),
        Mnemonic::Adcx => rm_width!(instruction, 1, size(), add_with, CF),
        Mnemonic::Adox => rm_width!(instruction, 1, size(), add_with, OF),
        Mnemonic::Daa => decimal_adjust::<false>,
        Mnemonic::Das => decimal_adjust::<true>,
        Mnemonic::Aaa => ascii_adjust::<false>,
        Mnemonic::Aas => ascii_adjust::<true>,
        Mnemonic::Aam => ascii_multiply,
        Mnemonic::Aad => ascii_divide,
        Mnemonic::Salc => set_al_from_carry,
        Mnemonic::Clc => change_carry::<0>,
        Mnemonic::Stc => change_carry::<1>,
        Mnemonic::Cmc => change_carry::<2>,
        Mnemonic::Lahf => load_ah,
        Mnemonic::Sahf => store_ah,
        _ => return None,
    })
}
