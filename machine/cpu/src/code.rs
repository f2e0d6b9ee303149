//! Decoded instructions, and which pages of RAM they came from.
//!
//! A block is a run of instructions with one entry, of one page. It is found by its physical address
//! and mode. For each page there is a bit for each line of 64 bytes that something decoded (or
//! compiled) came from, and a version that changes when such a line is written to: blocks of older
//! versions are dead.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::compiled::{Compiled, Entry};
use crate::decode::{self, Op};
use crate::exception::{SINGLE_STEP, TF};
use crate::instructions::quick;
use crate::memory::PAGE;
use crate::paging::Access;
use crate::state::{Exit, Mode};
use crate::{Cpu, Outcome, Stop};

/// How many can be found. (8 MiB. Node executes 100,000 to print a number.)
const BLOCKS: usize = 1 << 18;
/// Decoded instructions are dropped all at once when there are so many. (32 MiB. Node has two million.)
const MAX_OPS: usize = 1 << 20;
const MAX_BLOCK: usize = 64;
const LINE_SHIFT: u64 = 6;

#[derive(Clone, Copy)]
struct Block {
    /// Physical address and mode; `NO_KEY` where there is none.
    key: u64,
    version: u32,
    /// Of the instructions in `CodeCache::ops`. Of compiled code: which units it needs.
    first: u32,
    count: u32,
    /// The compiled function's address, 0 where it is not compiled.
    function: usize,
    /// Its place in the table of functions.
    place: u32,
    /// Its entry, or how often it was interpreted.
    entry: u32,
}

/// An instruction that reaches into the next page. It is the only one in its block, whose `count` is 0.
#[derive(Clone, Copy)]
struct Crossing {
    /// As the block's.
    key: u64,
    /// The physical address of the page that it ends in, and that page's version.
    end: u64,
    version: u32,
    op: Op,
}

const CROSSINGS: usize = 1 << 10;

const NO_KEY: u64 = u64::MAX;
const NO_BLOCK: Block = Block { key: NO_KEY, version: 0, first: 0, count: 0, function: 0, place: 0, entry: 0 };

pub struct CodeCache {
    blocks: Box<[Block]>,
    ops: Vec<Op>,
    crossings: Box<[Option<Crossing>]>,
    /// By page: the lines that hold code.
    lines: Vec<u64>,
    pub(crate) versions: Vec<u32>,
    /// Counts changes of what is compiled, and of code.
    pub(crate) epoch: u64,
    pub(crate) compiled: Compiled,
}

impl CodeCache {
    pub(crate) fn new(pages: usize) -> CodeCache {
        CodeCache {
            blocks: vec![NO_BLOCK; BLOCKS].into_boxed_slice(),
            ops: Vec::with_capacity(MAX_OPS),
            crossings: vec![None; CROSSINGS].into_boxed_slice(),
            lines: vec![0; pages],
            versions: vec![0; pages],
            epoch: 0,
            compiled: Compiled::default(),
        }
    }

    /// For memory that has grown.
    pub(crate) fn grow(&mut self, pages: usize) {
        self.lines.resize(pages, 0);
        self.versions.resize(pages, 0);
    }

