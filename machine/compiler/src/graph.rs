//! From bytes of code to blocks of decoded instructions and the ways between them.
//!
//! A region has a main page and others near it, in a window of linear addresses: a *position* is the distance
//! from the window's beginning ([`MAIN`] is the main page's). Small functions that are called become part of
//! what calls them, each time anew: a block is of one such *context*, whose number is above the position's bits
//! in a [`Spot`], so that it is known where a function returns to, as long as it does what functions do.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use iced_x86::{Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, OpKind};

use crate::action::{self, Action};
use crate::{CodeSize, Heat, Source, PAGE};

/// What is beyond becomes other regions: engines take long for long functions.
const MAX_INSTRUCTIONS: usize = 1000;
/// Of functions that become part of what calls them: in all, and of each of them.
const MAX_INLINED: usize = 800;
const MAX_CALLEE: usize = 100;
/// How deep they call each other.
const MAX_DEPTH: u32 = 3;
/// Pages of a region: each has a bit in the function's parameter.
const MAX_PAGES: usize = 16;
/// Of one block: see `emit::packed`.
const MAX_BLOCK: usize = 250;

/// Of a position.
pub const POSITION_BITS: u32 = 22;
/// Where the window ends: what is behind an instruction in it has a position, too.
const WINDOW: i64 = (1 << POSITION_BITS) - PAGE as i64;
/// Of the main page.
pub const MAIN: u32 = 1 << (POSITION_BITS - 1);

/// A position in a context.
type Spot = u32;

fn spot(context: usize, position: u32) -> Spot {
    (context as u32) << POSITION_BITS | position
}

fn context(spot: Spot) -> usize {
    (spot >> POSITION_BITS) as usize
}

fn position(spot: Spot) -> u32 {
    spot % (1 << POSITION_BITS)
}

/// How many pages a position is behind the main page.
pub fn distance(position: u32) -> i32 {
    (position / PAGE as u32) as i32 - (MAIN / PAGE as u32) as i32
}

fn page_start(position: u32) -> u32 {
    position & !(PAGE as u32 - 1)
}

/// As what `Source` is asked for: from the main page's beginning.
fn from_main(position: u32) -> i64 {
    i64::from(position) - i64::from(MAIN)
}

#[derive(Clone, Copy)]
pub struct Decoded {
    pub instruction: Instruction,
    pub action: Action,
    pub position: u32,
}

impl Decoded {
    pub fn next(&self) -> u32 {
        self.position + self.instruction.len() as u32
    }
}

/// Where a way leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Block(usize),
    /// An instruction, at a position, that reaches into the next page.
    Crossing(u32),
    /// Somewhere that is not compiled: its position, which may be outside the window.
    Outside(i64),
}

pub struct Block {
    /// Its position.
    pub start: u32,
    /// The place of its page in `Graph::pages`.
    pub page: usize,
    /// In `Graph::instructions`. Not empty.
    pub instructions: core::ops::Range<usize>,
    /// Where the last instruction leads when it jumps, and when it does not (or only goes on). For calls, `next` is
    /// where they return to, which is no direct way; for returns, where they are expected to lead.
    pub jump: Option<Target>,
    pub next: Option<Target>,
}

impl Block {
    /// The ways to other blocks.
    pub fn successors(&self, graph: &Graph) -> impl Iterator<Item = usize> {
        let call = matches!(graph.last(self).action, Action::Call | Action::CallIndirect);
        let next = if call { None } else { self.next };
        [self.jump, next].into_iter().flatten().filter_map(|target| match target {
            Target::Block(block) => Some(block),
            Target::Crossing(_) | Target::Outside(_) => None,
        })
    }
}

pub struct Graph {
    pub instructions: Vec<Decoded>,
    pub blocks: Vec<Block>,
    at: BTreeMap<Spot, usize>,
    /// Positions of instructions that reach into the next page.
    crossings: BTreeSet<u32>,
    /// The blocks that are come to from outside, too: where the region was said to begin, behind calls
    /// and what only the interpreter executes, and where ways back lead (there it is left when the
    /// budget is used up).
    pub entries: Vec<usize>,
    /// How many pages behind the main page each of the region's pages is. The main page is the first.
    pub pages: Vec<i32>,
}

