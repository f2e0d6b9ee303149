//! A function being written: its locals, and access to registers, memory and what else is in
//! [`State`](cpu::state::State).
//!
//! Registers are in locals from where the function is entered to where it is left: see `registers`. Which of them
//! entries load and exits store is known when all blocks are written, and is added then. Exits that are hardly ever taken
//! say where they are and what is to be stored, and share the code that does it. Within a block the budget is not kept
//! exactly: each block subtracts its instructions at its end, and exits within it say how many were executed.

use alloc::vec;
use alloc::vec::Vec;

use cpu::chain;
use cpu::compiled::Addresses;
use cpu::state::{offset, Exit, Mode};
use cpu::tlb;
use iced_x86::{Instruction, Register};

use crate::flags::Form;
use crate::registers::{Plan, Set, Usage};
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

/// Of compiled functions: see `cpu::compiled::Function`.
pub const PARAMETERS: [Type; 3] = [Type::I32, Type::I64, Type::I64];

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
    /// The function's parameters. RIP is where it was entered, then where it goes on.
    pub const ENTRY: u32 = 0;
    pub const RIP: u32 = 1;
    pub const BUDGET: u32 = 2;
    /// 16 general registers.
    pub const GPR: u32 = 3;
    /// The linear address of the page that the code is in.
    pub const PAGE: u32 = 19;
    pub const FLAGS_RESULT: u32 = 20;
    pub const FLAGS_A: u32 = 21;
    pub const FLAGS_B: u32 = 22;
    /// Within an access to memory.
    pub const ADDRESS: u32 = 23;
    pub const VALUE: u32 = 24;
    /// Three that are free within an instruction.
    pub const TEMPORARY: u32 = 25;
    /// What `packed` gives; then which registers are to be stored.
    pub const EXIT: u32 = 28;
    /// The first of 32 bits.
    pub const FLAGS_KIND: u32 = 29;
    /// The offset of an entry in the TLB's table.
    pub const TLB_ENTRY: u32 = 30;
    /// A host address within an access.
    pub const HOST: u32 = 31;
    /// A host address within an instruction that loads and stores.
    pub const MODIFIED: u32 = 32;
    /// What the function returns, and what `compiled_interpret` has returned.
    pub const STATUS: u32 = 33;
    /// Of windows, the first slot.
    pub const SLOTS: u32 = 34;

    pub const WIDE: u32 = FLAGS_KIND - GPR;
    pub const NARROW: u32 = SLOTS - FLAGS_KIND;
}

const PAGE_MASK: i64 = !0xfff;