    /// The version of the page at a physical address (outside RAM: any).
    #[inline(always)]
    fn version(&self, address: u64) -> u32 {
        self.versions.get((address / PAGE) as usize).copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(crate) fn holds_code(&self, address: u64) -> bool {
        self.lines.get((address / PAGE) as usize).is_some_and(|&lines| lines != 0)
    }

    /// Whether something was decoded or compiled from the lines that these bytes of one page are in.
    pub(crate) fn has_code(&self, address: u64, length: u64) -> bool {
        let (low, high) = (address % PAGE >> LINE_SHIFT, (address + length - 1) % PAGE >> LINE_SHIFT);
        self.lines[(address / PAGE) as usize] & u64::MAX >> (63 - high) & u64::MAX << low != 0
    }

    /// Tells that bytes of RAM were written. Returns whether there was code.
    #[inline(always)]
    pub(crate) fn written(&mut self, address: u64, length: u64) -> bool {
        let first = address / PAGE;
        if (address + length - 1) / PAGE == first && self.lines[first as usize] == 0 {
            return false;
        }
        self.written_slow(address, length)
    }

    #[cold]
    #[inline(never)]
    fn written_slow(&mut self, address: u64, length: u64) -> bool {
        let mut hit = false;
        let end = address + length;
        let mut at = address;
        while at < end {
            let page = at / PAGE;
            let last = (end - 1).min(page * PAGE + PAGE - 1);
            let (low, high) = (at % PAGE >> LINE_SHIFT, last % PAGE >> LINE_SHIFT);
            let mask = u64::MAX >> (63 - high) & u64::MAX << low;
            let lines = &mut self.lines[page as usize];
            if *lines & mask != 0 {
                *lines = 0;
                self.versions[page as usize] = self.versions[page as usize].wrapping_add(1);
                self.epoch += 1;
                hit = true;
            }
            at = last + 1;
        }
        hit
    }

    /// Forgets all that was decoded.
    pub fn clear(&mut self) {
        self.forget_all();
        self.ops.clear();
    }

    pub(crate) fn forget_all(&mut self) {
        self.epoch += 1;
        self.blocks.fill(NO_BLOCK);
        self.crossings.fill(None);
    }

    pub(crate) fn knows(&self, key: u64) -> bool {
        self.blocks[slot(key)].key == key
    }

    /// Forgets one block.
    pub(crate) fn forget(&mut self, key: u64) {
        let block = &mut self.blocks[slot(key)];
        if block.key == key {
            *block = NO_BLOCK;
        }
    }
}

/// Of what begins at a physical address in a mode.
#[inline(always)]
pub(crate) fn key(address: u64, mode: u32) -> u64 {
    address << Mode::BITS | u64::from(mode)
}

#[inline(always)]
fn slot(key: u64) -> usize {
    let address = key >> Mode::BITS;
    // Neighbours of a page are in different slots, pages are spread.
    (address ^ (address >> 12).wrapping_mul(0x9e37)) as usize % BLOCKS
}

impl Cpu {
    /// The linear address of the next instruction.
    #[inline(always)]
    fn code_address(&mut self) -> u64 {
        if self.long() {
            self.state.rip
        } else {
            // Behind the last instruction below 4 GiB, EIP is 0 again.
            self.state.rip &= 0xffff_ffff;
            self.segments[crate::segment::CS].base.wrapping_add(self.state.rip) & 0xffff_ffff
        }
    }

    /// The physical address of the next instruction.
    #[inline(always)]
    pub(crate) fn fetch_address(&mut self) -> Result<u64, Stop> {
        let va = self.code_address();
        self.translate_code(va)
    }

    #[inline(always)]
    fn translate_code(&mut self, va: u64) -> Result<u64, Stop> {
        match self.known(va, Access::Execute) {
            Some(host) => Ok(host as u64 - self.ram.base() as u64),
            None => self.translate(va, Access::Execute),
        }
    }

    /// Executes one block, by compiled code where there is some.
    #[inline(always)]
    pub(crate) fn block(&mut self) -> Result<(), Outcome> {
        let pa = match self.fetch_address() {
            Ok(pa) => pa,
            Err(stop) => return self.stopped(stop, 0),
        };
        let key = key(pa, self.state.mode);
        let version = self.code.version(pa);
        let block = &mut self.code.blocks[slot(key)];
        if block.key != key || version != block.version {
            if !self.find_block(pa, key) {
                return self.step();
            }
        }
        let block = &mut self.code.blocks[slot(key)];
        if block.function != 0 {
            let (function, place, entry, units) = (block.function, block.place, block.entry, block.first);
            if units & !self.control.units() != 0 {
                return self.some(1);
            }
            self.link(place, entry);
            return self.call_compiled(function, entry);
        }
        if block.count == 0 {
            return self.crossing(pa, key);
        }
        let (ops, count, heat) = (self.code.ops[block.first as usize..].as_ptr(), block.count, block.entry);
        self.code.blocks[slot(key)].entry = self.heat(key, heat);
        self.execute(ops, count)
    }

    /// Executes at most so many instructions of a block, by the interpreter.
    pub(crate) fn some(&mut self, most: u32) -> Result<(), Outcome> {
        match self.decoded() {
            Some((ops, count)) => self.execute(ops, count.min(most)),
            None => self.step(),
        }
    }

    #[inline(never)]
    fn execute(&mut self, ops: *const Op, count: u32) -> Result<(), Outcome> {
        let mut done = 0;
        while done < count {
            // The instructions stay where they are: only `decode_block` moves them.
            let op = unsafe { &*ops.add(done as usize) };
            let length = u64::from(op.length);
            self.state.rip = self.state.rip.wrapping_add(length);
            let step = quick::execute(self, op);
            if let Err(stop) = step {
                self.state.budget -= i64::from(done) + i64::from(stop != Stop::Fault);
                let stop = self.on_stack_operand(op, stop);
                return self.stopped(stop, length);
            }
            done += 1;
            if self.state.event != 0 {
                self.state.event = 0;
                break;
            }
        }
        self.state.budget -= i64::from(done);
        Ok(())
    }

