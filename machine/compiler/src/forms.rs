//! What the flags are known to be at the beginning of each block.
//!
//! A block may be come to from outside of the region, with any flags, as well as from within, where it is known
//! what they are. Where that makes a difference, there are two of it: see [`separate`].

use alloc::vec;
use alloc::vec::Vec;

use crate::action::{self, Action, Binary, Shift, Unary};
use crate::flags::Form;
use crate::graph::{Decoded, Graph, Target};
use crate::integer::{form_after, shift_count};

/// How many instructions may be doubled. (Functions that are too long take engines long.)
const MAX_DOUBLED: usize = 200;

/// Gives blocks whose code depends on what the flags are known to be a double, which is what they are for who
/// comes from outside.
pub fn separate(graph: &mut Graph) {
    let successors = graph.successors();
    let depends = dependent(graph, &successors);
    let mut inner = vec![false; graph.blocks.len()];
    for &target in successors.iter().flatten() {
        inner[target] = true;
    }
    let mut doubles: Vec<Option<usize>> = vec![None; graph.blocks.len()];
    let mut left = MAX_DOUBLED;
    // What is for who comes from outside: blocks, and what they are doubles of.
    let mut work = Vec::new();
    for place in 0..graph.entries.len() {
        let entry = graph.entries[place];
        if !inner[entry] {
            work.push((entry, entry));
        } else if depends[entry] {
            if let Some(double) = double(graph, &mut doubles, &mut left, entry) {
                graph.entries[place] = double;
                work.push((double, entry));
            }
        }
    }
    while let Some((outer, block)) = work.pop() {
        if end_of(graph, block, None).is_some() {
            // From there on it is known in any case.
            continue;
        }
        for &target in successors[block].iter().filter(|&&target| depends[target]) {
            let is_new = doubles[target].is_none();
            let Some(double) = double(graph, &mut doubles, &mut left, target) else { continue };
            let block = &mut graph.blocks[outer];
            for way in [&mut block.jump, &mut block.next] {
                if *way == Some(Target::Block(target)) {
                    *way = Some(Target::Block(double));
                }
            }
            if is_new {
                work.push((double, target));
            }
        }
    }
}

fn double(graph: &mut Graph, doubles: &mut [Option<usize>], left: &mut usize, block: usize) -> Option<usize> {
    if doubles[block].is_none() {
        *left = left.checked_sub(graph.blocks[block].instructions.len())?;
        doubles[block] = Some(graph.double(block));
    }
    doubles[block]
}

/// Of each block, what the flags are at its beginning.
pub fn forms(graph: &Graph, successors: &[Vec<usize>]) -> Vec<Form> {
    // None of what nothing is known about yet.
    let mut known: Vec<Option<Form>> = vec![None; graph.blocks.len()];
    let mut work = graph.entries.clone();
    for &entry in &graph.entries {
        known[entry] = Some(Form::Unknown);
    }
    while let Some(index) = work.pop() {
        let form = end_of(graph, index, known[index]).unwrap_or(Form::Unknown);
        for &target in &successors[index] {
            let met = known[target].map_or(form, |before| before.meet(form));
            if known[target] != Some(met) {
                known[target] = Some(met);
                work.push(target);
            }
        }
    }
    known.into_iter().map(|form| form.unwrap_or(Form::Unknown)).collect()
}

/// What the flags are at a block's end. None where that depends on what they were at its beginning, and this is not
/// given.
fn end_of(graph: &Graph, block: usize, before: Option<Form>) -> Option<Form> {
    let after = |before: Option<Form>, one: &Decoded| {
        let after = |before| form_after(&one.instruction, one.action, before);
        match before {
            Some(before) => Some(after(before)),
            None => Some(after(Form::Explicit)).filter(|&form| form == after(Form::Logic(8))),
        }
    };
    graph.instructions[graph.blocks[block].instructions.clone()].iter().fold(before, after)
}

/// Of each block, whether the code of something depends on what the flags at its beginning are known to be.
fn dependent(graph: &Graph, successors: &[Vec<usize>]) -> Vec<bool> {
    let first = |index: usize| {
        let block = &graph.blocks[index];
        graph.instructions[block.instructions.clone()].iter().find_map(depends)
    };
    let first: Vec<Option<bool>> = (0..graph.blocks.len()).map(first).collect();
    // Who leaves takes the flags along as they are.
    let mut dependent: Vec<bool> = first.iter().map(|&first| first == Some(true)).collect();
    let mut changed = true;
    while changed {
        changed = false;
        for index in (0..dependent.len()).rev().filter(|&index| first[index].is_none()) {
            if !dependent[index] && successors[index].iter().any(|&target| dependent[target]) {
                dependent[index] = true;
                changed = true;
            }
        }
    }
    dependent
}

/// Whether an instruction's code depends on what the flags are known to be (true), or sets all of them (false). None
/// where it has nothing to do with them.
fn depends(one: &Decoded) -> Option<bool> {
    let instruction = &one.instruction;
    let count = |operand| shift_count(instruction, operand, action::operand_size(instruction, 0));
    match one.action {
        // The interpreter takes them as they are.
        Action::Step => action::writes_flags(instruction).then_some(false),
        Action::Binary(Binary::Adc | Binary::Sbb) => Some(true),
        Action::Binary(_) | Action::Unary(Unary::Neg) => Some(false),
        Action::Shift(_) if count(1) == Some(0) => None,
        Action::Shift(Shift::Shl | Shift::Shr | Shift::Sar) if count(1).is_some() => Some(false),
        Action::Multiply { .. } | Action::MultiplyInto => Some(false),
        Action::CompareExchange | Action::ExchangeAdd => Some(false),
        _ => (instruction.rflags_read() != 0 || action::writes_flags(instruction)).then_some(true),
    }
}
