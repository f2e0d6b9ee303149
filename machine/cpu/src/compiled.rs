//! What compiled code calls, and how the loop calls it.
//!
//! A compiled function is a [`Function`], whose parameter `entry` says where in it to begin; the others are what is in
//! [`State`](crate::state::State), and the result is an [`Exit`]. It finds the rest of the state at the address that it
//! was compiled for. Functions are called by their addresses, which in WebAssembly are indices of
//! the module's table: there the host puts what it has instantiated.
//!
//! The exported functions, whose names begin with `compiled_`, are what the modules import. They never
//! raise exceptions: an access that is not one to plain memory, or not allowed, is left to the
//! interpreter, which the code goes back to with [`Exit::Step`].

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::chain::Link;
use crate::code;
use crate::memory::PAGE;
use crate::paging::Access;
use crate::state::{Exit, Mode, State, Units};
use crate::tlb::Spaces;
use crate::windows::Windows;
use crate::{Cpu, Outcome, Stop};

/// How often a block is interpreted before it is said to be hot.
const HOT: u32 = 500;
/// How many hot blocks are remembered until somebody asks.
const MAX_HOT: usize = 512;
/// How often hot blocks are interpreted until somebody has to ask: by then it has taken as long as a module would.
const URGENT: u32 = 4_000;

/// Of compiled code: entry, RIP and budget.
pub type Function = extern "C" fn(u32, u64, i64) -> u32;

/// Compiled code's way into it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The function's address. Not 0.
    pub function: usize,
    /// Its place in the table of functions. In WebAssembly that is its address.
    pub place: u32,
    pub entry: u32,
    /// Without which units it must not be entered ([`Units`](crate::state::Units)).
    pub units: u32,
    /// Of the page.
    pub version: u32,
}

/// Which code is compiled, and which should be.
#[derive(Default)]
pub(crate) struct Compiled {
    /// By physical address and mode, as blocks are.
    entries: BTreeMap<u64, Entry>,
    hot: Vec<u64>,
    pub(crate) windows: Windows,
    /// How often hot blocks were interpreted since somebody asked.
    late: u32,
    /// Whether blocks are counted.
    counting: bool,
}

impl Compiled {
    fn is_urgent(&self) -> bool {
        self.late >= URGENT && !self.hot.is_empty()
    }

    /// The compiled code for a block. That of an older version is forgotten.
    pub(crate) fn entry(&mut self, key: u64, version: u32) -> Option<Entry> {
        let entry = *self.entries.get(&key)?;
        if entry.version == version {
            return Some(entry);
        }
        self.entries.remove(&key);
        None
    }
}

/// A stretch of code that is hot: where it is and in which mode it was executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hot {
    /// Physical.
    pub address: u64,
    pub mode: u32,
}

impl Hot {
    fn of(key: u64) -> Hot {
        Hot { address: key >> Mode::BITS, mode: key as u32 % (1 << Mode::BITS) }
    }

    /// See `code::Block`.
    fn key(self) -> u64 {
        code::key(self.address, self.mode)
    }
}

/// The addresses of what compiled code reads and writes. Of WebAssembly's memory, thus 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// The processor, which begins with its [`State`](crate::state::State).
    pub cpu: u32,
    /// The TLB's tables, by `mode & Mode::USER`.
    pub tables: [u32; 2],
    /// `chain::Link`s. None where the engine has no tail calls.
    pub links: Option<u32>,
}

impl Cpu {
    pub fn addresses(&self) -> Addresses {
        let cpu = self as *const Cpu as usize as u32;
        Addresses {
            cpu,
            tables: self.tlb.tables.each_ref().map(|table| table as *const _ as usize as u32),
            links: Some(self.chain.links() as usize as u32),
        }
    }

    /// Whether blocks that become hot are remembered.
    pub fn set_counting(&mut self, counting: bool) {
        self.code.compiled.counting = counting;
    }

    /// A block is interpreted, which was so often before. Returns the new count.
    #[inline(always)]
    pub(crate) fn heat(&mut self, key: u64, heat: u32) -> u32 {
        if heat >= HOT {
            self.hot(key, heat)
        } else {
            heat + 1
        }
    }

    #[cold]
    #[inline(never)]
    fn hot(&mut self, key: u64, heat: u32) -> u32 {
        let compiled = &mut self.code.compiled;
        if heat == HOT {
            if !compiled.counting || compiled.hot.len() == MAX_HOT {
                return 0;
            }
            compiled.hot.push(key);
        }
        compiled.late += 1;
        if compiled.is_urgent() {
            self.interrupt_slice();
        }
        // Never again, as long as the block lives.
        HOT + 1
    }

    /// Whether `run` ends early until [`Cpu::take_hot`] is called.
    pub fn is_compiling_urgent(&self) -> bool {
        self.code.compiled.is_urgent()
    }