/// How far a direct branch's target is from the window's beginning.
fn branch_target(instruction: &Instruction) -> Option<i64> {
    match instruction.op_kind(0) {
        OpKind::NearBranch64 => Some(instruction.near_branch64() as i64),
        OpKind::NearBranch32 => Some(i64::from(instruction.near_branch32() as i32)),
        _ => None,
    }
}

/// Whether the instruction behind one that ends a block may be executed after it: (back from a call, too).
fn goes_on(one: &Decoded) -> bool {
    match one.action {
        Action::Branch(_) | Action::BranchOnCounter(_) | Action::Call | Action::CallIndirect => true,
        Action::Leave => matches!(
            one.instruction.flow_control(),
            FlowControl::Next | FlowControl::Call | FlowControl::Interrupt
        ),
        _ => false,
    }
}

/// Decodes instructions of one page, one after the other.
struct Page<'a> {
    decoder: Decoder<'a>,
    size: CodeSize,
    start: u32,
}

impl<'a> Page<'a> {
    /// Of the page that a position is in.
    fn new(source: &'a dyn Source, size: CodeSize, position: u32) -> Option<Page<'a>> {
        let bytes = source.page(distance(position))?;
        assert_eq!(bytes.len(), PAGE);
        let decoder = Decoder::with_ip(size.bits(), bytes, 0, DecoderOptions::NONE);
        Some(Page { decoder, size, start: page_start(position) })
    }

    fn contains(&self, position: u32) -> bool {
        page_start(position) == self.start
    }

    /// None for an instruction that reaches into the next page.
    fn decode(&mut self, position: u32) -> Option<Decoded> {
        self.decoder.set_position((position - self.start) as usize).expect("it is in the page");
        self.decoder.set_ip(u64::from(position));
        let instruction = self.decoder.decode();
        if self.decoder.last_error() == DecoderError::NoMoreBytes {
            return None;
        }
        Some(Decoded { instruction, action: action::select(&instruction, self.size), position })
    }
}

/// A function that becomes part of what calls it.
#[derive(Clone, Copy)]
struct Callee {
    /// Where it was called, and where to: positions; and in which context.
    next: u32,
    begin: u32,
    caller: usize,
    depth: u32,
}

/// Finds what is reachable.
struct Search<'a> {
    source: &'a dyn Source,
    size: CodeSize,
    pages: Vec<i32>,
    /// By context less one.
    callees: Vec<Callee>,
    /// By the call: the callee's context.
    calls: BTreeMap<Spot, usize>,
    leaders: BTreeSet<Spot>,
    decoded: BTreeMap<Spot, Decoded>,
    entered: BTreeSet<Spot>,
    crossings: BTreeSet<u32>,
    work: Vec<Spot>,
    /// How long functions are, by where they begin. More than `MAX_CALLEE` where they are too long.
    lengths: BTreeMap<u32, usize>,
    /// Instructions of the region itself, and of functions that became part of it.
    own: usize,
    inlined: usize,
}

impl<'a> Search<'a> {
    fn heat(&self, position: u32) -> Heat {
        self.source.heat(from_main(position))
    }

    /// Whether the page of a position is one of the region's, or may become one.
    fn take_page(&mut self, position: u32) -> bool {
        let page = distance(position);
        if self.pages.contains(&page) {
            return true;
        }
        let room = self.pages.len() < MAX_PAGES && self.source.page(page).is_some();
        if room {
            self.pages.push(page);
        }
        room
    }

    fn lead(&mut self, spot: Spot) {
        if self.leaders.insert(spot) {
            self.work.push(spot);
        }
    }

    /// Goes on to the target of a jump, if it is wanted: what was executed of the page itself, what is hot of
    /// other pages, and what was executed of a callee.
    fn follow(&mut self, from: Spot, target: i64) {
        if !(0..WINDOW).contains(&target) {
            return;
        }
        let target = target as u32;
        let inlined = context(from) != 0;
        let same = page_start(target) == page_start(position(from));
        let least = if same || inlined { Heat::Executed } else { Heat::Hot };
        let free = inlined || self.source.is_free(from_main(target));
        if free && self.heat(target) >= least && self.take_page(target) {
            self.lead(spot(context(from), target));
        }
    }

