//! A function being written: its locals, and access to registers, memory and what else is in
//! [`State`](cpu::state::State).
//!
//! Registers are in locals from the function's beginning to its end, where those that may have changed
//! are stored. So an exit only has to say where it is. Within a block the budget is not kept exactly:
//! each block subtracts its instructions at its end, and exits within it say how many were executed.

use alloc::vec;
use alloc::vec::Vec;

use cpu::chain;
use cpu::compiled::Addresses;
use cpu::state::{offset, Exit, Mode};
use cpu::tlb;
use iced_x86::{Instruction, Register};

use crate::flags::Form;
use crate::wasm::{op, simd, Code, Hint, Label, Type};
use crate::windows::{At, Use};
use crate::CodeSize;

/// The functions that a module imports, in this order: names as the crate cpu exports them, parameters
/// and result.
pub const IMPORTS: [(&str, &[Type], Type); 12] = [
    ("compiled_read", &[Type::I32, Type::I64, Type::I32], Type::I32),
    ("compiled_write", &[Type::I32, Type::I64, Type::I64, Type::I32], Type::I32),
    ("compiled_modify", &[Type::I32, Type::I64, Type::I32], Type::I32),
    ("compiled_write_scratch", &[Type::I32, Type::I64, Type::I32], Type::I32),
    ("compiled_interpret", &[Type::I32, Type::I32], Type::I32),
    ("compiled_flags", &[Type::I32], Type::I64),
    ("compiled_multiply_high", &[Type::I64, Type::I64], Type::I64),
    ("compiled_cross", &[Type::I32], Type::I32),
    ("compiled_x87", &[Type::I32, Type::I32, Type::I64], Type::I32),
    ("compiled_x87_memory", &[Type::I32, Type::I64, Type::I32, Type::I32, Type::I64], Type::I32),
    ("compiled_fused", &[Type::I32, Type::I32, Type::I32], Type::I32),
    ("compiled_window", &[Type::I32, Type::I64, Type::I32, Type::I32], Type::I32),
];

/// The type of compiled functions comes behind those of the imports.
pub const FUNCTION_TYPE: u32 = IMPORTS.len() as u32;

mod import {
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const MODIFY: u32 = 2;
    pub const WRITE_SCRATCH: u32 = 3;
    pub const INTERPRET: u32 = 4;
    pub const FLAGS: u32 = 5;
    pub const MULTIPLY_HIGH: u32 = 6;
    pub const CROSS: u32 = 7;
    pub const X87: u32 = 8;
    pub const X87_MEMORY: u32 = 9;
    pub const FUSED: u32 = 10;
    pub const WINDOW: u32 = 11;
}

/// Numbers of locals.
pub mod local {
    /// The function's parameter.
    pub const ENTRY: u32 = 0;
    /// 16 general registers.
    pub const GPR: u32 = 1;
    /// The linear address of the page that the code is in.
    pub const PAGE: u32 = 17;
    pub const GENERATION: u32 = 18;
    pub const BUDGET: u32 = 19;
    pub const FLAGS_RESULT: u32 = 20;
    pub const FLAGS_A: u32 = 21;
    pub const FLAGS_B: u32 = 22;
    /// Of `exit`.
    pub const RIP: u32 = 23;
    /// Within an access to memory.
    pub const ADDRESS: u32 = 24;
    pub const VALUE: u32 = 25;
    /// Three that are free within an instruction.
    pub const TEMPORARY: u32 = 26;
    /// The first of 32 bits.
    pub const FLAGS_KIND: u32 = 29;
    /// The offset of an entry in the TLB's table.
    pub const TLB_ENTRY: u32 = 30;
    /// A host address within an access.
    pub const HOST: u32 = 31;
    /// A host address within an instruction that loads and stores.
    pub const MODIFIED: u32 = 32;
    /// What `packed` gives.
    pub const EXIT: u32 = 33;
    /// What the function returns, and what `compiled_interpret` has returned.
    pub const STATUS: u32 = 34;
    /// The first loop's that has several entries.
    pub const SELECTOR: u32 = 35;

    pub const WIDE: u32 = FLAGS_KIND - GPR;
    pub const NARROW: u32 = SELECTOR - FLAGS_KIND;
}

const PAGE_MASK: i64 = !0xfff;

/// Numbers of locals that only functions with SSE have, behind the others.
#[derive(Clone, Copy)]
pub struct Vectors {
    /// Whether MXCSR is as `vector` wants it.
    pub usual: u32,
    /// 16 registers.
    first: u32,
    pub temporary: u32,
    /// What is to be stored.
    pub value: u32,
    /// As `temporary` and `value`, of upper halves.
    pub upper: u32,
    pub result: u32,
    doubles: u32,
    singles: u32,
}

impl Vectors {
    /// Behind so many selectors and slots of windows.
    fn behind(others: u32) -> Vectors {
        let usual = local::SELECTOR + others;
        let first = usual + 1;
        Vectors {
            usual,
            first,
            temporary: first + 16,
            value: first + 17,
            upper: first + 18,
            result: first + 19,
            doubles: first + 20,
            singles: first + 23,
        }
    }

    pub fn floats(&self, double: bool) -> [u32; 3] {
        let first = if double { self.doubles } else { self.singles };
        [first, first + 1, first + 2]
    }
}