    /// The blocks that have become hot since the last call, without those whose code is compiled now.
    pub fn take_hot(&mut self) -> Vec<Hot> {
        let compiled = &mut self.code.compiled;
        compiled.late = 0;
        let keys = core::mem::take(&mut compiled.hot);
        keys.into_iter()
            .filter(|key| !compiled.entries.contains_key(key))
            .map(Hot::of)
            .collect()
    }

    /// Whether a block that begins there is known, decoded or compiled. (It may have been forgotten.)
    pub fn was_executed(&self, place: Hot) -> bool {
        self.code.knows(place.key()) || self.is_compiled(place)
    }

    /// Whether compiled code can be entered there.
    pub fn is_compiled(&self, place: Hot) -> bool {
        let version = self.code_version(place.address);
        self.code.compiled.entries.get(&place.key()).is_some_and(|entry| entry.version == version)
    }

    /// The version of the page at a physical address, for [`Cpu::add_compiled`].
    pub fn code_version(&self, address: u64) -> u32 {
        self.code.versions[(address / PAGE) as usize]
    }

    /// Tells that code is made of a page's lines (of 64 bytes, a bit for each), so that writes to them
    /// change its version.
    pub fn watch_code(&mut self, page: u64, lines: u64) {
        self.mark_code(page, lines);
    }

    /// Code for what begins at a physical address is ready. False where the page has changed since it
    /// was compiled.
    pub fn add_compiled(&mut self, hot: Hot, entry: Entry) -> bool {
        if self.code_version(hot.address) != entry.version {
            return false;
        }
        let key = hot.key();
        self.code.compiled.entries.insert(key, entry);
        self.code.epoch += 1;
        self.code.forget(key);
        true
    }

    /// A block is within what was compiled: if it is interpreted often all the same, it is hot again.
    pub fn count_again(&mut self, hot: Hot) {
        self.code.forget(hot.key());
    }

    /// Forgets all compiled code. Its functions are not called any more.
    pub fn clear_compiled(&mut self) {
        self.code.compiled.entries.clear();
        self.code.compiled.windows.clear();
        self.code.forget_all();
    }

    /// Lets compiled code that leaves for the present instruction go on there, from now on.
    #[inline(always)]
    pub(crate) fn link(&mut self, place: u32, entry: u32) {
        let tag = self.chain_tag();
        self.state.chain_tag = tag;
        self.chain.set(Link::new(self.state.rip, tag, place, entry));
    }

    /// What links hold now: see `chain`.
    #[inline(always)]
    pub(crate) fn chain_tag(&self) -> u64 {
        let what = self.control.units() << Mode::BITS | self.state.mode;
        (self.code.epoch + self.tlb.epoch) << (Spaces::BITS + Units::BITS + Mode::BITS)
            | self.space << (Units::BITS + Mode::BITS)
            | u64::from(what)
    }

    /// Runs compiled code until it leaves.
    #[inline(always)]
    pub(crate) fn call_compiled(&mut self, function: usize, entry: u32) -> Result<(), Outcome> {
        let function: Function = unsafe { core::mem::transmute(function) };
        // Compiled code changes the processor behind this reference: nothing of it may be kept in
        // registers across the call.
        let this = core::hint::black_box(self as *mut Cpu);
        let State { rip, budget, .. } = self.state;
        let exit = function(entry, rip, budget);
        let this = unsafe { &mut *core::hint::black_box(this) };
        if exit == Exit::Next as u32 {
            return Ok(());
        }
        if exit == Exit::Window as u32 {
            this.window_failed();
        }
        this.some(1)
    }

    #[cold]
    fn window_failed(&mut self) {
        let now = self.executed();
        match self.fetch_address() {
            Ok(pa) => self.code.compiled.windows.failed(code::key(pa & !(PAGE - 1), self.state.mode), now),
            // It will be found again.
            Err(_) => self.fault = None,
        }
    }

    /// The pages of code, in a mode, that should be compiled anew without windows, with the offsets of the compiled
    /// code's ways in; since the last call.
    pub fn take_windowless(&mut self) -> Vec<(Hot, Vec<u16>)> {
        let compiled = &mut self.code.compiled;
        let pages = compiled.windows.take_given_up();
        let entries = |page: u64| {
            let mode = page % (1 << Mode::BITS);
            let keys = compiled.entries.range(page..page + (PAGE << Mode::BITS)).map(|(&key, _)| key);
            keys.filter(|key| key % (1 << Mode::BITS) == mode).map(|key| ((key - page) >> Mode::BITS) as u16).collect()
        };
        pages.into_iter().map(|page| (Hot::of(page), entries(page))).collect()
    }

