//! From a page's bytes to blocks of decoded instructions and the ways between them.

use alloc::vec;
use alloc::vec::Vec;

use iced_x86::{Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, OpKind};

use crate::action::{self, Action};
use crate::{ways, CodeSize, PAGE};

/// What is beyond becomes other regions: engines take long for long functions.
pub const MAX_INSTRUCTIONS: usize = 1000;

#[derive(Clone, Copy)]
pub struct Decoded {
    pub instruction: Instruction,
    pub action: Action,
    pub offset: u16,
}

impl Decoded {
    pub fn next(&self) -> u32 {
        u32::from(self.offset) + self.instruction.len() as u32
    }
}

/// What is to be done with a place in a page that code leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// It becomes part of the region.
    Here,
    /// There is compiled code for it, or there will be.
    Elsewhere,
    /// It was never executed, as far as is known, and is left out.
    Never,
}

/// A place in a page where compiled code began to be wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    pub offset: u16,
    /// Whether it is known to be come to from outside of the region.
    pub entered: bool,
}

/// Where a way leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Block(usize),
    /// An instruction, at an offset, that reaches into the next page.
    Crossing(u16),
    /// Somewhere that is not compiled, or elsewhere: its distance from the page's beginning.
    Outside(i64),
    /// An offset of what was never executed.
    Unknown(u16),
}

pub struct Block {
    /// In the page.
    pub start: u16,
    /// In `Graph::instructions`. Not empty.
    pub instructions: core::ops::Range<usize>,
    /// Where the last instruction leads when it jumps, and when it does not (or only goes on). For calls, `next` is
    /// where they return to, which is no direct way.
    pub jump: Option<Target>,
    pub next: Option<Target>,
    /// The block whose double it is.
    pub double_of: Option<usize>,
}

impl Block {
    /// The direct ways to other blocks.
    pub fn successors(&self, graph: &Graph) -> impl Iterator<Item = usize> {
        let call = matches!(graph.last(self).action, Action::Call | Action::CallIndirect);
        let next = if call { None } else { self.next };
        [self.jump, next].into_iter().flatten().filter_map(|target| match target {
            Target::Block(block) => Some(block),
            Target::Crossing(_) | Target::Outside(_) | Target::Unknown(_) => None,
        })
    }
}

pub struct Graph {
    pub instructions: Vec<Decoded>,
    pub blocks: Vec<Block>,
    /// By offset in the page: the block that begins there, or `NONE`.
    at: Vec<u16>,
    /// Offsets of instructions that reach into the next page.
    crossings: Vec<u16>,
    /// Offsets of what was never executed.
    unknown: Vec<u16>,
    /// The blocks that are come to from outside, too: behind calls and what only the interpreter executes, where ways
    /// back lead (there it is left when the budget is used up), and those of the starts from which the others can be
    /// reached.
    pub entries: Vec<usize>,
    /// The starts that are no entries.
    pub inner: Vec<u16>,
}

const NONE: u16 = u16::MAX;

/// How far a direct branch's target is from the page's beginning.
fn branch_target(instruction: &Instruction) -> Option<i64> {
    match instruction.op_kind(0) {
        OpKind::NearBranch64 => Some(instruction.near_branch64() as i64),
        OpKind::NearBranch32 => Some(i64::from(instruction.near_branch32() as i32)),
        _ => None,
    }
}

impl Graph {
    /// Decodes what can be reached from these offsets by ways to places that are wanted.
    pub fn new(bytes: &[u8], size: CodeSize, starts: &[Start], wanted: &dyn Fn(u16) -> Wanted) -> Graph {
        let mut leader = vec![false; PAGE];
        let mut decoded: Vec<Option<Decoded>> = vec![None; PAGE];
        let mut work: Vec<u16> = Vec::new();
        let mut unknown = Vec::new();
        let mut follow = |leader: &mut [bool], work: &mut Vec<u16>, offset: i64| {
            if !(0..PAGE as i64).contains(&offset) || leader[offset as usize] {
                return;
            }
            match wanted(offset as u16) {
                Wanted::Here => {
                    leader[offset as usize] = true;
                    work.push(offset as u16);
                }
                Wanted::Elsewhere => {}
                Wanted::Never => unknown.push(offset as u16),
            }
        };
        let mut entered = vec![false; PAGE];
        for start in starts {
            let offset = start.offset as usize;
            if !leader[offset] {
                leader[offset] = true;
                work.push(start.offset);
            }
            entered[offset] |= start.entered;
        }
        let mut count = 0;
        let mut crossings = Vec::new();
        let mut decoder = Decoder::with_ip(size.bits(), bytes, 0, DecoderOptions::NONE);
        while let Some(start) = work.pop() {
            let mut offset = start as usize;
            while offset < PAGE && decoded[offset].is_none() && count < MAX_INSTRUCTIONS {
                if decoder.set_position(offset).is_err() {
                    break;
                }
                decoder.set_ip(offset as u64);
                let instruction = decoder.decode();
                if decoder.last_error() == DecoderError::NoMoreBytes {
                    crossings.push(offset as u16);
                    break;
                }
                let action = action::select(&instruction, size);
                let one = Decoded { instruction, action, offset: offset as u16 };
                decoded[offset] = Some(one);
                count += 1;
                let next = one.next();
                if action.ends_block() {
                    if !matches!(action, Action::Leave) {
                        if let Some(target) = branch_target(&instruction) {
                            follow(&mut leader, &mut work, target);
                        }
                    }
                    let goes_on = matches!(
                        action,
                        Action::Branch(_) | Action::BranchOnCounter(_) | Action::Call | Action::CallIndirect
                    ) || action == Action::Leave
                        && matches!(
                            instruction.flow_control(),
                            FlowControl::Next | FlowControl::Call | FlowControl::Interrupt
                        );
                    if goes_on {
                        follow(&mut leader, &mut work, i64::from(next));
                        if !matches!(action, Action::Branch(_) | Action::BranchOnCounter(_)) && (next as usize) < PAGE {
                            entered[next as usize] = true;
                        }
                    }
                    break;
                }
                offset = next as usize;
            }
            // Where a stream of instructions joins another, a block begins: each instruction is in one.
            if offset != start as usize && offset < PAGE && decoded[offset].is_some() {
                leader[offset] = true;
            }
        }
        let mut graph = Graph::from_instructions(&decoded, &leader, &mut entered, crossings, unknown);
        graph.choose_entries(starts, &entered);
        graph
    }