/// MXCSR's bits that `vector` wants to have a value: masks, rounding, flush-to-zero,
/// denormals-are-zeros and the precision flag; and that value.
const MXCSR_MASK: i32 = 0xffe0;
const MXCSR_USUAL: i32 = 0x1fa0;

/// An exit within the page, as one number: offset, instructions executed since the block's beginning,
/// and why.
fn packed(offset: u32, executed: u32, exit: Exit) -> i32 {
    (offset | executed << PACKED_SHIFT | (exit as u32) << (2 * PACKED_SHIFT)) as i32
}

const PACKED_SHIFT: u32 = 14;

pub struct Emitter {
    pub code: Code,
    addresses: Addresses,
    /// The address of the TLB's table for the code's privilege.
    table: u32,
    pub code_size: CodeSize,
    /// Registers that are read or written, a bit for each.
    used: u32,
    /// Registers that are written.
    changed: u32,
    /// As `used` and `changed`, of XMM registers.
    vectors_used: u32,
    vectors_changed: u32,
    /// Whether there is code for SSE instructions.
    uses_vectors: bool,
    /// Whether there is code for instructions with a VEX prefix that have vector registers.
    uses_avx: bool,
    vectors: Vectors,
    /// Whether there is code for x87 instructions.
    uses_x87: bool,
    selectors: u32,
    /// How many slots of windows there are, behind the selectors.
    slots: u32,
    /// The windows that the present instruction's memory operand and its access to the stack go to.
    uses: [Option<Use>; 2],
    /// Whether it comes to where an instruction reaches into the next page.
    crosses: bool,
    flags_used: bool,
    flags_changed: bool,
    /// What the flags in the locals are known to be.
    pub form: Form,
    /// Whether nobody can see the flags between the present instruction and one that sets them all.
    pub flags_dead: bool,
    /// The present instruction's offset in the page, and how many there are before it in its block.
    pub offset: u32,
    pub done: u32,
    /// Goes on at `local::RIP`.
    exit: Label,
    /// Takes what `packed` gives.
    packed_exit: Label,
}

impl Emitter {
    /// `selectors`: of how many loops it has to be said where they are entered. `slots`: of windows.
    pub fn new(addresses: Addresses, mode: u32, selectors: u32, slots: u32) -> Emitter {
        let mut code = Code::default();
        let exit = code.block(None);
        let packed_exit = code.block(Some(Type::I32));
        Emitter {
            code,
            addresses,
            table: addresses.tables[(mode & Mode::USER) as usize],
            code_size: CodeSize::of(mode),
            used: 0,
            changed: 0,
            vectors_used: 0,
            vectors_changed: 0,
            uses_vectors: false,
            uses_avx: false,
            uses_x87: false,
            vectors: Vectors::behind(selectors + slots),
            selectors,
            slots,
            uses: [None; 2],
            crosses: false,
            flags_used: false,
            flags_changed: false,
            form: Form::Unknown,
            flags_dead: false,
            offset: 0,
            done: 0,
            exit,
            packed_exit,
        }
    }

    /// The whole function: its locals and instructions, and where in it branches have hints.
    pub fn finish(mut self) -> (Vec<u8>, Vec<(u32, Hint)>) {
        use local::*;
        let code = &mut self.code;
        code.op(op::UNREACHABLE);
        code.end();
        code.set(EXIT);
        code.get(PAGE);
        code.get(EXIT);
        code.i32((1 << PACKED_SHIFT) - 1);
        code.op(op::I32_AND);
        code.op(op::I64_EXTEND_I32_U);
        code.op(op::I64_ADD);
        code.set(RIP);
        code.get(BUDGET);
        code.get(EXIT);
        code.i32(PACKED_SHIFT as i32);
        code.op(op::I32_SHR_U);
        code.i32((1 << PACKED_SHIFT) - 1);
        code.op(op::I32_AND);
        code.op(op::I64_EXTEND_I32_U);
        code.op(op::I64_SUB);
        code.set(BUDGET);
        code.get(EXIT);
        code.i32(2 * PACKED_SHIFT as i32);
        code.op(op::I32_SHR_U);
        code.set(STATUS);
        code.end();
        for register in 0..16 {
            if self.changed & 1 << register != 0 {
                self.store_register(register);
            }
        }
        for register in 0..16 {
            if self.vectors_changed & 1 << register != 0 {
                self.store_vector_register(register);
            }
        }
        if self.flags_changed {
            self.store_flags();
        }
        self.store_state(offset::RIP, RIP);
        self.store_state(offset::BUDGET, BUDGET);
        if self.crosses {
            self.have_executed();
        }
        if let Some(links) = self.addresses.links {
            self.go_on(links);
        }
        self.code.get(STATUS);
        self.code.op(op::END);

        let body = core::mem::take(&mut self.code);
        if self.uses_x87 {
            self.leave_without_x87();
        }
        if self.uses_avx {
            self.leave_without_avx();
        }
        if self.uses_vectors {
            self.leave_without_vectors();
            self.load_usual();
        }
        for register in 0..16 {
            if self.vectors_used & 1 << register != 0 {
                self.load_vector_register(register);
            }
        }
        for register in 0..16 {
            if self.used & 1 << register != 0 {
                self.load_register(register);
            }
        }
        if self.flags_used {
            self.load_flags();
        }
        self.load_state(op::I64_LOAD, offset::RIP);
        self.code.i64(PAGE_MASK);
        self.code.op(op::I64_AND);
        self.code.set(PAGE);
        self.load_state(op::I64_LOAD, offset::TLB_GENERATION);
        self.code.set(GENERATION);
        self.load_state(op::I64_LOAD, offset::BUDGET);
        self.code.set(BUDGET);

        let mut bytes = Vec::new();
        let mut groups = vec![(WIDE, Type::I64), (NARROW + self.selectors + self.slots, Type::I32)];
        if self.uses_vectors || self.vectors_used != 0 {
            groups[1].0 += 1;
            groups.extend([(20, Type::V128), (3, Type::F64), (3, Type::F32)]);
        }
        crate::wasm::unsigned(&mut bytes, groups.len() as u32);
        for (count, kind) in groups {
            crate::wasm::unsigned(&mut bytes, count);
            bytes.push(kind as u8);
        }
        bytes.extend_from_slice(&self.code.bytes);
        let shift = bytes.len() as u32;
        bytes.extend_from_slice(&body.bytes);
        (bytes, body.hints.into_iter().map(|(at, hint)| (at + shift, hint)).collect())
    }

