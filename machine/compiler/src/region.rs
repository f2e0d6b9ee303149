//! A region's function: the code of its blocks, and the ways between them.

use alloc::vec;
use alloc::vec::Vec;

use cpu::compiled::Addresses;
use cpu::state::Mode;
use iced_x86::{InstructionInfoFactory, OpAccess};

use crate::action::{self, Action, X87};
use crate::emit::{local, Effects, Emitter};
use crate::flags::Form;
use crate::forms;
use crate::graph::{Block, Decoded, Graph, Start, Target, Wanted};
use crate::module::Compiled;
use crate::registers::{Plan, Set};
use crate::structure::{self, Item};
use crate::wasm::{op, Hint, Label};
use crate::windows::{self, At};
use crate::CodeSize;

pub fn compile(
    addresses: Addresses,
    mode: u32,
    bytes: &[u8],
    starts: &[Start],
    with_windows: bool,
    wanted: &dyn Fn(u16) -> Wanted,
) -> Option<(Vec<u8>, Vec<(u32, Hint)>, Compiled)> {
    let size = CodeSize::of(mode);
    let mut graph = Graph::new(bytes, size, starts, wanted);
    if graph.entries.is_empty() {
        return None;
    }
    forms::separate(&mut graph);
    let successors = graph.successors();
    let structure = structure::build(&successors, &graph.entries);
    let forms = forms::forms(&graph, &successors);
    let windows = if with_windows { windows::plan(&graph, &successors, size) } else { windows::Plan::empty(&graph) };
    let mut region = Region {
        graph: &graph,
        bytes,
        emitter: Emitter::new(addresses, mode, graph.blocks.len(), windows.slots),
        forms: &forms,
        windows: &windows,
        inner_entries: &structure.entries,
        factory: InstructionInfoFactory::new(),
        scopes: Vec::new(),
    };
    region.sequence(&structure.items, Some(&graph.entries));
    let plan = Plan::new(region.emitter.usages(), &successors);
    let (function, hints) = region.emitter.finish(&plan);
    let mut lines = 0u64;
    for one in &graph.instructions {
        for at in [u32::from(one.offset), one.next() - 1] {
            lines |= 1 << (at >> 6);
        }
    }
    let entries = graph.entries.iter().map(|&block| graph.blocks[block].start).collect();
    let units = graph.entries.iter().map(|&block| plan.needed[block].units()).collect();
    Some((function, hints, Compiled { entries, inner: graph.inner, units, lines }))
}

/// A sequence of items that is being written.
struct Scope<'a> {
    items: &'a [Item],
    /// What ends where the item begins, for those that still come.
    labels: Vec<Option<Label>>,
    position: usize,
    /// Of the loop whose body it is: the header and its beginning.
    repeat: Option<(usize, Label)>,
}

struct Region<'a> {
    graph: &'a Graph,
    /// The page.
    bytes: &'a [u8],
    emitter: Emitter,
    forms: &'a [Form],
    windows: &'a windows::Plan,
    /// The blocks by which loops are entered that are not their headers.
    inner_entries: &'a [usize],
    factory: InstructionInfoFactory,
    scopes: Vec<Scope<'a>>,
}

impl<'a> Region<'a> {
    /// Writes items one after the other. With entries, it begins at the one that the function's
    /// parameter says.
    fn sequence(&mut self, items: &'a [Item], entries: Option<&[usize]>) {
        self.scopes.push(Scope { items, labels: vec![None; items.len()], position: 0, repeat: None });
        self.open_labels(entries.is_some());
        if let Some(entries) = entries {
            let code = &mut self.emitter.code;
            let mut labels: Vec<Label> = entries.iter().map(|_| code.block(None)).collect();
            // The innermost block is the first entry's.
            labels.reverse();
            code.get(local::ENTRY);
            code.br_table(&labels);
            for &entry in entries {
                self.emitter.code.end();
                self.emitter.enter(entry);
                self.go(entry);
            }
        }
        self.write_items();
        self.scopes.pop();
    }

    /// Opens the blocks that end where items begin.
    fn open_labels(&mut self, with_first: bool) {
        let scope = self.scopes.last_mut().expect("a sequence is being written");
        for place in (usize::from(!with_first)..scope.items.len()).rev() {
            scope.labels[place] = Some(self.emitter.code.block(None));
        }
    }