    /// The host address of plain memory that an access of one page goes to.
    fn plain(&mut self, va: u64, size: u64, access: Access) -> Option<*mut u8> {
        if va % PAGE + size > PAGE {
            return None;
        }
        if let Some(host) = self.known(va, access) {
            return Some(host);
        }
        let pa = self.translate(va, access).ok()?;
        if !self.ram.contains(pa, size) || (access == Access::Write && self.code.has_code(pa, size)) {
            return None;
        }
        Some(unsafe { self.ram.base().add(pa as usize) })
    }

    /// Two plain pages of an access that goes over their border, and how many bytes are in the first.
    fn plain_pair(&mut self, va: u64, size: u64, access: Access) -> Option<(*mut u8, *mut u8, usize)> {
        let first = PAGE - va % PAGE;
        let low = self.plain(va, first, access)?;
        let high = self.plain(va.wrapping_add(first), size - first, access)?;
        Some((low, high, first as usize))
    }
}

/// Where the bytes of a load are, 0 where the interpreter has to do it.
///
/// # Safety
/// `cpu` is the processor that the calling code was compiled for; nobody else uses it meanwhile.
#[no_mangle]
pub unsafe extern "C" fn compiled_read(cpu: *mut Cpu, va: u64, size: u32) -> u32 {
    let cpu = unsafe { &mut *cpu };
    if let Some(host) = cpu.plain(va, u64::from(size), Access::Read) {
        return host as usize as u32;
    }
    if va % PAGE + u64::from(size) <= PAGE {
        return 0;
    }
    let Some((low, high, first)) = cpu.plain_pair(va, u64::from(size), Access::Read) else {
        return 0;
    };
    let scratch = (&raw mut cpu.state.scratch).cast::<u8>();
    unsafe {
        core::ptr::copy_nonoverlapping(low, scratch, first);
        core::ptr::copy_nonoverlapping(high, scratch.add(first), size as usize - first);
    }
    scratch as usize as u32
}

/// Where the bytes of a store that is preceded by a load are, 0 where the interpreter has to do both.
///
/// # Safety
/// As [`compiled_read`].
#[no_mangle]
pub unsafe extern "C" fn compiled_modify(cpu: *mut Cpu, va: u64, size: u32) -> u32 {
    let cpu = unsafe { &mut *cpu };
    cpu.plain(va, u64::from(size), Access::Write).map_or(0, |host| host as usize as u32)
}

/// The host address of bytes in one page that are plain memory, of which some are to be accessed now; 0 where
/// they are not, or not known to be. Nothing but a page's accessed flag tells that it was called: neither is there
/// a fault, nor is the page dirty. `writes`: whether they are to be stored to, too.
///
/// # Safety
/// As [`compiled_read`].
#[no_mangle]
pub unsafe extern "C" fn compiled_window(cpu: *mut Cpu, va: u64, size: u32, writes: u32) -> u32 {
    let cpu = unsafe { &mut *cpu };
    let access = if writes != 0 { Access::Write } else { Access::Read };
    let is_known = va % PAGE + u64::from(size) <= PAGE && cpu.look_up(va);
    let host = if is_known { cpu.known(va, access) } else { None };
    if host.is_none() {
        cpu.code.compiled.windows.refused(va);
    }
    host.map_or(0, |host| host as usize as u32)
}

/// Stores up to eight bytes. Returns 0, or 1 where the interpreter has to do it.
///
/// # Safety
/// As [`compiled_read`].
#[no_mangle]
pub unsafe extern "C" fn compiled_write(cpu: *mut Cpu, va: u64, value: u64, size: u32) -> u32 {
    let cpu = unsafe { &mut *cpu };
    cpu.store_plain(va, &value.to_le_bytes()[..size as usize])
}

/// Stores the first bytes of `State::scratch`, 16 or 32. Returns as [`compiled_write`].
///
/// # Safety
/// As [`compiled_read`].
#[no_mangle]
pub unsafe extern "C" fn compiled_write_scratch(cpu: *mut Cpu, va: u64, size: u32) -> u32 {
    let cpu = unsafe { &mut *cpu };
    let [low, high] = [0, 1].map(|half| cpu.state.scratch[half].u8x16());
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&low);
    bytes[16..].copy_from_slice(&high);
    cpu.store_plain(va, &bytes[..size as usize])
}

impl Cpu {
    fn store_plain(&mut self, va: u64, bytes: &[u8]) -> u32 {
        let size = bytes.len() as u64;
        if let Some(host) = self.plain(va, size, Access::Write) {
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), host, bytes.len()) };
            return 0;
        }
        if va % PAGE + size <= PAGE {
            return 1;
        }
        let Some((low, high, first)) = self.plain_pair(va, size, Access::Write) else {
            return 1;
        };
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), low, first);
            core::ptr::copy_nonoverlapping(bytes.as_ptr().add(first), high, bytes.len() - first);
        }
        0
    }
}