    /// Where it left for an instruction that reaches into the next page: has it executed.
    fn have_executed(&mut self) {
        use local::*;
        self.code.get(STATUS);
        self.code.i32(Exit::Cross as i32);
        self.code.op(op::I32_EQ);
        self.code.if_(None, None);
        self.code.i32(self.addresses.cpu as i32);
        self.code.call(import::CROSS);
        self.code.set(STATUS);
        self.load_state(op::I64_LOAD, offset::RIP);
        self.code.set(RIP);
        self.load_state(op::I64_LOAD, offset::BUDGET);
        self.code.set(BUDGET);
        self.code.end();
    }

    /// Calls what is linked for `RIP` in this function's place, if it may go on.
    fn go_on(&mut self, links: u32) {
        use local::*;
        let code = &mut self.code;
        code.get(STATUS);
        code.op(op::I32_EQZ);
        code.get(BUDGET);
        code.i64(0);
        code.op(op::I64_GT_S);
        code.op(op::I32_AND);
        code.if_(None, None);
        code.get(RIP);
        code.get(RIP);
        code.i64(i64::from(chain::SPREAD));
        code.op(op::I64_SHR_U);
        code.op(op::I64_XOR);
        code.op(op::I32_WRAP_I64);
        code.i32(chain::LINKS as i32 - 1);
        code.op(op::I32_AND);
        code.i32(chain::offset::SIZE.trailing_zeros() as i32);
        code.op(op::I32_SHL);
        code.tee(HOST);
        code.memory(op::I64_LOAD, links + chain::offset::ADDRESS as u32);
        code.get(RIP);
        code.op(op::I64_EQ);
        code.get(HOST);
        code.memory(op::I64_LOAD, links + chain::offset::TAG as u32);
        code.i32(0);
        code.memory(op::I64_LOAD, self.addresses.cpu + offset::CHAIN_TAG as u32);
        code.op(op::I64_EQ);
        code.op(op::I32_AND);
        code.if_(None, None);
        code.get(HOST);
        code.memory(op::I32_LOAD, links + chain::offset::ENTRY as u32);
        code.get(HOST);
        code.memory(op::I32_LOAD, links + chain::offset::PLACE as u32);
        code.return_call_indirect(FUNCTION_TYPE);
        code.end();
        code.end();
    }

    // -- State ---------------------------------------------------------------------

    fn load_state(&mut self, opcode: u8, at: usize) {
        self.code.i32(0);
        self.code.memory(opcode, self.addresses.cpu + at as u32);
    }

    fn store_state(&mut self, at: usize, local: u32) {
        self.code.i32(0);
        self.code.get(local);
        self.code.memory(op::I64_STORE, self.addresses.cpu + at as u32);
    }

    fn load_register(&mut self, register: u32) {
        self.load_state(op::I64_LOAD, offset::GPR + 8 * register as usize);
        self.code.set(local::GPR + register);
    }

    fn store_register(&mut self, register: u32) {
        self.store_state(offset::GPR + 8 * register as usize, local::GPR + register);
    }

    fn load_vector_register(&mut self, register: u32) {
        self.code.i32(0);
        let at = self.addresses.cpu + (offset::XMM + 16 * register as usize) as u32;
        self.code.v128_memory(simd::V128_LOAD, at);
        self.code.set(self.vectors.first + register);
    }

    fn store_vector_register(&mut self, register: u32) {
        self.code.i32(0);
        self.code.get(self.vectors.first + register);
        let at = self.addresses.cpu + (offset::XMM + 16 * register as usize) as u32;
        self.code.v128_memory(simd::V128_STORE, at);
    }