/// A budget has so many bits at most: `run` is given 32.
const BUDGET_BITS: i64 = 40;

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
    /// Behind so many slots of windows.
    fn behind(slots: u32) -> Vectors {
        let usual = local::SLOTS + slots;
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

/// An exit as one number: the offset in the page, instructions executed since the block's beginning, why, and which
/// registers are to be stored.
mod packed {
    pub const EXECUTED: u32 = 13;
    pub const WHY: u32 = 23;
    pub const REGISTERS: u32 = 25;
}

/// What depends on what the blocks before and behind do to registers.
enum Late {
    /// Loads what has to be there at the beginning of a block.
    Load(usize),
    /// Stores what may have been changed at an exit.
    Store(Changed),
    /// Pushes a number: the set of those above so many bits, and those bits.
    Push(Changed, u32, u64),
}

/// Where something may have been changed: before a block, and in it.
#[derive(Clone, Copy)]
struct Changed {
    block: usize,
    within: Set,
}

impl Changed {
    fn all(self, plan: &Plan) -> Set {
        plan.changed[self.block] | self.within
    }
}

pub struct Emitter {
    pub code: Code,
    addresses: Addresses,
    /// The address of the TLB's table for the code's privilege.
    table: u32,
    pub code_size: CodeSize,
    /// What each block does.
    usages: Vec<Usage>,
    /// The present one.
    block: usize,
    /// What is still to be written, and where, in the order of that.
    late: Vec<(usize, Late)>,
    /// How many of WebAssembly's blocks the present block is in.
    depth: u32,
    vectors: Vectors,
    /// How many slots of windows there are.
    slots: u32,
    /// The windows that the present instruction's memory operand and its access to the stack go to.
    uses: [Option<Use>; 2],
    /// Whether it comes to where an instruction reaches into the next page.
    crosses: bool,
    /// What the flags in the locals are known to be.
    pub form: Form,
    /// Whether nobody can see the flags between the present instruction and one that sets them all.
    pub flags_dead: bool,
    /// The present instruction's offset in the page, and how many there are before it in its block.
    pub offset: u32,
    pub done: u32,
    /// Returns `STATUS`; all is stored.
    outside: Label,
    /// Goes on at `local::RIP`; registers are stored.
    exit: Label,
    /// The same, but which are still to be stored is in `local::EXIT`.
    storing_exit: Label,
    /// Takes what `packed` gives.
    packed_exit: Label,
}

impl Emitter {
    /// `slots`: of windows.
    pub fn new(addresses: Addresses, mode: u32, blocks: usize, slots: u32) -> Emitter {
        let mut code = Code::default();
        code.get(local::RIP);
        code.i64(PAGE_MASK);
        code.op(op::I64_AND);
        code.set(local::PAGE);
        let outside = code.block(None);
        let exit = code.block(None);
        let storing_exit = code.block(None);
        let packed_exit = code.block(Some(Type::I64));
        Emitter {
            code,
            addresses,
            table: addresses.tables[(mode & Mode::USER) as usize],
            code_size: CodeSize::of(mode),
            usages: vec![Usage::default(); blocks],
            block: 0,
            late: Vec::new(),
            depth: 0,
            vectors: Vectors::behind(slots),
            slots,
            uses: [None; 2],
            crosses: false,
            form: Form::Unknown,
            flags_dead: false,
            offset: 0,
            done: 0,
            outside,
            exit,
            storing_exit,
            packed_exit,
        }
    }

    /// What each block does.
    pub fn usages(&self) -> &[Usage] {
        &self.usages
    }

    /// The whole function: its locals and instructions, and where in it branches have hints. `plan` is made of what the
    /// blocks do.
    pub fn finish(mut self, plan: &Plan) -> (Vec<u8>, Vec<(u32, Hint)>) {
        use local::*;
        self.write_late(plan);
        let all = self.usages.iter().fold(Usage::default(), |all, one| all.with(one));
        let code = &mut self.code;
        code.op(op::UNREACHABLE);
        code.end();
        code.set(EXIT);
        code.get(PAGE);
        code.get(EXIT);
        code.i64((1 << packed::EXECUTED) - 1);
        code.op(op::I64_AND);
        code.op(op::I64_ADD);
        code.set(RIP);
        code.get(BUDGET);
        code.get(EXIT);
        code.i64(i64::from(packed::EXECUTED));
        code.op(op::I64_SHR_U);
        code.i64((1 << (packed::WHY - packed::EXECUTED)) - 1);
        code.op(op::I64_AND);
        code.op(op::I64_SUB);
        code.set(BUDGET);
        code.get(EXIT);
        code.i64(i64::from(packed::WHY));
        code.op(op::I64_SHR_U);
        code.op(op::I32_WRAP_I64);
        code.i32((1 << (packed::REGISTERS - packed::WHY)) - 1);
        code.op(op::I32_AND);
        code.set(STATUS);
        code.get(EXIT);
        code.i64(i64::from(packed::REGISTERS));
        code.op(op::I64_SHR_U);
        code.set(EXIT);
        code.end();
        for one in all.changed.each() {
            self.code.get(EXIT);
            self.code.i64(one.bits() as i64);
            self.code.op(op::I64_AND);
            self.code.i64(0);
            self.code.op(op::I64_NE);
            self.code.if_(None, None);
            self.store_registers(one);
            self.code.end();
        }
        self.code.get(STATUS);
        self.code.if_(None, None);
        self.store_place();
        if self.crosses {
            self.have_executed();
        } else {
            self.code.br(self.outside);
        }
        self.code.end();
        self.code.end();
        if let Some(links) = self.addresses.links {
            self.go_on(links);
        }
        self.store_place();
        self.code.end();
        self.code.get(STATUS);
        self.code.op(op::END);

        let mut bytes = Vec::new();
        let mut groups = vec![(WIDE, Type::I64), (NARROW + self.slots, Type::I32)];
        let touched = all.read | all.changed;
        if touched.contains(Set::SSE) || touched.vectors().next().is_some() {
            groups[1].0 += 1;
            groups.extend([(20, Type::V128), (3, Type::F64), (3, Type::F32)]);
        }
        crate::wasm::unsigned(&mut bytes, groups.len() as u32);
        for (count, kind) in groups {
            crate::wasm::unsigned(&mut bytes, count);
            bytes.push(kind as u8);
        }
        let shift = bytes.len() as u32;
        bytes.extend_from_slice(&self.code.bytes);
        (bytes, self.code.hints.into_iter().map(|(at, hint)| (at + shift, hint)).collect())
    }

    // -- Blocks and what they do to registers ----------------------------------------

    /// Begins a block.
    pub fn begin_block(&mut self, block: usize) {
        self.block = block;
        self.depth = self.code.depth();
    }

    /// What has to be stored where it leaves now.
    fn to_store(&self) -> Changed {
        Changed { block: self.block, within: self.usages[self.block].changed }
    }

    fn later(&mut self, what: Late) {
        self.late.push((self.code.bytes.len(), what));
    }

    fn write_late(&mut self, plan: &Plan) {
        let late = core::mem::take(&mut self.late);
        let written = self.code.take();
        let mut begin = 0;
        for (at, what) in late {
            self.code.append(&written, begin..at);
            begin = at;
            match what {
                Late::Load(block) => self.load_registers(plan.needed[block]),
                Late::Store(changed) => self.store_registers(changed.all(plan)),
                Late::Push(changed, shift, below) => self.code.i64((changed.all(plan).bits() << shift | below) as i64),
            }
        }
        self.code.append(&written, begin..written.bytes.len());
    }

    fn uses(&mut self, what: Set) {
        self.usages[self.block].read(what);
    }

    fn changes(&mut self, what: Set) {
        // Within conditions and the like it is only written sometimes.
        let surely = self.code.depth() == self.depth;
        self.usages[self.block].write(what, surely);
    }

    /// Loads what has to be there where the function is entered at a block.
    pub fn enter(&mut self, block: usize) {
        self.later(Late::Load(block));
    }

    fn load_registers(&mut self, registers: Set) {
        if registers.contains(Set::USUAL) {
            self.load_usual();
        }
        for register in registers.vectors() {
            self.load_vector_register(register);
        }
        for register in registers.generals() {
            self.load_register(register);
        }
        if registers.contains(Set::FLAGS) {
            self.load_flags();
        }
    }

    fn store_registers(&mut self, registers: Set) {
        for register in registers.vectors() {
            self.store_vector_register(register);
        }
        for register in registers.generals() {
            self.store_register(register);
        }
        if registers.contains(Set::FLAGS) {
            self.store_flags();
        }
    }

    /// Stores where it goes on.
    fn store_place(&mut self) {
        self.store_state(offset::RIP, local::RIP);
        self.store_state(offset::BUDGET, local::BUDGET);
    }

    /// Where it left for an instruction that reaches into the next page: has it executed. Else it returns.
    fn have_executed(&mut self) {
        use local::*;
        self.code.get(STATUS);
        self.code.i32(Exit::Cross as i32);
        self.code.op(op::I32_NE);
        self.code.br_if(self.outside, None);
        self.code.i32(self.addresses.cpu as i32);
        self.code.call(import::CROSS);
        self.code.tee(STATUS);
        self.code.br_if(self.outside, Some(Hint::Unlikely));
        self.load_state(op::I64_LOAD, offset::RIP);
        self.code.set(RIP);
        self.load_state(op::I64_LOAD, offset::BUDGET);
        self.code.set(BUDGET);
    }

    /// Calls what is linked for `RIP` in this function's place, if it may go on.
    fn go_on(&mut self, links: u32) {
        use local::*;
        let code = &mut self.code;
        code.get(BUDGET);
        code.i64(0);
        code.op(op::I64_GT_S);
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
        code.if_(None, None);
        code.get(HOST);
        code.memory(op::I64_LOAD, links + chain::offset::TAG as u32);
        code.i32(0);
        code.memory(op::I64_LOAD, self.addresses.cpu + offset::CHAIN_TAG as u32);
        code.op(op::I64_EQ);
        code.if_(None, None);
        code.get(HOST);
        code.memory(op::I32_LOAD, links + chain::offset::ENTRY as u32);
        code.get(RIP);
        code.get(BUDGET);
        code.get(HOST);
        code.memory(op::I32_LOAD, links + chain::offset::PLACE as u32);
        code.return_call_indirect(FUNCTION_TYPE);
        code.end();
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

    /// Pushes whether MXCSR is as usual.
    pub fn usual(&mut self) {
        self.uses(Set::USUAL);
        self.code.get(self.vectors.usual);
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
        self.uses(Set::general(register));
        self.code.get(local::GPR + register);
    }

    /// Pops a register's 64 bits.
    pub fn set_whole(&mut self, register: u32) {
        self.changes(Set::general(register));
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

    /// Makes 64 bits of the 32 of a value that a local is going to have.
    ///
    /// Where a local has such a value on one way and 64 bits on another, V8 11.3 (Node 20, Chromium 113) loses the upper
    /// half at times: it takes the extension for nothing, and spills the 32 bits to where 64 are read. What has been
    /// through an operation of 64 bits has all of them. [`Emitter::set_register`] does the same.
    pub fn extend_to_64(&mut self) {
        self.code.op(op::I64_EXTEND_I32_U);
        self.cut(4);
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
        self.uses(Set::SSE);
    }

    pub fn use_avx(&mut self) {
        self.uses(Set::AVX);
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
        self.uses(Set::vector(register));
        self.code.get(self.vectors.first + register);
    }

    pub fn set_vector(&mut self, register: u32) {
        self.changes(Set::vector(register));
        self.code.set(self.vectors.first + register);
    }

    // -- Flags -------------------------------------------------------------------------

    pub fn use_flags(&mut self) {
        self.uses(Set::FLAGS);
    }

    /// Says what is in `FLAGS_RESULT` and the others.
    pub fn set_form(&mut self, form: Form) {
        self.changes(Set::FLAGS);
        self.code.i32(form.kind() as i32);
        self.code.set(local::FLAGS_KIND);
        self.form = form;
    }

    /// Has the flags made explicit, whatever they are, in `FLAGS_RESULT`.
    pub fn call_for_flags(&mut self) {
        self.use_flags();
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
        code.i64(tlb::TAG_BITS);
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
        local::SLOTS + number
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
        self.uses(Set::X87);
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
        self.leave_packed(self.offset, self.done, why);
        self.code.end();
    }

    fn leave_packed(&mut self, offset: u32, executed: u32, why: Exit) {
        let exit = u64::from(offset) | u64::from(executed) << packed::EXECUTED | (why as u64) << packed::WHY;
        self.later(Late::Push(self.to_store(), packed::REGISTERS, exit));
        self.code.br(self.packed_exit);
    }

    /// Leaves for a place at this distance from the page's beginning. The block's instructions are
    /// already subtracted from the budget.
    pub fn leave(&mut self, distance: i64) {
        self.code.get(local::PAGE);
        self.code.i64(distance);
        self.code.op(op::I64_ADD);
        self.cut_address();
        self.leave_to();
    }

    /// Leaves for an offset in the page, which hardly ever happens.
    pub fn leave_rarely(&mut self, offset: u32) {
        self.leave_packed(offset, 0, Exit::Next);
    }

    /// Leaves for an instruction in the page that reaches into the next one.
    pub fn leave_crossing(&mut self, offset: u16) {
        self.crosses = true;
        self.leave_packed(u32::from(offset), 0, Exit::Cross);
    }

    /// Pops the linear address at which it goes on.
    pub fn leave_to(&mut self) {
        self.code.set(local::RIP);
        self.later(Late::Store(self.to_store()));
        self.code.br(self.exit);
    }

    /// Pushes whether the budget is used up, or [`Emitter::enter_loop`] has made it seem so.
    pub fn budget_is_spent(&mut self) {
        self.code.get(local::BUDGET);
        self.code.i64(0);
        self.code.op(op::I64_LE_S);
    }

    /// Has a number (or, with the negative one, has it no more) in the budget, of which only the low bits are used
    /// otherwise: of where in a loop it is going. So turns of the loop need no look at anything else.
    pub fn enter_loop(&mut self, number: i64) {
        self.code.get(local::BUDGET);
        self.code.i64(number << BUDGET_BITS);
        self.code.op(op::I64_SUB);
        self.code.set(local::BUDGET);
    }

    /// Pushes the number that the budget has, or 0.
    pub fn entering(&mut self) {
        self.code.i32(0);
        self.code.get(local::BUDGET);
        self.code.i64(1 << (BUDGET_BITS - 1));
        self.code.op(op::I64_ADD);
        self.code.i64(BUDGET_BITS);
        self.code.op(op::I64_SHR_S);
        self.code.op(op::I32_WRAP_I64);
        self.code.op(op::I32_SUB);
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
        let &Effects { count, used, changed } = effects;
        self.uses(used);
        self.store_registers(used);
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
        self.changes(changed);
        self.load_registers(changed);
        if changed.contains(Set::FLAGS) {
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
        self.code.set(local::RIP);
        self.later(Late::Push(self.to_store(), 0, 0));
        self.code.set(local::EXIT);
        self.code.br(self.storing_exit);
        self.code.end();
        // The block's end subtracts all of its instructions.
        self.code.get(local::BUDGET);
        self.code.i64(i64::from(self.done + count));
        self.code.op(op::I64_ADD);
        self.code.set(local::BUDGET);
    }
}

/// What instructions that the interpreter executes use, and what of it they change.
#[derive(Default)]
pub struct Effects {
    pub count: u32,
    pub used: Set,
    pub changed: Set,
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