    fn write_items(&mut self) {
        let items = self.scopes.last().expect("a sequence is being written").items;
        for (place, item) in items.iter().enumerate() {
            let scope = self.scopes.last_mut().expect("a sequence is being written");
            scope.position = place;
            if scope.labels[place].take().is_some() {
                self.emitter.code.end();
            }
            match item {
                Item::Node(node) => self.block(*node),
                Item::Loop(inner) => self.repeat(inner),
            }
        }
    }

    fn repeat(&mut self, inner: &'a structure::Loop) {
        let start = self.emitter.code.loop_();
        self.scopes.push(Scope {
            items: &inner.body,
            labels: vec![None; inner.body.len()],
            position: 0,
            repeat: Some((inner.header, start)),
        });
        self.open_labels(false);
        self.emitter.begin_block(inner.header);
        self.emitter.budget_is_spent();
        self.emitter.code.if_(None, Some(Hint::Unlikely));
        if !inner.entries.is_empty() {
            self.dispatch(inner);
        }
        self.emitter.leave_rarely(u32::from(self.graph.blocks[inner.header].start));
        self.emitter.code.end();
        // The header is the first of the body.
        self.write_items();
        self.scopes.pop();
        self.emitter.code.op(op::UNREACHABLE);
        self.emitter.code.end();
        // Nothing falls out of a loop.
        self.emitter.code.op(op::UNREACHABLE);
    }

    /// Goes to where in the loop it is entered, if not at its header.
    fn dispatch(&mut self, inner: &'a structure::Loop) {
        let header = self.emitter.code.block(None);
        let mut labels: Vec<Label> = inner.entries.iter().map(|_| self.emitter.code.block(None)).collect();
        labels.reverse();
        let mut targets = vec![header; self.inner_entries.len() + 1];
        for (&entry, label) in inner.entries.iter().zip(labels) {
            targets[self.entry_number(entry) as usize] = label;
        }
        self.emitter.entering();
        self.emitter.code.br_table(&targets);
        for &entry in &inner.entries {
            self.emitter.code.end();
            self.emitter.enter_loop(-self.entry_number(entry));
            self.go(entry);
        }
        self.emitter.code.end();
    }

    /// The number, from 1 on, of a block by which some loop is entered that is not its header.
    fn entry_number(&self, node: usize) -> i64 {
        self.inner_entries.binary_search(&node).expect("it is one") as i64 + 1
    }

    /// Branches to a block, wherever it is.
    fn go(&mut self, node: usize) {
        for level in (0..self.scopes.len()).rev() {
            let scope = &self.scopes[level];
            if let Some(place) = scope.items.iter().position(|item| item.contains(node)) {
                if let Some(label) = scope.labels[place] {
                    if scope.items[place].is_entered_within(node) {
                        self.emitter.enter_loop(self.entry_number(node));
                    }
                    self.emitter.code.br(label);
                    return;
                }
            }
            if let Some((header, start)) = scope.repeat {
                if header == node {
                    self.emitter.code.br(start);
                    return;
                }
            }
        }
        unreachable!("each way leads forward or to the header of a loop around it");
    }

    fn go_to(&mut self, target: Target) {
        match target {
            Target::Block(block) => self.go(block),
            Target::Crossing(offset) => self.emitter.leave_crossing(offset),
            Target::Outside(distance) => self.emitter.leave(distance),
            Target::Unknown(offset) => self.emitter.leave_rarely(u32::from(offset)),
        }
    }

    /// Pops a condition, under which it goes to a target.
    fn go_if(&mut self, target: Target) {
        let rarely = matches!(target, Target::Unknown(_));
        self.emitter.code.if_(None, rarely.then_some(Hint::Unlikely));
        self.go_to(target);
        self.emitter.code.end();
    }

    /// Pops a condition, under which it goes to one target, else to another.
    fn go_either(&mut self, target: Target, other: Target) {
        let (mut target, mut other) = (target, other);
        if matches!(other, Target::Unknown(_)) {
            self.emitter.code.op(op::I32_EQZ);
            core::mem::swap(&mut target, &mut other);
        }
        self.go_if(target);
        self.go_to(other);
    }

