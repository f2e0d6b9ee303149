//! The 64-bit machine, as the host sees it: functions on the one machine of a WebAssembly instance.
//!
//! The host calls `create`, then `boot` or `restore`, and from then on `run` again and again. Between two
//! calls of it, it takes what the guest has given out, and gives it what has come in. Bytes that come in
//! are put where `allocate` says, and belong to the function that they are passed to; bytes that go out
//! lie at `taken` until the next call. web/vm/x64.js is that host.
#![cfg(target_arch = "wasm32")]
#![no_std]

extern crate alloc;

mod compiled;
mod host;
mod pages;
mod state;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::any::Any;

use board::boot::{self, Boot, BootError};
use board::{room, Board, Ram};
use compiler::tiers::Tiers;
use cpu::{Cpu, Memory, Outcome};
use ruzstd::io::Read;

const MIB: u64 = 1 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Instructions between two looks at the host's clock: some milliseconds at most.
const MAX_BUDGET: u64 = 200_000;
const MIN_BUDGET: u64 = 2_000;
/// The guest is given random bytes when there is room for so many.
const ENTROPY: usize = 512;

/// What `run` came back for.
mod status {
    /// The time is over.
    pub const RUNNING: u32 = 0;
    /// There is something to take.
    pub const OUTPUT: u32 = 1;
    /// Nothing happens until something comes in, or `idle_time` is over.
    pub const IDLE: u32 = 2;
    // Nothing happens any more:
    pub const HALTED: u32 = 3;
    pub const SHUT_DOWN: u32 = 4;
    pub const RESET: u32 = 5;
    /// A device has given up, as its driver does what it must not: `fault` says more.
    pub const BROKEN: u32 = 6;
}

/// What can be taken.
mod output {
    pub const LOG: u32 = 0;
    pub const REQUEST: u32 = 1;
    pub const FRAME: u32 = 2;
    /// Of the console: the first port's, then the others'.
    pub const CONSOLE: u32 = 8;
}

struct Machine {
    cpu: Box<Cpu>,
    tiers: Tiers,
    /// What `taken` is about.
    taken: Vec<u8>,
}

static mut MACHINE: Option<Machine> = None;

fn machine() -> &'static mut Machine {
    // There is one thread, and no exported function calls another one.
    match unsafe { (*(&raw mut MACHINE)).as_mut() } {
        Some(machine) => machine,
        None => host::fail("there is no machine yet"),
    }
}

impl Machine {
    fn board(&mut self) -> (&mut Board, Memory<'_>) {
        let (bus, memory) = self.cpu.bus_and_memory();
        match (bus as &mut dyn Any).downcast_mut::<Board>() {
            Some(board) => (board, memory),
            None => host::fail("the processor is on another board"),
        }
    }

    /// Lets the host's side of a device do something, and the guest hear of it.
    fn with<T>(&mut self, act: impl FnOnce(&mut Board, &mut Ram) -> T) -> T {
        let (board, mut memory) = self.board();
        let result = act(board, &mut Ram(&mut memory));
        board.update_lines();
        result
    }
}

/// Takes over bytes that `allocate` has made room for.
///
/// # Safety
/// Address and length are those of an allocation that nobody else has.
unsafe fn given(address: *mut u8, length: usize) -> Vec<u8> {
    if length == 0 {
        return Vec::new();
    }
    unsafe { Vec::from_raw_parts(address, length, length) }
}

/// Room for bytes that come in.
#[no_mangle]
pub extern "C" fn allocate(length: usize) -> *mut u8 {
    match Layout::from_size_align(length, 1) {
        Ok(layout) if length > 0 => {
            let address = unsafe { alloc::alloc::alloc(layout) };
            if address.is_null() {
                host::fail("there is no memory left in the page");
            }
            address
        }
        _ => core::ptr::dangling_mut(),
    }
}

