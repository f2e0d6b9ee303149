//! What is compiled when.
//!
//! The interpreter counts the blocks that it executes and remembers those that are hot. Between its
//! slices the host asks for a module ([`Tiers::order`]), instantiates it, at once or later, and says so
//! ([`Tiers::install`]). A module is worth its own cost only with several regions, so they wait for each
//! other a while. Regions of a page that were compiled before are compiled again together with what has
//! become hot there since: the targets of a jump table become entries of one function. That is done a
//! few times; then what is new becomes functions of its own. Blocks that were never executed are not
//! compiled. Not all that is hot becomes a way into a function: what is interpreted often again, as it is
//! come to from outside, becomes one the next time.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use cpu::compiled::{Entry, Hot};
use cpu::state::Mode;
use cpu::Cpu;

use crate::graph::{Start, Wanted};
use crate::module::Compiled;
use crate::{Module, PAGE};

/// Pages that are worth a module.
const BATCH: usize = 12;
/// How many times `order` is called before fewer make one.
const PATIENCE: u32 = 2;
/// Places in a page that are compiled together: the newest.
const MAX_STARTS: usize = 64;
/// How often a page's regions are compiled together.
const MAX_TOGETHER: u32 = 3;
/// All functions are dropped when there are so many.
const MAX_FUNCTIONS: usize = 4096;

/// A module to be instantiated.
pub struct Order {
    pub number: u32,
    /// See [`Module`] for what it imports.
    pub bytes: Vec<u8>,
    /// How many places in the table it needs.
    pub functions: u32,
    /// All functions of former orders are dead: their places are free.
    pub first: bool,
}

/// What a module that is ordered contains.
struct Planned {
    page: u64,
    mode: u32,
    version: u32,
    compiled: Compiled,
}

/// What is known of a page in a mode.
struct Known {
    version: u32,
    /// The newest last.
    starts: Vec<Start>,
    /// What was wanted, and became no way into a function.
    inner: Vec<u16>,
    /// How often it was compiled.
    times: u32,
    windows: bool,
}

#[derive(Default)]
pub struct Tiers {
    waiting: Vec<Hot>,
    waited: u32,
    /// Pages that are to be compiled anew without windows, and their entries.
    windowless: Vec<(Hot, Vec<u16>)>,
    known: BTreeMap<(u64, u32), Known>,
    /// The order that is not installed yet.
    ordered: Option<(u32, Vec<Planned>)>,
    next: u32,
    functions: usize,
    clear: bool,
    /// Whether the engine has tail calls.
    tail_calls: bool,
}

impl Tiers {
    /// `tail_calls`: whether the engine has them.
    pub fn new(cpu: &mut Cpu, tail_calls: bool) -> Tiers {
        cpu.set_counting(true);
        Tiers { clear: true, tail_calls, ..Tiers::default() }
    }