    /// Where SSE instructions fault now, all of the code is left to the interpreter.
    fn leave_without_vectors(&mut self) {
        use cpu::control::{CR0_EM, CR0_TS, CR4_OSFXSR};
        let code = &mut self.code;
        code.i32(0);
        code.memory(op::I32_LOAD, self.addresses.cr0);
        code.i32((CR0_EM | CR0_TS) as i32);
        code.op(op::I32_AND);
        code.i32(0);
        code.memory(op::I32_LOAD, self.addresses.cr4);
        code.i32(CR4_OSFXSR as i32);
        code.op(op::I32_AND);
        code.op(op::I32_EQZ);
        code.op(op::I32_OR);
        self.leave_if();
    }

    /// The same of AVX.
    fn leave_without_avx(&mut self) {
        use cpu::control::{CR4_OSXSAVE, XCR0_AVX, XCR0_SSE};
        let code = &mut self.code;
        code.i32(0);
        code.memory(op::I32_LOAD, self.addresses.xcr0);
        code.i32((XCR0_SSE | XCR0_AVX) as i32);
        code.op(op::I32_AND);
        code.i32((XCR0_SSE | XCR0_AVX) as i32);
        code.op(op::I32_NE);
        code.i32(0);
        code.memory(op::I32_LOAD, self.addresses.cr4);
        code.i32(CR4_OSXSAVE as i32);
        code.op(op::I32_AND);
        code.op(op::I32_EQZ);
        code.op(op::I32_OR);
        self.leave_if();
    }

    /// Where x87 instructions fault now, all of the code is left to the interpreter.
    fn leave_without_x87(&mut self) {
        use cpu::control::{CR0_EM, CR0_TS};
        let code = &mut self.code;
        code.i32(0);
        code.memory(op::I32_LOAD, self.addresses.cr0);
        code.i32((CR0_EM | CR0_TS) as i32);
        code.op(op::I32_AND);
        self.leave_if();
    }

    /// Where the number on the stack is not 0, all of the code is left to the interpreter.
    fn leave_if(&mut self) {
        let code = &mut self.code;
        code.if_(None, Some(Hint::Unlikely));
        code.i32(Exit::Step as i32);
        code.op(op::RETURN);
        code.end();
    }

    pub fn load_usual(&mut self) {
        self.load_state(op::I32_LOAD, offset::MXCSR);
        self.code.i32(MXCSR_MASK);
        self.code.op(op::I32_AND);
        self.code.i32(MXCSR_USUAL);
        self.code.op(op::I32_EQ);
        self.code.set(self.vectors.usual);
    }

    const FLAGS: [(usize, u32); 3] = [
        (offset::FLAGS_RESULT, local::FLAGS_RESULT),
        (offset::FLAGS_A, local::FLAGS_A),
        (offset::FLAGS_B, local::FLAGS_B),
    ];

    fn load_flags(&mut self) {
        for (at, local) in Self::FLAGS {
            self.load_state(op::I64_LOAD, at);
            self.code.set(local);
        }
        self.load_state(op::I32_LOAD, offset::FLAGS_KIND);
        self.code.set(local::FLAGS_KIND);
    }

    fn store_flags(&mut self) {
        for (at, local) in Self::FLAGS {
            self.store_state(at, local);
        }
        self.code.i32(0);
        self.code.get(local::FLAGS_KIND);
        self.code.memory(op::I32_STORE, self.addresses.cpu + offset::FLAGS_KIND as u32);
    }

    /// Pushes a segment's base, where it may be other than 0.
    pub fn segment_base(&mut self, segment: Register) -> bool {
        let at = match segment {
            Register::FS => offset::FS_BASE,
            Register::GS => offset::GS_BASE,
            _ => return false,
        };
        self.load_state(op::I64_LOAD, at);
        true
    }

    pub fn direction(&mut self, down: bool) {
        use cpu::exception::DF;
        self.code.i32(0);
        self.load_state(op::I64_LOAD, offset::SYSTEM_FLAGS);
        self.code.i64(if down { DF as i64 } else { !(DF as i64) });
        self.code.op(if down { op::I64_OR } else { op::I64_AND });
        self.code.memory(op::I64_STORE, self.addresses.cpu + offset::SYSTEM_FLAGS as u32);
    }

    // -- Registers -------------------------------------------------------------------

    /// Pushes a register's 64 bits.
    pub fn whole(&mut self, register: u32) {
        self.used |= 1 << register;
        self.code.get(local::GPR + register);
    }

    /// Pops a register's 64 bits.
    pub fn set_whole(&mut self, register: u32) {
        self.used |= 1 << register;
        self.changed |= 1 << register;
        self.code.set(local::GPR + register);
    }

    /// Pushes a register's value; above its size there may be anything.
    pub fn register(&mut self, register: Register) {
        self.whole(number(register));
        if is_high(register) {
            self.code.i64(8);
            self.code.op(op::I64_SHR_U);
        }
    }

    /// Pops a value, above whose size there may be anything.
    pub fn set_register(&mut self, register: Register) {
        let own = number(register);
        match register.size() {
            8 => {}
            4 => self.cut(4),
            size => {
                self.cut(size as u32);
                let mut kept = !mask(size as u32);
                if is_high(register) {
                    self.code.i64(8);
                    self.code.op(op::I64_SHL);
                    kept = !0xff00;
                }
                self.whole(own);
                self.code.i64(kept as i64);
                self.code.op(op::I64_AND);
                self.code.op(op::I64_OR);
            }
        }
        self.set_whole(own);
    }