/// Executes `count` instructions from `State::rip` on by the interpreter. Returns 0 when all were
/// executed and the code may go on, otherwise 1 more than the [`Exit`] by which it has to leave.
///
/// # Safety
/// As [`compiled_read`].
#[no_mangle]
pub unsafe extern "C" fn compiled_interpret(cpu: *mut Cpu, count: u32) -> u32 {
    let cpu = unsafe { &mut *cpu };
    let Some((ops, available)) = cpu.decoded() else {
        return 1 + Exit::Step as u32;
    };
    let mut done = 0;
    while done < count.min(available) {
        // See `Cpu::block`.
        let op = unsafe { &*ops.add(done as usize) };
        cpu.state.rip = cpu.state.rip.wrapping_add(u64::from(op.length));
        match (op.handler)(cpu, op) {
            Ok(()) => done += 1,
            Err(Stop::Fault) => {
                cpu.state.rip = cpu.state.rip.wrapping_sub(u64::from(op.length));
                cpu.state.budget -= i64::from(done);
                return 1 + Exit::Step as u32;
            }
            // Of those that compiled code does not leave before, none halts.
            Err(Stop::Leave | Stop::Halt) => {
                cpu.state.chain_tag = 0;
                cpu.state.budget -= i64::from(done + 1);
                return 1 + Exit::Next as u32;
            }
        }
        if cpu.state.event != 0 {
            cpu.state.event = 0;
            cpu.state.chain_tag = 0;
            cpu.state.budget -= i64::from(done);
            return 1 + Exit::Next as u32;
        }
    }
    cpu.state.budget -= i64::from(done);
    u32::from(done != count)
}

/// Executes the instruction at `State::rip`, which reaches into the next page. Returns an [`Exit`].
///
/// # Safety
/// As [`compiled_read`].
#[no_mangle]
pub unsafe extern "C" fn compiled_cross(cpu: *mut Cpu) -> u32 {
    unsafe { (*cpu).cross() as u32 }
}

/// An x87 instruction without memory operand, at this address. Returns 0, or 1 where the interpreter has to
/// do it.
///
/// # Safety
/// As [`compiled_read`]. `operation` is what [`crate::x87_operation`] gives for an instruction that neither
/// reads flags nor writes AX.
#[no_mangle]
pub unsafe extern "C" fn compiled_x87(cpu: *mut Cpu, operation: u32, at: u64) -> u32 {
    u32::from(!unsafe { &mut *cpu }.compiled_x87(operation, at))
}

/// An x87 instruction with a memory operand of at most 10 bytes, whose offset and host address are given.
/// Returns as [`compiled_x87`].
///
/// # Safety
/// As [`compiled_x87`]. The host address is what [`compiled_read`] or [`compiled_modify`] gives, or the TLB.
#[no_mangle]
pub unsafe extern "C" fn compiled_x87_memory(host: u32, offset: u64, cpu: *mut Cpu, operation: u32, at: u64) -> u32 {
    // Of host addresses, only the low halves are known (all there is in WebAssembly).
    let host = cpu as usize & !0xffff_ffff_usize | host as usize;
    u32::from(!unsafe { (*cpu).compiled_x87_memory(operation, at, offset, host as *mut u8) })
}

/// One of FMA's instructions (`simd::fused::Fused::bits`). Its three operands are in `State::scratch`, those of the upper
/// half, if there is one, behind those of the lower one; the result replaces the first. Returns 0, or 1 where the
/// interpreter has to do it.
///
/// # Safety
/// As [`compiled_read`].
#[no_mangle]
pub unsafe extern "C" fn compiled_fused(cpu: *mut Cpu, how: u32, halves: u32) -> u32 {
    let state = unsafe { &mut (*cpu).state };
    let fused = simd::fused::Fused::from_bits(how as u8);
    let mut mxcsr = simd::Mxcsr(state.mxcsr);
    if !mxcsr.all_masked() {
        return 1;
    }
    for operands in state.scratch.as_chunks_mut::<3>().0.iter_mut().take(halves as usize) {
        operands[0] = fused.execute(&mut mxcsr, *operands);
    }
    state.mxcsr = mxcsr.0;
    0
}

/// The arithmetic flags, at their places in RFLAGS.
///
/// # Safety
/// As [`compiled_read`].
#[no_mangle]
pub unsafe extern "C" fn compiled_flags(cpu: *mut Cpu) -> u64 {
    unsafe { (*cpu).state.flags.bits() }
}

/// The high half of a product of unsigned numbers.
#[no_mangle]
pub extern "C" fn compiled_multiply_high(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}
