//! Which accesses to memory go to the same few bytes at an address that only grows by constants, so that
//! the TLB is looked up once for all of them.
//!
//! Such a stretch of bytes is a window. Before the first instruction that accesses it, compiled code looks up
//! all of it, as if it were one access, and keeps its host address in a local, its slot. Later accesses need
//! neither their linear address nor the TLB. Where the window does not lie in one page of plain memory, that
//! instruction is left to the interpreter. Code where that happens too often is compiled anew, without windows
//! (`cpu`'s `windows`).
//!
//! A window's host address stays right for as long as the function runs: what changes the TLB's meaning
//! (address space, flush, privilege) is no part of a region, and no page but the code's own becomes a page
//! of code meanwhile, which no window for writing is ever in.
//!
//! Windows reach from a block to those that only it leads to. A block's double has the same windows: before both,
//! none is open, or those that the blocks before both have opened.

use alloc::vec;
use alloc::vec::Vec;

use cpu::state::{RBP, RSP};
use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use crate::action::{self, Action, Binary, Bit, X87};
use crate::emit::number;
use crate::graph::{Decoded, Graph};
use crate::CodeSize;

/// In bytes. The longer, the more of them go over the end of a page.
const LONGEST: i64 = 64;
/// How many there are at a time.
const SLOTS: usize = 12;

/// What an instruction accesses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At<'a> {
    /// Its memory operand.
    Operand(&'a Instruction),
    /// At a distance from RSP, its own stack.
    Stack(i64),
    /// At RBP, as LEAVE does.
    Frame,
}

/// An access that goes to a window.
#[derive(Clone, Copy)]
pub struct Use {
    pub slot: u32,
    /// Its place in the window.
    pub place: u32,
    pub size: u32,
    /// Whether the window is one for writing, too.
    pub writes: bool,
    /// The window's length, where it is the first access to it.
    pub opens: Option<u32>,
}

/// Of each instruction, what becomes of its memory operand and of its access to the stack.
pub struct Plan {
    uses: Vec<[Option<Use>; 2]>,
    /// How many slots there are.
    pub slots: u32,
}

impl Plan {
    /// Without windows.
    pub fn empty(graph: &Graph) -> Plan {
        Plan { uses: vec![[None; 2]; graph.instructions.len()], slots: 0 }
    }

    /// Of an instruction of the graph.
    pub fn of(&self, instruction: usize) -> [Option<Use>; 2] {
        self.uses[instruction]
    }
}

/// A value that a register has had, and what was added to it since.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Value {
    version: u32,
    distance: i64,
}

/// What an address is made of, but for a constant.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Base {
    base: u32,
    /// Its version and by how many bits it is shifted.
    index: Option<(u32, u32)>,
}

/// The version of the address of the code's page.
const PAGE: u32 = 0;

struct Window {
    base: Base,
    /// From, to, as distances from the base.
    low: i64,
    high: i64,
    writes: bool,
    slot: usize,
    uses: u32,
}

/// An access: where, how many bytes, and whether it stores.
struct Access {
    base: Base,
    distance: i64,
    size: u32,
    writes: bool,
    /// On the stack, which is always writable.
    stack: bool,
}

#[derive(Clone)]
struct State {
    registers: [Value; 16],
    /// The version that the stack pointer has, or had last.
    stack: u32,
    /// Windows that are open, the last used ones last.
    open: Vec<usize>,
}

struct Planner<'a> {
    graph: &'a Graph,
    code_size: CodeSize,
    windows: Vec<Window>,
    /// Windows and distances of accesses, and whether they are the first.
    uses: Vec<[Option<(usize, i64, u32, bool)>; 2]>,
    versions: u32,
    factory: InstructionInfoFactory,
}

pub fn plan(graph: &Graph, successors: &[Vec<usize>], code_size: CodeSize) -> Plan {
    let mut planner = Planner {
        graph,
        code_size,
        windows: Vec::new(),
        uses: vec![[None; 2]; graph.instructions.len()],
        versions: PAGE,
        factory: InstructionInfoFactory::new(),
    };
    let mut ways = vec![0u32; graph.blocks.len()];
    for &entry in &graph.entries {
        ways[graph.original(entry)] += 2;
    }
    let is_original = |block: &usize| graph.original(*block) == *block;
    for block in (0..graph.blocks.len()).filter(is_original) {
        for &target in &successors[block] {
            ways[graph.original(target)] += 1;
        }
    }
    for root in (0..graph.blocks.len()).filter(is_original).filter(|&block| ways[block] != 1) {
        let mut work = vec![(root, planner.unknown())];
        while let Some((block, mut state)) = work.pop() {
            for index in graph.blocks[block].instructions.clone() {
                planner.instruction(index, &mut state);
            }
            for target in successors[block].iter().map(|&target| graph.original(target)) {
                if ways[target] == 1 {
                    work.push((target, state.clone()));
                }
            }
        }
    }
    planner.finish()
}