    fn follow_call(&mut self, from: Spot, next: u32, target: i64) {
        if !(0..WINDOW).contains(&target) {
            return;
        }
        if self.inline(from, next, target as u32) {
            let callee = self.callees.len();
            self.calls.insert(from, callee);
            self.lead(spot(callee, target as u32));
        } else if context(from) == 0 && page_start(target as u32) == page_start(position(from)) {
            self.follow(from, target);
        }
    }

    /// Whether a function becomes part of what calls it. If so, it is the newest callee.
    fn inline(&mut self, from: Spot, next: u32, begin: u32) -> bool {
        let depth = 1 + self.depth(context(from));
        if depth > MAX_DEPTH || self.heat(begin) < Heat::Hot || self.is_within(context(from), begin) {
            return false;
        }
        let length = self.length(begin);
        if length > MAX_CALLEE || self.inlined + length > MAX_INLINED || !self.take_page(begin) {
            return false;
        }
        self.callees.push(Callee { next, begin, caller: context(from), depth });
        true
    }

    fn depth(&self, context: usize) -> u32 {
        if context == 0 {
            0
        } else {
            self.callees[context - 1].depth
        }
    }

    /// Whether a function is being called already.
    fn is_within(&self, mut context: usize, begin: u32) -> bool {
        while context != 0 {
            let callee = self.callees[context - 1];
            if callee.begin == begin {
                return true;
            }
            context = callee.caller;
        }
        false
    }

    /// How many instructions a function has without those that it calls, of those that were executed.
    fn length(&mut self, begin: u32) -> usize {
        if let Some(&known) = self.lengths.get(&begin) {
            return known;
        }
        let mut seen = BTreeSet::new();
        let mut work = vec![begin];
        while let Some(start) = work.pop() {
            let Some(mut page) = Page::new(self.source, self.size, start) else { continue };
            let mut at = start;
            while page.contains(at) && seen.len() <= MAX_CALLEE && !seen.contains(&at) {
                let Some(one) = page.decode(at) else { break };
                seen.insert(at);
                at = one.next();
                if one.action.ends_block() {
                    let mut ways = vec![];
                    if !matches!(one.action, Action::Call | Action::Leave) {
                        ways.extend(branch_target(&one.instruction));
                    }
                    if goes_on(&one) {
                        ways.push(i64::from(at));
                    }
                    work.extend(
                        ways.into_iter()
                            .filter(|way| (0..WINDOW).contains(way))
                            .map(|way| way as u32)
                            .filter(|&way| self.heat(way) >= Heat::Executed),
                    );
                    break;
                }
            }
        }
        self.lengths.insert(begin, seen.len());
        seen.len()
    }

    fn has_room(&self, context: usize) -> bool {
        if context == 0 {
            self.own < MAX_INSTRUCTIONS
        } else {
            self.inlined < MAX_INLINED
        }
    }

    /// Decodes from a spot on to where a block ends.
    fn decode(&mut self, start: Spot) {
        let own = context(start);
        let Some(mut page) = Page::new(self.source, self.size, position(start)) else { return };
        let mut at = start;
        let mut count = 0;
        while page.contains(position(at)) && !self.decoded.contains_key(&at) && self.has_room(own) {
            let Some(one) = page.decode(position(at)) else {
                self.crossings.insert(position(at));
                return;
            };
            self.decoded.insert(at, one);
            if own == 0 {
                self.own += 1;
            } else {
                self.inlined += 1;
            }
            let next = one.next();
            if one.action.ends_block() {
                match (one.action, branch_target(&one.instruction)) {
                    (Action::Call, Some(target)) => self.follow_call(at, next, target),
                    (Action::Leave, _) | (_, None) => {}
                    (_, Some(target)) => self.follow(at, target),
                }
                if goes_on(&one) {
                    self.follow(at, i64::from(next));
                    let branches = matches!(one.action, Action::Branch(_) | Action::BranchOnCounter(_));
                    if own == 0 && !branches {
                        self.entered.insert(next);
                    }
                }
                return;
            }
            count += 1;
            if !page.contains(next) {
                self.follow(at, i64::from(next));
                return;
            }
            at = spot(own, next);
            if count % MAX_BLOCK == 0 {
                self.leaders.insert(at);
            }
        }
        // Where a stream of instructions joins another, a block begins: each instruction is in one.
        if at != start && self.decoded.contains_key(&at) {
            self.leaders.insert(at);
        }
    }
}