    /// The decoded instructions from the present one to the end of its block, whether it is compiled
    /// or not. None where only `step` can execute it.
    pub(crate) fn decoded(&mut self) -> Option<(*const Op, u32)> {
        let pa = match self.fetch_address() {
            Ok(pa) => pa,
            Err(_) => {
                // `step` will find it again.
                self.fault = None;
                return None;
            }
        };
        // Beside the block that may be compiled: no mode has both bits.
        let beside = if Mode::is_compiled(self.state.mode) { Mode::LONG | Mode::BITS16 } else { 0 };
        let key = key(pa, self.state.mode | beside);
        let version = self.code.version(pa);
        let block = &self.code.blocks[slot(key)];
        if (block.key != key || version != block.version) && !self.decode_block(pa, key) {
            return None;
        }
        let block = &self.code.blocks[slot(key)];
        (block.count != 0).then(|| (self.code.ops[block.first as usize..].as_ptr(), block.count))
    }

    /// Fills the block's slot, with compiled code where there is some.
    #[cold]
    #[inline(never)]
    fn find_block(&mut self, pa: u64, key: u64) -> bool {
        let version = self.code.version(pa);
        if let Some(entry) = self.code.compiled.entry(key, version) {
            let Entry { function, place, entry, units, .. } = entry;
            self.code.blocks[slot(key)] = Block { function, place, entry, first: units, key, version, ..NO_BLOCK };
            return true;
        }
        self.decode_block(pa, key)
    }

    /// Executes an instruction that reaches into the next page.
    #[inline(never)]
    fn crossing(&mut self, pa: u64, key: u64) -> Result<(), Outcome> {
        match self.crossing_op(pa, key) {
            Some(op) => self.execute(&op, 1),
            None => self.step(),
        }
    }

    /// Executes one instruction for compiled code, which has come to where it reaches into the next page.
    pub(crate) fn cross(&mut self) -> Exit {
        let Ok(pa) = self.fetch_address() else {
            self.fault = None;
            return Exit::Step;
        };
        let Some(op) = self.crossing_op(pa, key(pa, self.state.mode)) else {
            return Exit::Step;
        };
        let length = u64::from(op.length);
        self.state.rip = self.state.rip.wrapping_add(length);
        match (op.handler)(self, &op) {
            Ok(()) => self.state.event = 0,
            Err(Stop::Fault) => {
                self.state.rip = self.state.rip.wrapping_sub(length);
                return Exit::Step;
            }
            Err(stop) => {
                // Only of a fault's delivery could something come.
                let _ = self.stopped(stop, length);
            }
        }
        self.state.budget -= 1;
        // It may have been any instruction.
        if self.shadow || self.state.chain_tag != self.chain_tag() {
            self.state.chain_tag = 0;
        }
        Exit::Next
    }

    /// An instruction that reaches into the next page. None where only `step` can execute it.
    fn crossing_op(&mut self, pa: u64, key: u64) -> Option<Op> {
        let next = (self.code_address() | (PAGE - 1)).wrapping_add(1);
        let Ok(end) = self.translate_code(next) else {
            // `step` will find it again.
            self.fault = None;
            return None;
        };
        let place = (key >> Mode::BITS >> 12) as usize % CROSSINGS;
        let version = self.code.version(end);
        let known = self.code.crossings[place];
        let crossing = match known {
            Some(known) if known.key == key && known.end == end && known.version == version => known,
            _ => {
                let first = (PAGE - pa % PAGE) as usize;
                let mut bytes = [0; 15];
                bytes[..first].copy_from_slice(self.ram.bytes(pa, first as u64)?);
                let second = bytes.len() - first;
                bytes[first..].copy_from_slice(self.ram.bytes(end, second as u64)?);
                let op = decode::one(&bytes, self.state.mode)?;
                // The block's own line is marked. Of the instruction's end, the first line is enough.
                self.mark_code(end, 1);
                let crossing = Crossing { key, end, version, op };
                self.code.crossings[place] = Some(crossing);
                crossing
            }
        };
        Some(crossing.op)
    }

