//! Which instructions the compiler has code for, and how it treats the others.

use crate::bmi::{self, Bmi};
use crate::{vector, CodeSize};
use cpu::condition_number;
use iced_x86::{Code, ConditionCode, EncodingKind, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// What becomes of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// The region ends before it: it may change what compiled code depends on, or is no instruction.
    Leave,
    /// The interpreter executes it, called from within the region.
    Step,
    Nothing,
    Binary(Binary),
    Unary(Unary),
    Move,
    Extend {
        signed: bool,
    },
    LoadAddress,
    Exchange,
    ByteSwap,
    SwappedMove,
    ConditionalMove(u8),
    SetCondition(u8),
    Push,
    Pop,
    LeaveFrame,
    ExtendAccumulator,
    SignToData,
    Shift(Shift),
    ShiftDouble {
        left: bool,
    },
    Bit(Bit),
    Scan(Scan),
    Multiply {
        signed: bool,
    },
    MultiplyInto,
    Divide {
        signed: bool,
    },
    CompareExchange,
    ExchangeAdd,
    Carry(Carry),
    Bmi(Bmi),
    Direction {
        down: bool,
    },
    Vector,
    X87(X87),
    // What ends a block.
    Jump,
    Branch(u8),
    BranchOnCounter(Counter),
    Call,
    JumpIndirect,
    CallIndirect,
    Return,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binary {
    Add,
    Or,
    Adc,
    Sbb,
    And,
    Sub,
    Xor,
    Cmp,
    Test,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unary {
    Inc,
    Dec,
    Neg,
    Not,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shift {
    Shl,
    Shr,
    Sar,
    Rol,
    Ror,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bit {
    Test,
    Set,
    Reset,
    Complement,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan {
    Forward,
    Reverse,
    TrailingZeros,
    LeadingZeros,
    Ones,
}

/// x87 instructions, which helpers execute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum X87 {
    Registers,
    /// FCOMI and its like.
    Compare,
    Load,
    Store,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carry {
    Clear,
    Set,
    Complement,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    IsZero,
    Loop,
    LoopWhileZero,
    LoopWhileNotZero,
}

impl Action {
    pub fn ends_block(self) -> bool {
        matches!(
            self,
            Action::Leave
                | Action::Jump
                | Action::Branch(_)
                | Action::BranchOnCounter(_)
                | Action::Call
                | Action::JumpIndirect
                | Action::CallIndirect
                | Action::Return
        )
    }
}

pub fn is_register(instruction: &Instruction, operand: u32) -> bool {
    operand < instruction.op_count() && instruction.op_kind(operand) == OpKind::Register
}

pub fn is_memory(instruction: &Instruction, operand: u32) -> bool {
    operand < instruction.op_count() && instruction.op_kind(operand) == OpKind::Memory
}

/// The size in bytes of an operand.
pub fn operand_size(instruction: &Instruction, operand: u32) -> u32 {
    match instruction.op_kind(operand) {
        OpKind::Register => instruction.op_register(operand).size() as u32,
        OpKind::Memory => instruction.memory_size().size() as u32,
        OpKind::Immediate8 => 1,
        OpKind::Immediate16 | OpKind::Immediate8to16 => 2,
        OpKind::Immediate32 | OpKind::Immediate8to32 => 4,
        _ => 8,
    }
}

/// Whether its operands are general registers, memory that we can address, and immediates.
fn plain(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).all(|i| match instruction.op_kind(i) {
        OpKind::Register => instruction.op_register(i).is_gpr(),
        OpKind::Memory => addressable(instruction),
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => true,
        _ => false,
    })
}

/// Addresses of 16 bits, which only old 32-bit code has, are the interpreter's.
pub fn addressable(instruction: &Instruction) -> bool {
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    if index.is_vector_register() || base.size() == 2 || index.size() == 2 {
        return false;
    }
    base != Register::None || index != Register::None || instruction.memory_displ_size() > 2
}

pub fn select(instruction: &Instruction, code_size: CodeSize) -> Action {
    if instruction.is_invalid() {
        return Action::Leave;
    }
    let action = compiled(instruction, code_size);
    if let Some(action) = action {
        return action;
    }
    if steppable(instruction) {
        Action::Step
    } else {
        Action::Leave
    }
}

fn compiled(instruction: &Instruction, code_size: CodeSize) -> Option<Action> {
    if let Some(action) = control(instruction, code_size) {
        return Some(action);
    }
    if vector::select(instruction) {
        return Some(Action::Vector);
    }
    if instruction.code().encoding() != EncodingKind::Legacy {
        return bmi::select(instruction).filter(|_| plain(instruction)).map(Action::Bmi);
    }
    if let Some(how) = x87(instruction) {
        return Some(Action::X87(how));
    }
    match instruction.mnemonic() {
        // Their memory operand is not accessed.
        Mnemonic::Nop
        | Mnemonic::Endbr64
        | Mnemonic::Endbr32
        | Mnemonic::Prefetchnta
        | Mnemonic::Prefetcht0
        | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2
        | Mnemonic::Prefetchw
        | Mnemonic::Lfence
        | Mnemonic::Mfence
        | Mnemonic::Sfence
        | Mnemonic::Pause => return Some(Action::Nothing),
        Mnemonic::Cld => return Some(Action::Direction { down: false }),
        Mnemonic::Std => return Some(Action::Direction { down: true }),
        Mnemonic::Leave => return (instruction.code() != Code::Leavew).then_some(Action::LeaveFrame),
        _ => {}
    }
    if !plain(instruction) {
        return None;
    }
    let to_register = is_register(instruction, 0);
    if instruction.condition_code() != ConditionCode::None {
        return Some(match instruction.op_count() {
            1 => Action::SetCondition(condition_number(instruction)),
            _ => Action::ConditionalMove(condition_number(instruction)),
        });
    }
    Some(match instruction.mnemonic() {
        Mnemonic::Add => Action::Binary(Binary::Add),
        Mnemonic::Or => Action::Binary(Binary::Or),
        Mnemonic::Adc => Action::Binary(Binary::Adc),
        Mnemonic::Sbb => Action::Binary(Binary::Sbb),
        Mnemonic::And => Action::Binary(Binary::And),
        Mnemonic::Sub => Action::Binary(Binary::Sub),
        Mnemonic::Xor => Action::Binary(Binary::Xor),
        Mnemonic::Cmp => Action::Binary(Binary::Cmp),
        Mnemonic::Test => Action::Binary(Binary::Test),
        Mnemonic::Inc => Action::Unary(Unary::Inc),
        Mnemonic::Dec => Action::Unary(Unary::Dec),
        Mnemonic::Neg => Action::Unary(Unary::Neg),
        Mnemonic::Not => Action::Unary(Unary::Not),
        Mnemonic::Mov | Mnemonic::Movnti => Action::Move,
        Mnemonic::Movzx => Action::Extend { signed: false },
        Mnemonic::Movsx => Action::Extend { signed: true },
        // Without REX.W it only moves.
        Mnemonic::Movsxd if operand_size(instruction, 0) == 8 => Action::Extend { signed: true },
        Mnemonic::Lea => Action::LoadAddress,
        Mnemonic::Xchg => Action::Exchange,
        Mnemonic::Bswap if operand_size(instruction, 0) >= 4 => Action::ByteSwap,
        Mnemonic::Movbe => Action::SwappedMove,
        Mnemonic::Push if instruction.stack_pointer_increment() != -2 => Action::Push,
        Mnemonic::Pop if to_register && instruction.stack_pointer_increment() != 2 => Action::Pop,
        Mnemonic::Cbw | Mnemonic::Cwde | Mnemonic::Cdqe => Action::ExtendAccumulator,
        Mnemonic::Cwd | Mnemonic::Cdq | Mnemonic::Cqo => Action::SignToData,
        Mnemonic::Shl | Mnemonic::Sal => Action::Shift(Shift::Shl),
        Mnemonic::Shr => Action::Shift(Shift::Shr),
        Mnemonic::Sar => Action::Shift(Shift::Sar),
        Mnemonic::Rol => Action::Shift(Shift::Rol),
        Mnemonic::Ror => Action::Shift(Shift::Ror),
        Mnemonic::Shld if shifts_double(instruction) => Action::ShiftDouble { left: true },
        Mnemonic::Shrd if shifts_double(instruction) => Action::ShiftDouble { left: false },
        // A register's number of a bit in memory reaches beyond the operand.
        Mnemonic::Bt if to_register || !is_register(instruction, 1) => Action::Bit(Bit::Test),
        Mnemonic::Bts if to_register || !is_register(instruction, 1) => Action::Bit(Bit::Set),
        Mnemonic::Btr if to_register || !is_register(instruction, 1) => Action::Bit(Bit::Reset),
        Mnemonic::Btc if to_register || !is_register(instruction, 1) => Action::Bit(Bit::Complement),
        Mnemonic::Bsf => Action::Scan(Scan::Forward),
        Mnemonic::Bsr => Action::Scan(Scan::Reverse),
        Mnemonic::Tzcnt => Action::Scan(Scan::TrailingZeros),
        Mnemonic::Lzcnt => Action::Scan(Scan::LeadingZeros),
        Mnemonic::Popcnt => Action::Scan(Scan::Ones),
        Mnemonic::Mul => Action::Multiply { signed: false },
        Mnemonic::Imul if instruction.op_count() == 1 => Action::Multiply { signed: true },
        Mnemonic::Imul => Action::MultiplyInto,
        Mnemonic::Div if operand_size(instruction, 0) >= 4 => Action::Divide { signed: false },
        Mnemonic::Idiv if operand_size(instruction, 0) >= 4 => Action::Divide { signed: true },
        Mnemonic::Cmpxchg => Action::CompareExchange,
        Mnemonic::Xadd => Action::ExchangeAdd,
        Mnemonic::Clc => Action::Carry(Carry::Clear),
        Mnemonic::Stc => Action::Carry(Carry::Set),
        Mnemonic::Cmc => Action::Carry(Carry::Complement),
        _ => return None,
    })
}

/// x87 instructions of which nothing depends on flags or other registers.
fn x87(instruction: &Instruction) -> Option<X87> {
    use Mnemonic::*;
    let registers = (0..instruction.op_count()).all(|operand| is_register(instruction, operand));
    if !registers && (!addressable(instruction) || matches!(instruction.memory_segment(), Register::FS | Register::GS))
    {
        return None;
    }
    Some(match instruction.mnemonic() {
        Fcomi | Fcomip | Fucomi | Fucomip => X87::Compare,
        Fadd | Faddp | Fsub | Fsubp | Fsubr | Fsubrp | Fmul | Fmulp | Fdiv | Fdivp | Fdivr | Fdivrp | Fld | Fcom
        | Fcomp
            if !registers =>
        {
            X87::Load
        }
        Fild | Fiadd | Fisub | Fisubr | Fimul | Fidiv | Fidivr | Ficom | Ficomp | Fldcw => X87::Load,
        Fst | Fstp | Fnstsw if !registers => X87::Store,
        Fist | Fistp | Fisttp | Fnstcw => X87::Store,
        Fadd | Faddp | Fsub | Fsubp | Fsubr | Fsubrp | Fmul | Fmulp | Fdiv | Fdivp | Fdivr | Fdivrp | Fld | Fcom
        | Fcomp | Fcompp | Fucom | Fucomp | Fucompp | Fst | Fstp | Fxch | Fchs | Fabs | Fsqrt | Frndint | Ftst
        | Fxam | Fld1 | Fldz | Fldpi | Fldl2e | Fldl2t | Fldlg2 | Fldln2 => X87::Registers,
        _ => return None,
    })
}

/// SHLD and SHRD that have code: of registers of 32 and 64 bits by immediate counts.
fn shifts_double(instruction: &Instruction) -> bool {
    is_register(instruction, 0) && !is_register(instruction, 2) && operand_size(instruction, 0) >= 4
}

/// Jumps, calls and returns.
fn control(instruction: &Instruction, code_size: CodeSize) -> Option<Action> {
    let long = code_size == CodeSize::Bits64;
    let wide = |in_long: Code, in_short: Code| instruction.code() == if long { in_long } else { in_short };
    if instruction.is_jcc_short_or_near() {
        let near16 = instruction.op_kind(0) == OpKind::NearBranch16;
        return Some(if near16 { Action::Leave } else { Action::Branch(condition_number(instruction)) });
    }
    Some(match instruction.mnemonic() {
        Mnemonic::Jmp if instruction.is_jmp_short_or_near() && instruction.op_kind(0) != OpKind::NearBranch16 => {
            Action::Jump
        }
        Mnemonic::Call if wide(Code::Call_rel32_64, Code::Call_rel32_32) => Action::Call,
        Mnemonic::Jmp if wide(Code::Jmp_rm64, Code::Jmp_rm32) && plain(instruction) => Action::JumpIndirect,
        Mnemonic::Call if wide(Code::Call_rm64, Code::Call_rm32) && plain(instruction) => Action::CallIndirect,
        Mnemonic::Ret if wide(Code::Retnq, Code::Retnd) || wide(Code::Retnq_imm16, Code::Retnd_imm16) => Action::Return,
        Mnemonic::Jrcxz if long => Action::BranchOnCounter(Counter::IsZero),
        Mnemonic::Jecxz if instruction.op_kind(0) != OpKind::NearBranch16 => Action::BranchOnCounter(Counter::IsZero),
        Mnemonic::Loop if counter_size(instruction) > 2 => Action::BranchOnCounter(Counter::Loop),
        Mnemonic::Loope if counter_size(instruction) > 2 => Action::BranchOnCounter(Counter::LoopWhileZero),
        Mnemonic::Loopne if counter_size(instruction) > 2 => Action::BranchOnCounter(Counter::LoopWhileNotZero),
        _ => return None,
    })
}

/// In bytes, of JRCXZ and LOOP. 0 for forms that are left to the interpreter.
pub fn counter_size(instruction: &Instruction) -> u32 {
    if instruction.op_kind(0) == OpKind::NearBranch16 {
        return 0;
    }
    match instruction.code() {
        Code::Jrcxz_rel8_64 | Code::Loop_rel8_64_RCX | Code::Loope_rel8_64_RCX | Code::Loopne_rel8_64_RCX => 8,
        Code::Jecxz_rel8_32
        | Code::Jecxz_rel8_64
        | Code::Loop_rel8_32_ECX
        | Code::Loop_rel8_64_ECX
        | Code::Loope_rel8_32_ECX
        | Code::Loope_rel8_64_ECX
        | Code::Loopne_rel8_32_ECX
        | Code::Loopne_rel8_64_ECX => 4,
        _ => 0,
    }
}

/// Whether the interpreter may execute it within a region: it changes nothing that compiled code takes
/// for granted, and nothing but what iced-x86 says of it.
fn steppable(instruction: &Instruction) -> bool {
    if instruction.is_privileged() || instruction.flow_control() != FlowControl::Next {
        return false;
    }
    let segments = (0..instruction.op_count())
        .any(|i| instruction.op_kind(i) == OpKind::Register && !ordinary(instruction.op_register(i)));
    if segments {
        return false;
    }
    !matches!(
        instruction.mnemonic(),
        Mnemonic::Popf
            | Mnemonic::Popfd
            | Mnemonic::Popfq
            | Mnemonic::Cli
            | Mnemonic::Sti
            | Mnemonic::In
            | Mnemonic::Out
            | Mnemonic::Insb
            | Mnemonic::Insw
            | Mnemonic::Insd
            | Mnemonic::Outsb
            | Mnemonic::Outsw
            | Mnemonic::Outsd
            | Mnemonic::Lds
            | Mnemonic::Les
            | Mnemonic::Lss
            | Mnemonic::Lfs
            | Mnemonic::Lgs
            | Mnemonic::Wrfsbase
            | Mnemonic::Wrgsbase
            | Mnemonic::Swapgs
            | Mnemonic::Cpuid
            | Mnemonic::Rdtsc
            | Mnemonic::Rdtscp
            | Mnemonic::Rdpmc
            | Mnemonic::Rdrand
            | Mnemonic::Rdseed
            | Mnemonic::Xgetbv
            | Mnemonic::Rdpid
            | Mnemonic::Ldmxcsr
            | Mnemonic::Vldmxcsr
            | Mnemonic::Fxrstor
            | Mnemonic::Fxrstor64
            | Mnemonic::Fxsave
            | Mnemonic::Fxsave64
            | Mnemonic::Xsave
            | Mnemonic::Xsave64
            | Mnemonic::Xsavec
            | Mnemonic::Xsavec64
            | Mnemonic::Xsaveopt
            | Mnemonic::Xsaveopt64
            | Mnemonic::Xrstor
            | Mnemonic::Xrstor64
            | Mnemonic::Clac
            | Mnemonic::Stac
            | Mnemonic::Wrpkru
            | Mnemonic::Rdpkru
            | Mnemonic::Monitor
            | Mnemonic::Mwait
            | Mnemonic::Umonitor
            | Mnemonic::Umwait
            | Mnemonic::Tpause
            | Mnemonic::Hlt
            | Mnemonic::Vzeroall
            | Mnemonic::Bound
            | Mnemonic::Serialize
    )
}

/// Whether an instruction that the interpreter executes may change flags.
pub fn writes_flags(instruction: &Instruction) -> bool {
    // A full turn through the carry flag changes OF all the same.
    instruction.rflags_modified() != 0 || matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr)
}

fn ordinary(register: Register) -> bool {
    register.is_gpr() || register.is_xmm() || register.is_ymm() || register.is_mm() || register.is_st()
}

/// Whether the instructions that follow one in its block set all arithmetic flags before anything could see
/// those that it leaves: none of them in between reads flags, has a fault or leaves the region.
pub fn flags_are_dead<'a>(rest: impl Iterator<Item = (&'a Instruction, Action)>) -> bool {
    for (instruction, action) in rest {
        if (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory)
            && action != Action::LoadAddress
        {
            return false;
        }
        match action {
            Action::Binary(Binary::Adc | Binary::Sbb) => return false,
            Action::Binary(_) | Action::Unary(Unary::Neg) => return true,
            Action::Move | Action::Extend { .. } | Action::LoadAddress | Action::ByteSwap | Action::Nothing => {}
            // Of the flags, these only change two.
            Action::Shift(Shift::Rol | Shift::Ror) if instruction.op_kind(1) != OpKind::Register => {}
            _ => return false,
        }
    }
    false
}