    /// Zeroes what is above a value's size.
    pub fn cut(&mut self, size: u32) {
        if size < 8 {
            self.code.i64(mask(size) as i64);
            self.code.op(op::I64_AND);
        }
    }

    /// Cuts an address to the code's size.
    pub fn cut_address(&mut self) {
        self.cut(self.code_size.bytes());
    }

    /// Fills what is above a value's size with its sign.
    pub fn sign_extend(&mut self, size: u32) {
        match size {
            1 => self.code.op(op::I64_EXTEND8_S),
            2 => self.code.op(op::I64_EXTEND16_S),
            4 => self.code.op(op::I64_EXTEND32_S),
            _ => {}
        }
    }

    pub fn use_vectors(&mut self) {
        self.uses_vectors = true;
    }

    pub fn use_avx(&mut self) {
        self.uses_avx = true;
    }

    /// The address of the processor, which begins with its state.
    pub fn cpu_address(&self) -> u32 {
        self.addresses.cpu
    }

    pub fn vectors(&self) -> Vectors {
        self.vectors
    }

    /// Pushes an XMM register.
    pub fn vector(&mut self, register: u32) {
        self.vectors_used |= 1 << register;
        self.code.get(self.vectors.first + register);
    }

    pub fn set_vector(&mut self, register: u32) {
        self.vectors_used |= 1 << register;
        self.vectors_changed |= 1 << register;
        self.code.set(self.vectors.first + register);
    }

    // -- Flags -------------------------------------------------------------------------

    pub fn use_flags(&mut self) {
        self.flags_used = true;
    }

    /// Says what is in `FLAGS_RESULT` and the others.
    pub fn set_form(&mut self, form: Form) {
        self.flags_used = true;
        self.flags_changed = true;
        self.code.i32(form.kind() as i32);
        self.code.set(local::FLAGS_KIND);
        self.form = form;
    }

    /// Has the flags made explicit, whatever they are, in `FLAGS_RESULT`.
    pub fn call_for_flags(&mut self) {
        self.flags_used = true;
        self.store_flags();
        self.code.i32(self.addresses.cpu as i32);
        self.code.call(import::FLAGS);
        self.code.set(local::FLAGS_RESULT);
    }

    // -- Memory ------------------------------------------------------------------------

    /// Pushes a memory operand's offset, without its segment's base.
    pub fn effective_address(&mut self, instruction: &Instruction) {
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let displacement = instruction.memory_displacement64() as i64;
        let short = match (base, index) {
            (Register::None, Register::None) => {
                instruction.memory_displ_size() == 4 && displacement >> 32 == 0 && displacement >> 31 != 0
            }
            (Register::None, index) => index.size() == 4,
            (base, _) => base.size() == 4,
        };
        // Constants of few bytes are those that are small by their amount.
        let displacement = if short { i64::from(displacement as i32) } else { displacement };
        let mut pushed = false;
        if base == Register::RIP || base == Register::EIP {
            // The displacement is the distance from the page.
            self.code.get(local::PAGE);
            pushed = true;
        } else if base != Register::None {
            self.whole(number(base));
            pushed = true;
        }
        if index != Register::None {
            self.whole(number(index));
            let scale = instruction.memory_index_scale().trailing_zeros();
            if scale != 0 {
                self.code.i64(i64::from(scale));
                self.code.op(op::I64_SHL);
            }
            if pushed {
                self.code.op(op::I64_ADD);
            }
            pushed = true;
        }
        if !pushed {
            self.code.i64(displacement);
        } else if displacement != 0 {
            self.code.i64(displacement);
            self.code.op(op::I64_ADD);
        }
        if short {
            self.cut(4);
        }
    }

    /// Pushes a memory operand's linear address.
    pub fn address(&mut self, instruction: &Instruction) {
        self.effective_address(instruction);
        if self.segment_base(instruction.memory_segment()) {
            self.code.op(op::I64_ADD);
            self.cut_address();
        }
    }

    /// Pushes the linear address of an access.
    fn linear(&mut self, at: At) {
        match at {
            At::Operand(instruction) => return self.address(instruction),
            At::Stack(distance) => {
                self.whole(cpu::state::RSP as u32);
                if distance != 0 {
                    self.code.i64(distance);
                    self.code.op(op::I64_ADD);
                }
            }
            At::Frame => self.whole(cpu::state::RBP as u32),
        }
        self.cut_address();
    }

    /// Pushes whether the access at the address that is popped is none to plain memory that the TLB
    /// knows.
    fn misses(&mut self, writes: bool, size: u32) {
        let part = self.part(writes);
        let code = &mut self.code;
        code.tee(local::ADDRESS);
        // The entry's place: of the page's number the low bits, times the entry's size.
        code.i64(i64::from(12 - tlb::offset::SIZE.trailing_zeros()));
        code.op(op::I64_SHR_U);
        code.op(op::I32_WRAP_I64);
        code.i32(((tlb::ENTRIES - 1) * tlb::offset::SIZE) as i32);
        code.op(op::I32_AND);
        code.tee(local::TLB_ENTRY);
        code.memory(op::I64_LOAD, part + tlb::offset::TAG as u32);
        code.get(local::ADDRESS);
        if size > 1 {
            code.i64(i64::from(size) - 1);
            code.op(op::I64_ADD);
        }
        code.i64(PAGE_MASK);
        code.op(op::I64_AND);
        code.get(local::GENERATION);
        code.op(op::I64_OR);
        code.op(op::I64_NE);
    }