    fn block(&mut self, index: usize) {
        let graph = self.graph;
        let block = &graph.blocks[index];
        self.emitter.begin_block(index);
        self.emitter.form = self.forms[index];
        let instructions = &graph.instructions[block.instructions.clone()];
        let mut at = 0;
        while at < instructions.len() {
            let one = &instructions[at];
            self.emitter.offset = u32::from(one.offset);
            self.emitter.done = at as u32;
            let behind = instructions[at + 1..].iter().map(|one| (&one.instruction, one.action));
            self.emitter.flags_dead = action::flags_are_dead(behind);
            self.open_windows(block.instructions.start + at);
            match one.action {
                Action::Step => {
                    let count = instructions[at..].iter().take_while(|one| one.action == Action::Step).count();
                    let effects = self.effects(&instructions[at..at + count]);
                    self.emitter.interpret(&effects);
                    at += count;
                    continue;
                }
                Action::Vector => {
                    let effects = self.effects(&instructions[at..=at]);
                    self.emitter.vector_instruction(&one.instruction, &mut |emitter| emitter.interpret(&effects));
                }
                Action::X87(how) => self.x87(one, how),
                action if action.ends_block() => self.end_of(block, one),
                action => self.emitter.integer(&one.instruction, action),
            }
            at += 1;
        }
        if !instructions.last().is_some_and(|one| one.action.ends_block()) {
            self.emitter.spend(instructions.len() as u32);
            self.go_to(block.next.expect("it goes on"));
        }
    }

    fn open_windows(&mut self, instruction: usize) {
        let one = &self.graph.instructions[instruction];
        let stack = match one.action {
            Action::LeaveFrame => At::Frame,
            Action::Push | Action::Call | Action::CallIndirect => At::Stack(-i64::from(self.emitter.code_size.bytes())),
            _ => At::Stack(0),
        };
        self.emitter.open_windows(self.windows.of(instruction), At::Operand(&one.instruction), stack);
    }

    fn x87(&mut self, one: &Decoded, how: X87) {
        let bytes = &self.bytes[usize::from(one.offset)..one.next() as usize];
        let mode = match self.emitter.code_size {
            CodeSize::Bits32 => Mode::FLAT,
            CodeSize::Bits64 => Mode::LONG,
        };
        let operation = cpu::x87_operation(bytes, mode).expect("it was decoded as such an instruction");
        match how {
            X87::Registers | X87::Compare => self.emitter.x87(operation, how == X87::Compare),
            X87::Load | X87::Store => {
                let size = action::operand_size(&one.instruction, 0);
                self.emitter.x87_memory(&one.instruction, operation, size, how == X87::Store);
            }
        }
    }

    /// Writes the code of a block's last instruction.
    fn end_of(&mut self, block: &Block, one: &Decoded) {
        let instruction = &one.instruction;
        let count = self.emitter.done + 1;
        let jump = || block.jump.expect("direct jumps have a target");
        let next = || block.next.expect("it may go on");
        match one.action {
            Action::Jump => {
                self.emitter.spend(count);
                self.go_to(jump());
            }
            Action::Branch(cc) => {
                self.emitter.spend(count);
                self.emitter.condition(cc);
                self.go_either(jump(), next());
            }
            Action::BranchOnCounter(how) => {
                self.emitter.spend(count);
                self.emitter.counter(instruction, how);
                self.go_either(jump(), next());
            }
            Action::Call => {
                self.emitter.push_return(one.next());
                self.emitter.spend(count);
                self.go_to(jump());
            }
            Action::JumpIndirect => {
                self.emitter.indirect_target(instruction);
                self.emitter.spend(count);
                self.emitter.leave_for_target();
            }
            Action::CallIndirect => {
                self.emitter.indirect_target(instruction);
                self.emitter.push_return(one.next());
                self.emitter.spend(count);
                self.emitter.leave_for_target();
            }
            Action::Return => {
                self.emitter.return_target(instruction);
                self.emitter.spend(count);
                self.emitter.leave_for_target();
            }
            _ => unreachable!("{:?} ends no block", one.action),
        }
    }

    fn effects(&mut self, instructions: &[Decoded]) -> Effects {
        let mut effects = Effects { count: instructions.len() as u32, ..Effects::default() };
        for one in instructions {
            for used in self.factory.info(&one.instruction).used_registers() {
                let register = used.register();
                let set = if register.is_gpr() {
                    Set::general(crate::emit::number(register))
                } else if register.is_vector_register() {
                    Set::vector(register.number() as u32 & 15)
                } else {
                    continue;
                };
                effects.used |= set;
                if !matches!(used.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead) {
                    effects.changed |= set;
                }
            }
            let writes_flags = action::writes_flags(&one.instruction);
            if writes_flags {
                effects.changed |= Set::FLAGS;
            }
            if writes_flags || one.instruction.rflags_read() != 0 {
                effects.used |= Set::FLAGS;
            }
        }
        effects
    }
}