/// Makes the machine, which can have so much memory, all zero. False when there is not as much as it has at first;
/// what comes later comes as long as there is some. `tail_calls`: whether modules may have them.
#[no_mangle]
pub extern "C" fn create(mib: u32, tail_calls: bool) -> bool {
    let limit = u64::from(mib) * MIB;
    if limit < 32 * MIB || limit > room::MOST {
        return false;
    }
    let size = limit.min(room::START);
    let limit = size + (limit - size).next_multiple_of(room::STEP);
    let Some(base) = pages::create_ram(size, limit) else { return false };
    let ram = unsafe { cpu::memory::Ram::growing(base, size, limit, pages::grow_ram) };
    let mut cpu = Cpu::new(ram, Box::new(Board::new(size)));
    let tiers = Tiers::new(&mut cpu, tail_calls);
    unsafe { MACHINE = Some(Machine { cpu, tiers, taken: Vec::new() }) };
    true
}

/// Loads a kernel. 0, or why that is not possible.
///
/// # Safety
/// As for `given`, three times.
#[no_mangle]
pub unsafe extern "C" fn boot(
    kernel: *mut u8,
    kernel_length: usize,
    initramfs: *mut u8,
    initramfs_length: usize,
    command_line: *mut u8,
    command_line_length: usize,
) -> u32 {
    let packed = unsafe { given(kernel, kernel_length) };
    let initramfs = unsafe { given(initramfs, initramfs_length) };
    let mut command_line = unsafe { given(command_line, command_line_length) };
    command_line.extend_from_slice(Board::command_line().as_bytes());
    let kernel = if packed.starts_with(&ZSTD_MAGIC) {
        let mut kernel = Vec::new();
        let Ok(mut decoder) = ruzstd::decoding::StreamingDecoder::new(&packed[..]) else { return 1 };
        if decoder.read_to_end(&mut kernel).is_err() {
            return 1;
        }
        kernel
    } else {
        packed
    };
    let mut seed = [0; 64];
    host::random(&mut seed);
    let boot = Boot { kernel: &kernel, initramfs: &initramfs, command_line: &command_line, seed: &seed };
    match boot::load(&mut machine().cpu, &boot) {
        Ok(()) => 0,
        Err(BootError::Kernel) => 1,
        Err(BootError::Memory) => 2,
        Err(BootError::CommandLine) => 3,
    }
}

/// What programs are told of from now on: a level of the x86-64 ABI, by its number. False where there is no such one.
#[no_mangle]
pub extern "C" fn set_level(number: u32) -> bool {
    let level = cpu::cpuid::Level::of(number);
    if let Some(level) = level {
        machine().cpu.level = level;
    }
    level.is_some()
}

/// Lets the machine run for so many milliseconds, or until it has something to say or nothing to do.
#[no_mangle]
pub extern "C" fn run(milliseconds: f64) -> u32 {
    let machine = machine();
    let end = host::now() + milliseconds;
    let mut ran = false;
    loop {
        let now = host::now();
        let (executed, urgent) = (machine.cpu.executed(), machine.cpu.is_compiling_urgent());
        let (board, mut memory) = machine.board();
        board.clock.look((now * 1e6) as u64, executed, ran);
        if ran && (now >= end || urgent) {
            return status::RUNNING;
        }
        if board.entropy.wanted() >= ENTROPY {
            let mut bytes = [0; ENTROPY];
            host::random(&mut bytes);
            board.entropy.provide(&bytes, &mut Ram(&mut memory));
            board.update_lines();
        }
        let time = board.clock.at(executed);
        let budget = board.next_timer().map_or(MAX_BUDGET, |due| board.clock.instructions(due.saturating_sub(time)));
        let outcome = machine.cpu.run(budget.clamp(MIN_BUDGET, MAX_BUDGET) as u32);
        ran = true;
        match outcome {
            _ if machine.board().0.fault().is_some() => return status::BROKEN,
            Outcome::Budget => {}
            Outcome::Halt => return status::IDLE,
            Outcome::Dead => return status::HALTED,
            Outcome::Shutdown => return status::SHUT_DOWN,
            Outcome::Reset => return status::RESET,
        }
        if machine.board().0.has_output() {
            return status::OUTPUT;
        }
    }
}

/// What broke a device, as a text in `taken`. Tells how many bytes it is, 0 when there is nothing to say.
#[no_mangle]
pub extern "C" fn fault() -> usize {
    let machine = machine();
    let (board, _) = machine.board();
    let text = board.fault().map_or_else(String::new, |(device, fault)| format!("{device}: {fault}"));
    machine.taken = text.into_bytes();
    machine.taken.len()
}