    /// The address of the TLB's entries for loads, or for stores.
    fn part(&self, writes: bool) -> u32 {
        let part = if writes { tlb::offset::WRITE } else { tlb::offset::READ };
        self.table + part as u32
    }

    fn host_address(&mut self, writes: bool) {
        let part = self.part(writes);
        self.code.get(local::ADDRESS);
        self.code.op(op::I32_WRAP_I64);
        self.code.get(local::TLB_ENTRY);
        self.code.memory(op::I32_LOAD, part + tlb::offset::ADDEND as u32);
        self.code.op(op::I32_ADD);
    }

    /// Says which windows the present instruction's accesses go to, and looks up those that it opens, or else leaves the
    /// instruction to the interpreter. Comes before all of its code.
    pub fn open_windows(&mut self, uses: [Option<Use>; 2], operand: At, stack: At) {
        self.uses = uses;
        for (one, at) in uses.into_iter().zip([operand, stack]) {
            let Some(Use { slot, place, writes, opens: Some(length), .. }) = one else { continue };
            self.linear(at);
            if place != 0 {
                self.code.i64(-i64::from(place));
                self.code.op(op::I64_ADD);
                self.cut_address();
            }
            self.misses(writes, length);
            self.code.if_(Some(Type::I32), Some(Hint::Unlikely));
            self.code.i32(self.addresses.cpu as i32);
            self.code.get(local::ADDRESS);
            self.code.i32(length as i32);
            self.code.i32(i32::from(writes));
            self.code.call(import::WINDOW);
            self.code.else_();
            self.host_address(writes);
            self.code.end();
            self.code.tee(self.slot(slot));
            self.code.op(op::I32_EQZ);
            self.leave_here_if(Exit::Window);
        }
    }

    fn slot(&self, number: u32) -> u32 {
        local::SELECTOR + self.selectors + number
    }

    /// The window that an access of the present instruction goes to: its slot, and the place there.
    fn window(&self, at: At, size: u32, writes: bool) -> Option<(u32, u32)> {
        let one = self.uses[usize::from(!matches!(at, At::Operand(_)))]?;
        (size <= one.size && (one.writes || !writes)).then(|| (self.slot(one.slot), one.place))
    }

    /// An access: in its window, if it has one, or else by the TLB. `missed` is what it does where that does not know
    /// the address, which is in `ADDRESS` then; `hit` what it does with a host address, which it is to push, and the
    /// offset from that.
    fn access(
        &mut self,
        at: At,
        size: u32,
        writes: bool,
        result: Option<Type>,
        missed: impl FnOnce(&mut Emitter),
        hit: impl FnOnce(&mut Emitter, &dyn Fn(&mut Emitter), u32),
    ) {
        if let Some((slot, place)) = self.window(at, size, writes) {
            return hit(self, &|emitter| emitter.code.get(slot), place);
        }
        self.linear(at);
        self.misses(writes, size);
        self.code.if_(result, Some(Hint::Unlikely));
        missed(self);
        self.code.else_();
        hit(self, &|emitter| emitter.host_address(writes), 0);
        self.code.end();
    }

    /// Pushes the host address, at `ADDRESS`, that a helper gives.
    fn helped(&mut self, size: u32, helper: u32) {
        self.code.i32(self.addresses.cpu as i32);
        self.code.get(local::ADDRESS);
        self.code.i32(size as i32);
        self.code.call(helper);
        self.code.tee(local::HOST);
        self.code.op(op::I32_EQZ);
        self.step_if();
        self.code.get(local::HOST);
    }

    /// Pushes a host address.
    fn pointer(&mut self, at: At, size: u32, writes: bool) {
        let helper = if writes { import::MODIFY } else { import::READ };
        self.access(
            at,
            size,
            writes,
            Some(Type::I32),
            |emitter| emitter.helped(size, helper),
            |emitter, host, place| {
                host(emitter);
                if place != 0 {
                    emitter.code.i32(place as i32);
                    emitter.code.op(op::I32_ADD);
                }
            },
        );
    }

    /// Pushes the host address of what is only to be loaded.
    pub fn read_pointer(&mut self, at: At, size: u32) {
        self.pointer(at, size, false);
    }

    /// Puts the host address of what is to be loaded and stored again into `MODIFIED`.
    pub fn modify_pointer(&mut self, at: At, size: u32) {
        self.pointer(at, size, true);
        self.code.set(local::MODIFIED);
    }

    /// Pushes the value at an address, zero above its size.
    pub fn load(&mut self, at: At, size: u32) {
        self.access(
            at,
            size,
            false,
            Some(Type::I64),
            |emitter| {
                emitter.helped(size, import::READ);
                emitter.load_host(size, 0);
            },
            |emitter, host, place| {
                host(emitter);
                emitter.load_host(size, place);
            },
        );
    }

    pub fn load_host(&mut self, size: u32, offset: u32) {
        self.code.memory(
            match size {
                1 => op::I64_LOAD8_U,
                2 => op::I64_LOAD16_U,
                4 => op::I64_LOAD32_U,
                _ => op::I64_LOAD,
            },
            offset,
        );
    }