    /// A module that should be instantiated now. None while another one is not installed.
    pub fn order(&mut self, cpu: &mut Cpu) -> Option<Order> {
        if self.ordered.is_some() {
            return None;
        }
        let urgent = cpu.is_compiling_urgent();
        self.waiting.extend(cpu.take_hot().into_iter().filter(|hot| Mode::is_compiled(hot.mode)));
        self.windowless.extend(cpu.take_windowless());
        if self.waiting.is_empty() && self.windowless.is_empty() {
            return None;
        }
        self.waited += 1;
        let mut pages: BTreeMap<(u64, u32), Vec<u16>> = BTreeMap::new();
        for hot in &self.waiting {
            let offset = (hot.address % PAGE as u64) as u16;
            pages.entry((hot.address - u64::from(offset), hot.mode)).or_default().push(offset);
        }
        if pages.len() < BATCH && self.waited < PATIENCE && !urgent {
            return None;
        }
        self.waiting.clear();
        let windowless = core::mem::take(&mut self.windowless);
        for (place, _) in &windowless {
            pages.entry((place.address, place.mode)).or_default();
        }
        self.waited = 0;
        if self.functions > MAX_FUNCTIONS {
            self.clear(cpu);
        }
        let mut addresses = cpu.addresses();
        addresses.links = addresses.links.filter(|_| self.tail_calls);
        let mut module = Module::new(addresses);
        let mut planned = Vec::new();
        let mut lines = Vec::new();
        for ((page, mode), new) in pages {
            let version = cpu.code_version(page);
            let fresh = || Known { version, starts: Vec::new(), inner: Vec::new(), times: 0, windows: true };
            let known = self.known.entry((page, mode)).or_insert_with(fresh);
            if known.version != version {
                *known = fresh();
            }
            let again = windowless.iter().find(|(place, _)| (place.address, place.mode) == (page, mode));
            if let Some((_, entries)) = again {
                let starts = entries.iter().map(|&offset| Start { offset, entered: true }).collect();
                *known = Known { starts, windows: false, ..fresh() };
            }
            if known.times >= MAX_TOGETHER {
                known.starts.clear();
            }
            known.times += 1;
            // What is hot once more, although it is compiled, is come to from outside.
            let start = |offset| Start { offset, entered: known.inner.contains(&offset) };
            let new: Vec<Start> = new.into_iter().map(start).collect();
            known.starts.retain(|start| new.iter().all(|one| one.offset != start.offset));
            known.starts.extend(new);
            let surplus = known.starts.len().saturating_sub(MAX_STARTS);
            known.starts.drain(..surplus);
            let Some(bytes) = cpu.ram.bytes(page, PAGE as u64) else { continue };
            let alone = known.times > MAX_TOGETHER;
            // What one function has no room for becomes another one's.
            let mut covered: Vec<u16> = Vec::new();
            let mut starts = known.starts.clone();
            while !starts.is_empty() {
                let wanted = |offset: u16| {
                    let place = Hot { address: page + u64::from(offset), mode };
                    if alone && cpu.is_compiled(place) || covered.contains(&offset) {
                        Wanted::Elsewhere
                    } else if cpu.was_executed(place) {
                        Wanted::Here
                    } else {
                        Wanted::Never
                    }
                };
                let Some(compiled) = module.add(mode, bytes, &starts, known.windows, &wanted) else { break };
                lines.push((page, compiled.lines));
                covered.extend(compiled.entries.iter().chain(&compiled.inner));
                known.inner.extend(&compiled.inner);
                starts.retain(|start| !covered.contains(&start.offset));
                planned.push(Planned { page, mode, version, compiled });
            }
        }
        for (page, lines) in lines {
            // From now on it is noticed when the page changes.
            cpu.watch_code(page, lines);
        }
        if module.is_empty() {
            return None;
        }
        self.functions += module.len();
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.ordered = Some((number, planned));
        let functions = module.len() as u32;
        Some(Order { number, bytes: module.finish(), functions, first: core::mem::take(&mut self.clear) })
    }

    /// An order's functions are in the table from `base` on: each one's address is given for its place.
    pub fn install(&mut self, cpu: &mut Cpu, number: u32, base: u32, address: impl Fn(u32) -> usize) {
        let Some((_, planned)) = self.ordered.take_if(|(ordered, _)| *ordered == number) else {
            return;
        };
        for (function, planned) in planned.into_iter().enumerate() {
            let place = base + function as u32;
            for (entry, (&offset, &units)) in planned.compiled.entries.iter().zip(&planned.compiled.units).enumerate() {
                let hot = Hot { address: planned.page + u64::from(offset), mode: planned.mode };
                let (function, entry) = (address(place), entry as u32);
                let entry = Entry { function, place, entry, units, version: planned.version };
                if !cpu.add_compiled(hot, entry) {
                    break;
                }
            }
            for &offset in &planned.compiled.inner {
                cpu.count_again(Hot { address: planned.page + u64::from(offset), mode: planned.mode });
            }
        }
    }

    /// The host could not instantiate an order: what is in it stays with the interpreter.
    pub fn refuse(&mut self, number: u32) {
        self.ordered.take_if(|(ordered, _)| *ordered == number);
    }

    /// Forgets all compiled code, as when other contents of the RAM were loaded.
    pub fn clear(&mut self, cpu: &mut Cpu) {
        cpu.clear_compiled();
        self.known.clear();
        self.waiting.clear();
        self.windowless.clear();
        self.ordered = None;
        self.functions = 0;
        self.clear = true;
    }
}