    /// Decodes what is at a physical address. The first instruction may reach into the next page:
    /// then the block is empty. False where that is not known, or where there is no RAM.
    #[cold]
    #[inline(never)]
    fn decode_block(&mut self, pa: u64, key: u64) -> bool {
        if !self.ram.contains(pa, 1) {
            return false;
        }
        if self.code.ops.len() + MAX_BLOCK > MAX_OPS {
            self.code.clear();
        }
        let page_end = (pa | (PAGE - 1)) + 1;
        let first = self.code.ops.len();
        let bytes = self.ram.bytes(pa, page_end - pa).expect("pages are whole");
        let size = decode::block(bytes, self.state.mode, MAX_BLOCK, &mut self.code.ops);
        let count = self.code.ops.len() - first;
        // Of an instruction that crosses the page's border, all that is left of the page.
        let size = if count == 0 { bytes.len() } else { size };
        if size >= 15 && count == 0 {
            return false;
        }
        let page = (pa / PAGE) as usize;
        let (low, high) = (pa % PAGE >> LINE_SHIFT, (pa % PAGE + size as u64 - 1) >> LINE_SHIFT);
        self.mark_code(pa, u64::MAX >> (63 - high) & u64::MAX << low);
        self.code.blocks[slot(key)] =
            Block { key, version: self.code.versions[page], first: first as u32, count: count as u32, ..NO_BLOCK };
        true
    }

    /// Something is made of these lines of the page at a physical address.
    pub(crate) fn mark_code(&mut self, pa: u64, lines: u64) {
        let page = (pa / PAGE) as usize;
        if self.code.lines[page] == 0 {
            self.tlb.protect(self.ram.base() as u64 + (pa & !(PAGE - 1)));
        }
        self.code.lines[page] |= lines;
    }

    /// Executes one instruction, which may reach into the next page, and keeps nothing of it.
    pub fn step(&mut self) -> Result<(), Outcome> {
        let mut bytes = [0; 15];
        let va = self.code_address();
        let mut length = 0;
        let mut fault = None;
        // Bytes behind an instruction's end need not be there.
        while length < bytes.len() {
            let at = va.wrapping_add(length as u64);
            match self.translate(at, Access::Execute) {
                Ok(pa) => {
                    let take = ((PAGE - at % PAGE) as usize).min(bytes.len() - length);
                    for byte in &mut bytes[length..length + take] {
                        *byte = self.load_physical(pa + va.wrapping_add(length as u64).wrapping_sub(at), 1) as u8;
                        length += 1;
                    }
                }
                Err(_) => {
                    fault = self.fault.take();
                    break;
                }
            }
        }
        let op = match decode::one(&bytes[..length], self.state.mode) {
            Some(op) => op,
            None => {
                self.fault = fault;
                return self.stopped(Stop::Fault, 0);
            }
        };
        let length = u64::from(op.length);
        self.shadow = false;
        let traps = self.state.system_flags & TF != 0;
        let privilege = self.privilege();
        self.state.rip = self.state.rip.wrapping_add(length);
        let step = (op.handler)(self, &op);
        self.state.event = 0;
        self.state.budget -= i64::from(step != Err(Stop::Fault));
        if let Err(stop) = step {
            let stop = self.on_stack_operand(&op, stop);
            self.stopped(stop, length)?;
        }
        // What enters the kernel, or loads SS, is followed by no trap.
        if traps && step != Err(Stop::Fault) && self.privilege() == privilege && !self.shadow {
            self.deliver_trap(SINGLE_STEP).map_err(|()| Outcome::Shutdown)?;
        }
        Ok(())
    }

    /// As `step`, but gives the exception instead of delivering it. For comparing with other processors.
    pub fn try_step(&mut self) -> Result<(), crate::exception::Fault> {
        let va = self.code_address();
        let mut bytes = [0; 15];
        for (i, byte) in bytes.iter_mut().enumerate() {
            let pa = self.translate(va.wrapping_add(i as u64), Access::Execute);
            *byte = pa.map_or(0, |pa| self.load_physical(pa, 1) as u8);
        }
        let op = decode::one(&bytes, self.state.mode).expect("there are enough bytes");
        self.state.rip = self.state.rip.wrapping_add(u64::from(op.length));
        match (op.handler)(self, &op).map_err(|stop| self.on_stack_operand(&op, stop)) {
            Err(Stop::Fault) => Err(self.fault.take().expect("a fault was recorded")),
            Err(Stop::Leave) if self.state.rip == va => self.try_step(),
            _ => Ok(()),
        }
    }
}