    /// Pops a value and the host address where it goes.
    pub fn store_host(&mut self, size: u32, offset: u32) {
        self.code.memory(
            match size {
                1 => op::I64_STORE8,
                2 => op::I64_STORE16,
                4 => op::I64_STORE32,
                _ => op::I64_STORE,
            },
            offset,
        );
    }

    /// Stores `VALUE` at an address.
    pub fn store(&mut self, at: At, size: u32) {
        self.access(
            at,
            size,
            true,
            None,
            |emitter| {
                emitter.code.i32(emitter.addresses.cpu as i32);
                emitter.code.get(local::ADDRESS);
                emitter.code.get(local::VALUE);
                emitter.code.i32(size as i32);
                emitter.code.call(import::WRITE);
                emitter.step_if();
            },
            |emitter, host, place| {
                host(emitter);
                emitter.code.get(local::VALUE);
                emitter.store_host(size, place);
            },
        );
    }

    /// Stores 16 bytes: `Vectors::value`.
    pub fn store_vector(&mut self, at: At) {
        self.store_halves_at(at, &[(self.vectors.value, 0)]);
    }

    /// Stores 32 bytes: `Vectors::value` and `Vectors::upper`.
    pub fn store_vectors(&mut self, at: At) {
        self.store_halves_at(at, &[(self.vectors.value, 0), (self.vectors.upper, 16)]);
    }

    fn store_halves_at(&mut self, at: At, halves: &[(u32, u32)]) {
        let size = 16 * halves.len() as u32;
        self.access(
            at,
            size,
            true,
            None,
            |emitter| {
                for &(half, offset) in halves {
                    emitter.code.i32(0);
                    emitter.code.get(half);
                    let scratch = emitter.addresses.cpu + offset::SCRATCH as u32;
                    emitter.code.v128_memory(simd::V128_STORE, scratch + offset);
                }
                emitter.write_scratch(size);
            },
            |emitter, host, place| {
                host(emitter);
                emitter.code.set(local::HOST);
                for &(half, offset) in halves {
                    emitter.code.get(local::HOST);
                    emitter.code.get(half);
                    emitter.code.v128_memory(simd::V128_STORE, place + offset);
                }
            },
        );
    }

    /// Gives one of the places of `State::scratch` what `push` pushes.
    pub fn set_scratch(&mut self, place: u32, push: impl FnOnce(&mut Emitter)) {
        self.code.i32(0);
        push(self);
        self.code.v128_memory(simd::V128_STORE, self.addresses.cpu + offset::SCRATCH as u32 + 16 * place);
    }

    /// Pushes what is there.
    pub fn scratch(&mut self, place: u32) {
        self.code.i32(0);
        self.code.v128_memory(simd::V128_LOAD, self.addresses.cpu + offset::SCRATCH as u32 + 16 * place);
    }

    /// Calls FMA's helper for operands in `State::scratch`. Pushes whether the interpreter has to do it.
    pub fn call_fused(&mut self, how: u8, halves: u32) {
        self.code.i32(self.addresses.cpu as i32);
        self.code.i32(i32::from(how));
        self.code.i32(halves as i32);
        self.code.call(import::FUSED);
    }

    /// Stores what is in `State::scratch` at `ADDRESS`.
    fn write_scratch(&mut self, size: u32) {
        self.code.i32(self.addresses.cpu as i32);
        self.code.get(local::ADDRESS);
        self.code.i32(size as i32);
        self.code.call(import::WRITE_SCRATCH);
        self.step_if();
    }

    pub fn multiply_high(&mut self) {
        self.code.call(import::MULTIPLY_HIGH);
    }

    /// Pushes what a helper needs to know of the present x87 instruction.
    fn x87_instruction(&mut self, operation: u32) {
        self.uses_x87 = true;
        self.code.i32(self.addresses.cpu as i32);
        self.code.i32(operation as i32);
        self.code.get(local::PAGE);
        self.code.i64(i64::from(self.offset));
        self.code.op(op::I64_ADD);
    }

    /// An x87 instruction without memory operand, which sets the flags where it is one that compares into them.
    pub fn x87(&mut self, operation: u32, compares: bool) {
        self.x87_instruction(operation);
        self.code.call(import::X87);
        self.step_if();
        if compares {
            self.load_state(op::I64_LOAD, offset::FLAGS_RESULT);
            self.code.set(local::FLAGS_RESULT);
            self.set_form(Form::Explicit);
        }
    }

    /// An x87 instruction with a memory operand of this size, which has no segment with a base.
    pub fn x87_memory(&mut self, instruction: &Instruction, operation: u32, size: u32, stores: bool) {
        let at = At::Operand(instruction);
        if stores {
            self.modify_pointer(at, size);
            self.code.get(local::MODIFIED);
        } else {
            self.read_pointer(at, size);
        }
        self.effective_address(instruction);
        self.x87_instruction(operation);
        self.code.call(import::X87_MEMORY);
        self.step_if();
    }

    // -- Leaving -------------------------------------------------------------------------

    /// Pops a condition, under which the interpreter has to execute the present instruction.
    pub fn step_if(&mut self) {
        self.leave_here_if(Exit::Step);
    }