impl Graph {
    /// Decodes what can be reached from these offsets in the main page by ways to places that are wanted.
    pub fn new(source: &dyn Source, size: CodeSize, starts: &[u16]) -> Graph {
        let mut search = Search {
            source,
            size,
            pages: vec![0],
            callees: Vec::new(),
            calls: BTreeMap::new(),
            leaders: BTreeSet::new(),
            decoded: BTreeMap::new(),
            entered: BTreeSet::new(),
            crossings: BTreeSet::new(),
            work: Vec::new(),
            lengths: BTreeMap::new(),
            own: 0,
            inlined: 0,
        };
        for &start in starts {
            let start = MAIN + u32::from(start);
            search.lead(start);
            search.entered.insert(start);
        }
        while let Some(start) = search.work.pop() {
            search.decode(start);
        }
        Graph::from_search(search)
    }

    fn from_search(mut search: Search) -> Graph {
        let mut graph = Graph {
            instructions: Vec::new(),
            blocks: Vec::new(),
            at: BTreeMap::new(),
            crossings: core::mem::take(&mut search.crossings),
            entries: Vec::new(),
            pages: core::mem::take(&mut search.pages),
        };
        // Blocks can begin where there is an instruction that is compiled.
        let compiled = |spot: Spot| search.decoded.get(&spot).filter(|one| one.action != Action::Leave);
        for &start in search.leaders.iter().filter(|&&start| compiled(start).is_some()) {
            let page = distance(position(start));
            let page = graph.pages.iter().position(|&own| own == page).expect("pages are taken before");
            graph.at.insert(start, graph.blocks.len());
            graph.blocks.push(Block {
                start: position(start),
                page,
                instructions: 0..0,
                jump: None,
                next: None,
            });
        }
        let begins: Vec<Spot> = graph.at.keys().copied().collect();
        for (index, &start) in begins.iter().enumerate() {
            let own = context(start);
            let mut at = start;
            let first = graph.instructions.len();
            let mut jump = None;
            let next = loop {
                let Some(&one) = compiled(at) else {
                    break Some(graph.target(own, i64::from(position(at))));
                };
                graph.instructions.push(one);
                let behind = i64::from(one.next());
                if one.action.ends_block() {
                    let into = match one.action {
                        Action::Call => search.calls.get(&at).copied().unwrap_or(0),
                        _ => own,
                    };
                    jump = branch_target(&one.instruction).map(|target| graph.target(into, target));
                    break match one.action {
                        Action::Jump | Action::JumpIndirect => None,
                        Action::Return if own == 0 => None,
                        Action::Return => {
                            let callee = search.callees[own - 1];
                            let back = graph.target(callee.caller, i64::from(callee.next));
                            matches!(back, Target::Block(_)).then_some(back)
                        }
                        _ => Some(graph.target(own, behind)),
                    };
                }
                if !same_page(at, behind) || search.leaders.contains(&spot(own, one.next())) {
                    break Some(graph.target(own, behind));
                }
                at = spot(own, one.next());
            };
            let block = &mut graph.blocks[index];
            block.instructions = first..graph.instructions.len();
            (block.jump, block.next) = (jump, next);
        }
        for (block, &start) in graph.blocks.iter().zip(&begins) {
            for target in block.successors(&graph) {
                if context(begins[target]) == 0 && begins[target] <= start {
                    search.entered.insert(begins[target]);
                }
            }
        }
        graph.entries = (0..graph.blocks.len()).filter(|&block| search.entered.contains(&begins[block])).collect();
        graph
    }

    fn target(&self, context: usize, to: i64) -> Target {
        if !(0..WINDOW).contains(&to) {
            return Target::Outside(to);
        }
        match self.at.get(&spot(context, to as u32)) {
            Some(&block) => Target::Block(block),
            None if self.crossings.contains(&(to as u32)) => Target::Crossing(to as u32),
            None => Target::Outside(to),
        }
    }

    pub fn last(&self, block: &Block) -> &Decoded {
        &self.instructions[block.instructions.end - 1]
    }
}

fn same_page(at: Spot, behind: i64) -> bool {
    i64::from(page_start(position(at))) == behind & !(PAGE as i64 - 1)
}