/// Milliseconds until a timer wakes an idle machine; infinite when there is none.
#[no_mangle]
pub extern "C" fn idle_time() -> f64 {
    let now = host::now();
    let machine = machine();
    let executed = machine.cpu.executed();
    let (board, _) = machine.board();
    board.clock.look((now * 1e6) as u64, executed, false);
    let time = board.clock.at(executed);
    board.next_timer().map_or(f64::INFINITY, |due| due.saturating_sub(time) as f64 / 1e6)
}

/// Where the guest's memory begins.
#[no_mangle]
pub extern "C" fn ram() -> *const u8 {
    machine().cpu.ram.base()
}

/// How many bytes of it there are now.
#[no_mangle]
pub extern "C" fn ram_size() -> usize {
    machine().cpu.ram.size() as usize
}

/// How many instructions were executed.
#[no_mangle]
pub extern "C" fn executed() -> f64 {
    machine().cpu.executed() as f64
}

/// Takes what the guest has given out, and tells how many bytes it is: -1 for nothing.
#[no_mangle]
pub extern "C" fn take(kind: u32) -> isize {
    let bytes = machine().with(|board, memory| match kind {
        output::LOG => Some(board.uart.take_output()),
        output::REQUEST => board.p9.take_request(memory),
        output::FRAME => board.net.take_frame(memory),
        _ => match kind.wrapping_sub(output::CONSOLE) as usize {
            port @ 0..virtio::console::PORTS => Some(board.console.take_output(port, memory)),
            _ => None,
        },
    });
    match bytes.filter(|bytes| !bytes.is_empty()) {
        Some(bytes) => {
            machine().taken = bytes;
            machine().taken.len() as isize
        }
        None => -1,
    }
}

/// Where it is.
#[no_mangle]
pub extern "C" fn taken() -> *const u8 {
    machine().taken.as_ptr()
}

/// The 9P server's reply. False when nobody waits for it.
///
/// # Safety
/// As for `given`.
#[no_mangle]
pub unsafe extern "C" fn reply(address: *mut u8, length: usize) -> bool {
    let frame = unsafe { given(address, length) };
    machine().with(|board, memory| board.p9.reply(&frame, memory)).is_ok()
}

/// Bytes for a port of the console. Tells how many of them the guest has taken.
///
/// # Safety
/// As for `given`.
#[no_mangle]
pub unsafe extern "C" fn console_input(port: usize, address: *mut u8, length: usize) -> usize {
    let bytes = unsafe { given(address, length) };
    if port >= virtio::console::PORTS {
        return length;
    }
    machine().with(|board, memory| board.console.input(port, &bytes, memory))
}

/// A frame for the network card. False when it has to be given again later.
///
/// # Safety
/// As for `given`.
#[no_mangle]
pub unsafe extern "C" fn frame(address: *mut u8, length: usize) -> bool {
    let bytes = unsafe { given(address, length) };
    machine().with(|board, memory| board.net.deliver(&bytes, memory)) != virtio::net::Delivery::Full
}

/// The machine's state, to be taken as it is from `taken`. The pages whose bits are set in what is given, the
/// first page's bit the lowest one, are left out: in the machine that goes on, they are zero. 0 where there is no
/// room for the state beside the machine.
///
/// # Safety
/// As for `given`.
#[no_mangle]
pub unsafe extern "C" fn save(free: *mut u8, length: usize) -> usize {
    let free = unsafe { given(free, length) };
    let machine = machine();
    // What was taken before need not be there beside it.
    machine.taken = Vec::new();
    machine.taken = state::save(machine, &free).unwrap_or_default();
    machine.taken.len()
}

/// Gives a machine that has not run the state of another one, which had no more memory than it can have. It may
/// be compressed by zstd. False when it is no state, or not of this version.
///
/// # Safety
/// As for `given`.
#[no_mangle]
pub unsafe extern "C" fn restore(address: *mut u8, length: usize) -> bool {
    let bytes = unsafe { given(address, length) };
    let machine = machine();
    let restored = if bytes.starts_with(&ZSTD_MAGIC) {
        match ruzstd::decoding::StreamingDecoder::new(&bytes[..]) {
            Ok(decoder) => state::restore(machine, decoder),
            Err(_) => None,
        }
    } else {
        state::restore(machine, &bytes[..])
    };
    machine.tiers.clear(&mut machine.cpu);
    restored.is_some()
}