    fn leave_here_if(&mut self, why: Exit) {
        self.code.if_(None, Some(Hint::Unlikely));
        self.code.i32(packed(self.offset, self.done, why));
        self.code.br(self.packed_exit);
        self.code.end();
    }

    /// Leaves for a place at this distance from the page's beginning. The block's instructions are
    /// already subtracted from the budget.
    pub fn leave(&mut self, distance: i64) {
        // Behind the last page of 32-bit code's addresses comes the first.
        let within = if self.code_size == CodeSize::Bits32 { crate::PAGE as i64 } else { 1 << PACKED_SHIFT };
        if (0..within).contains(&distance) {
            self.code.i32(packed(distance as u32, 0, Exit::Next));
            self.code.br(self.packed_exit);
        } else {
            self.code.get(local::PAGE);
            self.code.i64(distance);
            self.code.op(op::I64_ADD);
            self.cut_address();
            self.leave_to();
        }
    }

    /// Leaves for an instruction in the page that reaches into the next one.
    pub fn leave_crossing(&mut self, offset: u16) {
        self.crosses = true;
        self.code.i32(packed(u32::from(offset), 0, Exit::Cross));
        self.code.br(self.packed_exit);
    }

    /// Pops the linear address at which it goes on.
    pub fn leave_to(&mut self) {
        self.code.set(local::RIP);
        self.code.br(self.exit);
    }

    /// Leaves when the budget is used up.
    pub fn check_budget(&mut self, offset: u32) {
        self.code.get(local::BUDGET);
        self.code.i64(0);
        self.code.op(op::I64_LE_S);
        self.code.if_(None, Some(Hint::Unlikely));
        self.code.i32(packed(offset, 0, Exit::Next));
        self.code.br(self.packed_exit);
        self.code.end();
    }

    pub fn spend(&mut self, instructions: u32) {
        if instructions != 0 {
            self.code.get(local::BUDGET);
            self.code.i64(i64::from(instructions));
            self.code.op(op::I64_SUB);
            self.code.set(local::BUDGET);
        }
    }

    /// Lets the interpreter execute the next instructions, which have these effects.
    pub fn interpret(&mut self, effects: &Effects) {
        let &Effects { count, used, changed, vectors_used, vectors_changed, reads_flags, writes_flags } = effects;
        self.used |= used | changed;
        self.changed |= changed;
        self.vectors_used |= vectors_used | vectors_changed;
        self.vectors_changed |= vectors_changed;
        for register in 0..16 {
            if (vectors_used | vectors_changed) & 1 << register != 0 {
                self.store_vector_register(register);
            }
        }
        for register in 0..16 {
            if (used | changed) & 1 << register != 0 {
                self.store_register(register);
            }
        }
        if reads_flags || writes_flags {
            self.flags_used = true;
            self.store_flags();
        }
        self.code.i32(0);
        self.code.get(local::PAGE);
        self.code.i64(i64::from(self.offset));
        self.code.op(op::I64_ADD);
        self.code.memory(op::I64_STORE, self.addresses.cpu + offset::RIP as u32);
        self.code.i32(0);
        self.code.get(local::BUDGET);
        self.code.i64(i64::from(self.done));
        self.code.op(op::I64_SUB);
        self.code.memory(op::I64_STORE, self.addresses.cpu + offset::BUDGET as u32);

        self.code.i32(self.addresses.cpu as i32);
        self.code.i32(count as i32);
        self.code.call(import::INTERPRET);
        self.code.set(local::STATUS);
        for register in 0..16 {
            if changed & 1 << register != 0 {
                self.load_register(register);
            }
            if vectors_changed & 1 << register != 0 {
                self.load_vector_register(register);
            }
        }
        if writes_flags {
            self.flags_changed = true;
            self.load_flags();
            self.form = Form::Unknown;
        }
        self.load_state(op::I64_LOAD, offset::BUDGET);
        self.code.set(local::BUDGET);
        self.code.get(local::STATUS);
        self.code.if_(None, Some(Hint::Unlikely));
        self.code.get(local::STATUS);
        self.code.i32(1);
        self.code.op(op::I32_SUB);
        self.code.set(local::STATUS);
        self.load_state(op::I64_LOAD, offset::RIP);
        self.leave_to();
        self.code.end();
        // The block's end subtracts all of its instructions.
        self.code.get(local::BUDGET);
        self.code.i64(i64::from(self.done + count));
        self.code.op(op::I64_ADD);
        self.code.set(local::BUDGET);
    }
}

/// What instructions that the interpreter executes use and change: bits of registers' numbers.
#[derive(Default)]
pub struct Effects {
    pub count: u32,
    pub used: u32,
    pub changed: u32,
    pub vectors_used: u32,
    pub vectors_changed: u32,
    pub reads_flags: bool,
    pub writes_flags: bool,
}

/// All ones of a size in bytes.
pub fn mask(size: u32) -> u64 {
    u64::MAX >> (64 - 8 * size)
}

pub fn is_high(register: Register) -> bool {
    matches!(register, Register::AH | Register::BH | Register::CH | Register::DH)
}

/// A general register's number.
pub fn number(register: Register) -> u32 {
    register.full_register().number() as u32
}