impl Planner<'_> {
    fn version(&mut self) -> u32 {
        self.versions += 1;
        self.versions
    }

    fn fresh(&mut self) -> Value {
        Value { version: self.version(), distance: 0 }
    }

    fn unknown(&mut self) -> State {
        let registers = core::array::from_fn(|_| self.fresh());
        State { registers, stack: registers[RSP].version, open: Vec::new() }
    }

    fn finish(self) -> Plan {
        let windows = &self.windows;
        let mut slots = 0;
        let mut of = |(window, distance, size, first): (usize, i64, u32, bool)| {
            let window: &Window = &windows[window];
            // A single access is looked up as it is.
            (window.uses > 1).then(|| {
                slots = slots.max(window.slot as u32 + 1);
                Use {
                    slot: window.slot as u32,
                    place: (distance - window.low) as u32,
                    size,
                    writes: window.writes,
                    opens: first.then_some((window.high - window.low) as u32),
                }
            })
        };
        let uses = self.uses.iter().map(|uses| uses.map(|one| one.and_then(&mut of))).collect();
        Plan { uses, slots }
    }

    fn instruction(&mut self, index: usize, state: &mut State) {
        let one = self.graph.instructions[index];
        if one.action == Action::Step {
            state.open.clear();
        }
        let accesses = [self.operand(&one, state), self.stack(&one, state)];
        for (which, access) in accesses.into_iter().enumerate() {
            if let Some(access) = access {
                self.uses[index][which] = Some(self.access(&access, state));
            }
        }
        self.effects(&one, state);
    }

    /// The window that an access goes to.
    fn access(&mut self, access: &Access, state: &mut State) -> (usize, i64, u32, bool) {
        let (from, to) = (access.distance, access.distance.wrapping_add(i64::from(access.size)));
        let writes = access.writes || access.stack;
        let fits = |window: &Window| {
            window.base == access.base
                && (window.writes || !access.writes)
                && window.high.max(to).checked_sub(window.low.min(from)).is_some_and(|length| length <= LONGEST)
        };
        let known = state.open.iter().rposition(|&window| fits(&self.windows[window]));
        let first = known.is_none();
        let number = match known {
            Some(place) => state.open.remove(place),
            None => {
                if state.open.len() == SLOTS {
                    state.open.remove(0);
                }
                let free = |slot: &usize| !state.open.iter().any(|&window| self.windows[window].slot == *slot);
                let slot = (0..SLOTS).find(free).expect("there are more than are open");
                self.windows.push(Window { base: access.base, low: from, high: to, writes, slot, uses: 0 });
                self.windows.len() - 1
            }
        };
        let window = &mut self.windows[number];
        window.low = window.low.min(from);
        window.high = window.high.max(to);
        window.uses += 1;
        state.open.push(number);
        (number, from, access.size, first)
    }

    fn operand(&self, one: &Decoded, state: &State) -> Option<Access> {
        let instruction = &one.instruction;
        let operand = (0..instruction.op_count()).find(|&i| instruction.op_kind(i) == OpKind::Memory)?;
        let writes = match one.action {
            Action::Nothing | Action::LoadAddress | Action::Step | Action::Leave => return None,
            Action::X87(how) => how == X87::Store,
            Action::Binary(Binary::Cmp | Binary::Test)
            | Action::Bit(Bit::Test)
            | Action::Multiply { .. }
            | Action::Divide { .. }
            | Action::Push
            | Action::JumpIndirect
            | Action::CallIndirect => false,
            _ => operand == 0,
        };
        if matches!(instruction.memory_segment(), Register::FS | Register::GS) {
            return None;
        }
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let value = |register: Register| state.registers[number(register) as usize];
        let of_code_size = |register: Register| register.size() == self.code_size.bytes() as usize;
        let displacement = instruction.memory_displacement64();
        let mut distance = match self.code_size {
            CodeSize::Bits32 => i64::from(displacement as i32),
            CodeSize::Bits64 => displacement as i64,
        };
        let mut stack = false;
        let base = match base {
            Register::RIP => PAGE,
            base if base.is_gpr() && of_code_size(base) => {
                let Value { version, distance: more } = value(base);
                stack = version == state.stack;
                distance = distance.wrapping_add(more);
                version
            }
            _ => return None,
        };
        let index = match index {
            Register::None => None,
            index if of_code_size(index) => {
                let Value { version, distance: more } = value(index);
                let shift = instruction.memory_index_scale().trailing_zeros();
                distance = distance.wrapping_add(more << shift);
                Some((version, shift))
            }
            _ => return None,
        };
        stack &= index.is_none();
        let size = action::operand_size(instruction, operand);
        (i64::from(size) <= LONGEST).then_some(Access { base: Base { base, index }, distance, size, writes, stack })
    }

    fn stack(&self, one: &Decoded, state: &State) -> Option<Access> {
        let size = self.code_size.bytes();
        let (register, at, writes) = match one.action {
            Action::Push | Action::Call | Action::CallIndirect => (RSP, -i64::from(size), true),
            Action::Pop | Action::Return => (RSP, 0, false),
            Action::LeaveFrame => (RBP, 0, false),
            _ => return None,
        };
        let Value { version, distance } = state.registers[register];
        let base = Base { base: version, index: None };
        let stack = version == state.stack;
        Some(Access { base, distance: distance.wrapping_add(at), size, writes, stack })
    }

    /// What an instruction makes of the registers.
    fn effects(&mut self, one: &Decoded, state: &mut State) {
        let instruction = &one.instruction;
        let size = i64::from(self.code_size.bytes());
        let to = (action::is_register(instruction, 0)
            && instruction.op_register(0).is_gpr()
            && instruction.op_register(0).size() as i64 == size)
            .then(|| number(instruction.op_register(0)) as usize);
        let from = action::is_register(instruction, 1).then(|| instruction.op_register(1));
        let constant = || {
            let is =
                instruction.op_count() == 2 && !matches!(instruction.op_kind(1), OpKind::Register | OpKind::Memory);
            is.then(|| instruction.immediate(1) as i64)
        };
        let add = |state: &mut State, register: usize, more: i64| {
            let distance = &mut state.registers[register].distance;
            *distance = distance.wrapping_add(more);
        };
        match (one.action, to) {
            (Action::Move, Some(to)) if from.is_some_and(Register::is_gpr) => {
                state.registers[to] = state.registers[number(instruction.op_register(1)) as usize];
                return self.moved(to, state);
            }
            (Action::Binary(Binary::Add), Some(to)) => {
                if let Some(more) = constant() {
                    return add(state, to, more);
                }
            }
            (Action::Binary(Binary::Sub), Some(to)) => {
                if let Some(less) = constant() {
                    return add(state, to, less.wrapping_neg());
                }
            }
            (Action::Unary(_), Some(to)) if instruction.mnemonic() == Mnemonic::Inc => return add(state, to, 1),
            (Action::Unary(_), Some(to)) if instruction.mnemonic() == Mnemonic::Dec => return add(state, to, -1),
            (Action::LoadAddress, Some(to)) => {
                let base = instruction.memory_base();
                if base == Register::RIP {
                    let distance = instruction.memory_displacement64() as i64;
                    state.registers[to] = Value { version: PAGE, distance };
                    return self.moved(to, state);
                }
                if instruction.memory_index() == Register::None && base.is_gpr() && base.size() as i64 == size {
                    let Value { version, distance } = state.registers[number(base) as usize];
                    let more = instruction.memory_displacement64() as i64;
                    state.registers[to] = Value { version, distance: distance.wrapping_add(more) };
                    return self.moved(to, state);
                }
            }
            (Action::Push | Action::Call | Action::CallIndirect, _) => return add(state, RSP, -size),
            (Action::Pop, Some(to)) => {
                add(state, RSP, size);
                state.registers[to] = self.fresh();
                return self.moved(to, state);
            }
            (Action::LeaveFrame, _) => {
                let Value { version, distance } = state.registers[RBP];
                state.registers[RSP] = Value { version, distance: distance.wrapping_add(size) };
                state.registers[RBP] = self.fresh();
                return self.moved(RSP, state);
            }
            _ => {}
        }
        let mut changed = 0u32;
        for used in self.factory.info(instruction).used_registers() {
            let changes = !matches!(used.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead);
            if used.register().is_gpr() && changes {
                changed |= 1 << number(used.register());
            }
        }
        for register in (0..16).filter(|register| changed & 1 << register != 0) {
            state.registers[register] = self.fresh();
            self.moved(register, state);
        }
    }

    /// A register has a new value.
    fn moved(&self, register: usize, state: &mut State) {
        if register == RSP {
            state.stack = state.registers[RSP].version;
        }
    }
}