    fn from_instructions(
        decoded: &[Option<Decoded>],
        leader: &[bool],
        entered: &mut [bool],
        crossings: Vec<u16>,
        unknown: Vec<u16>,
    ) -> Graph {
        let mut graph = Graph {
            instructions: Vec::new(),
            blocks: Vec::new(),
            at: vec![NONE; PAGE],
            crossings,
            unknown,
            entries: Vec::new(),
            inner: Vec::new(),
        };
        // Which places blocks can begin at: those where there is an instruction that is compiled.
        let compiled = |offset: usize| decoded.get(offset).copied().flatten().filter(|one| one.action != Action::Leave);
        for (start, _) in leader.iter().enumerate().filter(|&(_, &is)| is) {
            if compiled(start).is_some() {
                graph.at[start] = graph.blocks.len() as u16;
                graph.blocks.push(Block {
                    start: start as u16,
                    instructions: 0..0,
                    jump: None,
                    next: None,
                    double_of: None,
                });
            }
        }
        for index in 0..graph.blocks.len() {
            let mut offset = graph.blocks[index].start as usize;
            let first = graph.instructions.len();
            let (mut jump, mut next) = (None, None);
            loop {
                match compiled(offset) {
                    Some(one) => {
                        graph.instructions.push(one);
                        offset = one.next() as usize;
                        if one.action.ends_block() {
                            jump = branch_target(&one.instruction).map(|target| graph.target(target));
                            if !matches!(one.action, Action::Jump | Action::JumpIndirect | Action::Return) {
                                next = Some(graph.target(offset as i64));
                            }
                            break;
                        }
                        if offset < PAGE && leader[offset] {
                            next = Some(graph.target(offset as i64));
                            break;
                        }
                    }
                    None => {
                        next = Some(graph.target(offset as i64));
                        break;
                    }
                }
            }
            let block = &mut graph.blocks[index];
            block.instructions = first..graph.instructions.len();
            (block.jump, block.next) = (jump, next);
        }
        for block in &graph.blocks {
            for target in block.successors(&graph) {
                let target = graph.blocks[target].start;
                if target <= block.start {
                    entered[target as usize] = true;
                }
            }
        }
        graph
    }

    /// Begins with the places that are known to be entered. Of the other starts as many become entries as are needed to
    /// reach all: each entry costs who comes from within, as nothing is known there.
    fn choose_entries(&mut self, starts: &[Start], entered: &[bool]) {
        let successors = self.successors();
        let mut reached = vec![false; self.blocks.len()];
        let mut chosen = vec![false; self.blocks.len()];
        for (index, block) in self.blocks.iter().enumerate() {
            if entered[block.start as usize] {
                chosen[index] = true;
                ways::reach(index, &successors, &mut reached);
            }
        }
        let mut led_to = vec![false; self.blocks.len()];
        for &target in successors.iter().flatten() {
            led_to[target] = true;
        }
        let blocks = starts.iter().map(|start| self.at[start.offset as usize]).filter(|&block| block != NONE);
        let mut others: Vec<usize> = blocks.map(usize::from).collect();
        others.sort_unstable_by_key(|&block| (led_to[block], block));
        for block in others {
            if !reached[block] {
                chosen[block] = true;
                ways::reach(block, &successors, &mut reached);
            } else if !chosen[block] {
                self.inner.push(self.blocks[block].start);
            }
        }
        self.entries = (0..self.blocks.len()).filter(|&block| chosen[block]).collect();
    }

    /// Of each block, the direct ways to others.
    pub fn successors(&self) -> Vec<Vec<usize>> {
        self.blocks.iter().map(|block| block.successors(self).collect()).collect()
    }

    /// Adds another block with the same instructions.
    pub fn double(&mut self, block: usize) -> usize {
        let Block { start, ref instructions, jump, next, .. } = self.blocks[block];
        let instructions = instructions.clone();
        self.blocks.push(Block { start, instructions, jump, next, double_of: Some(block) });
        self.blocks.len() - 1
    }

    /// The block itself, or the one whose double it is.
    pub fn original(&self, block: usize) -> usize {
        self.blocks[block].double_of.unwrap_or(block)
    }

    fn target(&self, offset: i64) -> Target {
        match self.at.get(offset as usize) {
            Some(&block) if offset >= 0 && block != NONE => Target::Block(block as usize),
            _ if (0..PAGE as i64).contains(&offset) && self.crossings.contains(&(offset as u16)) => {
                Target::Crossing(offset as u16)
            }
            _ if (0..PAGE as i64).contains(&offset) && self.unknown.contains(&(offset as u16)) => {
                Target::Unknown(offset as u16)
            }
            _ => Target::Outside(offset),
        }
    }

    pub fn last(&self, block: &Block) -> &Decoded {
        &self.instructions[block.instructions.end - 1]
    }
}
