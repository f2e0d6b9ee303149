//! What is compiled when.
//!
//! The interpreter counts the blocks that it executes and remembers those that are hot. Between its
//! slices the host asks for a module ([`Tiers::order`]), instantiates it, at once or later, and says so
//! ([`Tiers::install`]). A module is worth its own cost only with several regions, so they wait for each
//! other a while. Regions of a page that were compiled before are compiled again together with what has
//! become hot there since: the targets of a jump table become entries of one function. That is done a
//! few times; then what is new becomes functions of its own. Blocks that were never executed are not
//! compiled. A region reaches into other pages where these are hot, too; what has become part of one is no part of
//! others of the same module, but for small functions.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cell::RefCell;

use cpu::compiled::{Entry, Hot, Place, RegionPage};
use cpu::state::Mode;
use cpu::Cpu;

use crate::{CodeSize, Heat, Module, Source, PAGE};

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
    mode: u32,
    pages: Vec<RegionPage>,
    /// For each entry, the place of its page in `pages`, and its physical address.
    entries: Vec<(u32, u64)>,
}

/// What is known of a page in a mode.
struct Known {
    version: u32,
    /// Where compiled code began to be wanted, the newest last.
    starts: Vec<u16>,
    /// How often it was compiled.
    times: u32,
}

/// The code around a page, as it is mapped in the present address space.
struct Surroundings<'a> {
    cpu: &'a Cpu,
    page: u64,
    mode: u32,
    /// Where it is mapped; None where other pages' places are not known.
    linear: Option<u64>,
    /// Physical addresses of pages, by distance.
    pages: RefCell<BTreeMap<i32, Option<u64>>>,
    hot: &'a BTreeSet<Place>,
    /// What has become part of regions already.
    covered: &'a BTreeSet<Place>,
    /// Whether what is compiled stays as it is.
    alone: bool,
}

impl Surroundings<'_> {
    /// The physical address of the page that is so many pages behind.
    fn address(&self, distance: i32) -> Option<u64> {
        if distance == 0 {
            return Some(self.page);
        }
        let at = self.linear?.wrapping_add((i64::from(distance) * PAGE as i64) as u64);
        *self.pages.borrow_mut().entry(distance).or_insert_with(|| {
            let within = self.mode & Mode::LONG != 0 || at >> 32 == 0;
            let address = self.cpu.look_up(at, self.mode & Mode::USER != 0).filter(|_| within)?;
            self.cpu.ram.contains(address, PAGE as u64).then_some(address)
        })
    }

    fn place(&self, distance: i64) -> Option<Place> {
        let page = self.address(distance.div_euclid(PAGE as i64) as i32)?;
        Some(Place { address: page + distance.rem_euclid(PAGE as i64) as u64, mode: self.mode })
    }
}

impl Source for Surroundings<'_> {
    fn page(&self, distance: i32) -> Option<&[u8]> {
        self.cpu.ram.bytes(self.address(distance)?, PAGE as u64)
    }

    fn heat(&self, distance: i64) -> Heat {
        match self.place(distance) {
            Some(place) if self.hot.contains(&place) || self.cpu.is_compiled(place) => Heat::Hot,
            Some(place) if self.cpu.was_executed(place) => Heat::Executed,
            _ => Heat::Never,
        }
    }

    fn is_free(&self, distance: i64) -> bool {
        self.place(distance)
            .is_some_and(|place| !self.covered.contains(&place) && !(self.alone && self.cpu.is_compiled(place)))
    }
}

#[derive(Default)]
pub struct Tiers {
    waiting: Vec<Hot>,
    waited: u32,
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
        self.waiting.extend(cpu.take_hot().into_iter().filter(|hot| Mode::is_compiled(hot.place.mode)));
        if self.waiting.is_empty() {
            return None;
        }
        self.waited += 1;
        let mut pages: BTreeMap<(u64, u32), (u64, Vec<u16>)> = BTreeMap::new();
        for Hot { place, linear } in &self.waiting {
            let offset = place.address % PAGE as u64;
            let (last, offsets) = pages.entry((place.address - offset, place.mode)).or_default();
            *last = linear - offset;
            offsets.push(offset as u16);
        }
        if pages.len() < BATCH && self.waited < PATIENCE {
            return None;
        }
        let hot: BTreeSet<Place> = self.waiting.drain(..).map(|hot| hot.place).collect();
        self.waited = 0;
        if self.functions > MAX_FUNCTIONS {
            self.clear(cpu);
        }
        let mut addresses = cpu.addresses();
        addresses.links = addresses.links.filter(|_| self.tail_calls);
        let mut module = Module::new(addresses);
        let mut planned = Vec::new();
        let mut lines = Vec::new();
        // What one function has no room for becomes another one's.
        let mut covered: BTreeSet<Place> = BTreeSet::new();
        for ((page, mode), (linear, new)) in pages {
            let version = cpu.code_version(page);
            let known = self.known.entry((page, mode)).or_insert(Known { version, starts: Vec::new(), times: 0 });
            if known.version != version {
                *known = Known { version, starts: Vec::new(), times: 0 };
            }
            if known.times >= MAX_TOGETHER {
                known.starts.clear();
            }
            known.times += 1;
            known.starts.retain(|start| !new.contains(start));
            known.starts.extend(new);
            let surplus = known.starts.len().saturating_sub(MAX_STARTS);
            known.starts.drain(..surplus);
            if !cpu.ram.contains(page, PAGE as u64) {
                continue;
            }
            let alone = known.times > MAX_TOGETHER;
            // It was another address space that it became hot in, unless the page is still there.
            let linear = Some(linear).filter(|&linear| cpu.look_up(linear, mode & Mode::USER != 0) == Some(page));
            let mut starts = known.starts.clone();
            loop {
                starts.retain(|&start| !covered.contains(&Place { address: page + u64::from(start), mode }));
                if starts.is_empty() {
                    break;
                }
                let pages = RefCell::default();
                let around = Surroundings { cpu, page, mode, linear, pages, hot: &hot, covered: &covered, alone };
                let Some(compiled) = module.add(CodeSize::of(mode), &around, &starts) else { break };
                let address = |distance| around.address(distance).expect("it was compiled");
                let distance = |entry: i64| entry.div_euclid(PAGE as i64) as i32;
                let entries: Vec<(u32, u64)> = compiled
                    .entries
                    .iter()
                    .map(|&entry| {
                        let page = compiled.pages.iter().position(|page| page.distance == distance(entry));
                        let offset = entry.rem_euclid(PAGE as i64) as u64;
                        (page.expect("it is one of them") as u32, address(distance(entry)) + offset)
                    })
                    .collect();
                let pages = compiled.pages.iter().map(|page| {
                    let address = address(page.distance);
                    lines.push((address, page.lines));
                    RegionPage { distance: page.distance, address, version: cpu.code_version(address) }
                });
                let region = Planned { mode, pages: pages.collect(), entries };
                covered.extend(region.entries.iter().map(|&(_, address)| Place { address, mode }));
                planned.push(region);
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
            let versions: Vec<u32> = planned.pages.iter().map(|page| page.version).collect();
            let region = cpu.add_region(planned.pages);
            for (entry, (page, at)) in planned.entries.into_iter().enumerate() {
                let (function, entry, version) = (address(place), entry as u32, versions[page as usize]);
                let entry = Entry { function, place, entry, version, region, page };
                cpu.add_compiled(Place { address: at, mode: planned.mode }, entry);
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
        self.ordered = None;
        self.functions = 0;
        self.clear = true;
    }
}
