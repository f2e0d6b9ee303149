//! The 64-bit machine as a program for WASI, in the place of container2wasm's: its terminal is standard input
//! and output, and the cable of its card is accepted from a socket that listens, with QEMU's framing. Its CPU
//! is interpreted. Kernel and initramfs are in the program.
#![cfg(target_arch = "wasm32")]
#![no_std]

extern crate alloc;

mod wasi;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::any::Any;

use board::boot::{self, Boot};
use board::{Board, Ram};
use cpu::{Cpu, Memory, Outcome};
use virtio::net::Delivery;

static KERNEL: &[u8] = include_bytes!(env!("LINUX_KERNEL"));
static INITRAMFS: &[u8] = include_bytes!(env!("LINUX_INITRAMFS"));

const COMMAND_LINE: &str = "console=ttyS0 quiet tsc=reliable reboot=t panic=-1 nowatchdog rdinit=/init";
const RAM: usize = 192 << 20;
const PAGE: usize = 4096;
const TERMINAL_IN: u32 = 0;
const TERMINAL_OUT: u32 = 1;
/// As `--net=socket=listenfd=4` says.
const LISTENER: u32 = 4;
const TERMINAL_PORT: usize = 0;
const MAX_BUDGET: u64 = 200_000;
const MIN_BUDGET: u64 = 2_000;
const ENTROPY: usize = 512;
const CHUNK: usize = 1 << 16;
const LENGTH: usize = 4;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    fail(&alloc::format!("{info}"))
}

fn fail(message: &str) -> ! {
    wasi::write(TERMINAL_OUT, message.as_bytes());
    wasi::exit(1)
}

fn board(cpu: &mut Cpu) -> (&mut Board, Memory<'_>) {
    let (bus, memory) = cpu.bus_and_memory();
    match (bus as &mut dyn Any).downcast_mut::<Board>() {
        Some(board) => (board, memory),
        None => fail("the processor is on another board"),
    }
}

fn start() -> Box<Cpu> {
    let memory = Box::leak(alloc::vec![0u128; (RAM + PAGE) / 16].into_boxed_slice());
    let base = memory.as_mut_ptr().cast::<u8>();
    let base = unsafe { base.add(base.align_offset(PAGE)) };
    let ram = unsafe { cpu::memory::Ram::new(base, RAM as u64) };
    let mut cpu = Cpu::new(ram, Box::new(Board::new(RAM as u64)));
    let line = alloc::format!("{COMMAND_LINE}{}", Board::command_line());
    let mut seed = [0; 64];
    wasi::random(&mut seed);
    let boot = Boot { kernel: KERNEL, initramfs: INITRAMFS, command_line: line.as_bytes(), seed: &seed };
    if let Err(error) = boot::load(&mut cpu, &boot) {
        fail(&alloc::format!("the kernel cannot be loaded: {error:?}"));
    }
    cpu
}

/// What has come and was not taken yet.
struct Host {
    cable: u32,
    received: Vec<u8>,
    typed: VecDeque<u8>,
}

impl Host {
    /// Hands on what the guest has given out, and gives it what has come. False where the cable is lost.
    fn exchange(&mut self, cpu: &mut Cpu) -> bool {
        let (board, mut memory) = board(cpu);
        let memory = &mut Ram(&mut memory);
        wasi::write(TERMINAL_OUT, &board.uart.take_output());
        wasi::write(TERMINAL_OUT, &board.console.take_output(TERMINAL_PORT, memory));
        for port in 1..virtio::console::PORTS {
            board.console.take_output(port, memory);
        }
        while let Some(frame) = board.net.take_frame(memory) {
            let length = (frame.len() as u32).to_be_bytes();
            if !wasi::write(self.cable, &[&length[..], &frame[..]].concat()) {
                return false;
            }
        }
        let Some(bytes) = wasi::read(self.cable, CHUNK) else { return false };
        self.received.extend(bytes);
        let mut at = 0;
        while let Some(length) = self.received.get(at..at + LENGTH) {
            let size = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let Some(frame) = self.received.get(at + LENGTH..at + LENGTH + size) else { break };
            if board.net.deliver(frame, memory) == Delivery::Full {
                break;
            }
            at += LENGTH + size;
        }
        self.received.drain(..at);
        self.typed.extend(wasi::read(TERMINAL_IN, CHUNK).unwrap_or_default());
        let taken = board.console.input(TERMINAL_PORT, self.typed.make_contiguous(), memory);
        self.typed.drain(..taken);
        board.update_lines();
        true
    }
}

#[no_mangle]
pub extern "C" fn _start() {
    wasi::never_waits(TERMINAL_IN);
    let Some(cable) = wasi::accept(LISTENER) else { fail("nobody is at the cable") };
    let mut host = Host { cable, received: Vec::new(), typed: VecDeque::new() };
    let mut cpu = start();
    let mut ran = false;
    loop {
        let now = wasi::now();
        let executed = cpu.executed();
        let (board, mut memory) = board(&mut cpu);
        board.clock.look(now, executed, ran);
        if board.entropy.wanted() >= ENTROPY {
            let mut bytes = [0; ENTROPY];
            wasi::random(&mut bytes);
            board.entropy.provide(&bytes, &mut Ram(&mut memory));
            board.update_lines();
        }
        let time = board.clock.at(executed);
        let left = board.next_timer().map(|due| due.saturating_sub(time));
        let budget = left.map_or(MAX_BUDGET, |left| board.clock.instructions(left));
        let outcome = cpu.run(budget.clamp(MIN_BUDGET, MAX_BUDGET) as u32);
        ran = outcome == Outcome::Budget;
        if !host.exchange(&mut cpu) {
            fail("the cable is lost");
        }
        match outcome {
            Outcome::Budget => {}
            Outcome::Halt => idle(&mut cpu, &host),
            // What a guest does that ends.
            Outcome::Reset | Outcome::Shutdown => return,
            Outcome::Dead => fail("the machine stands still"),
        }
    }
}

/// Waits until something comes, or a timer is due.
fn idle(cpu: &mut Cpu, host: &Host) {
    let executed = cpu.executed();
    let (board, _) = board(cpu);
    if board.has_output() || !host.received.is_empty() {
        return;
    }
    board.clock.look(wasi::now(), executed, false);
    let time = board.clock.at(executed);
    let left = board.next_timer().map(|due| due.saturating_sub(time));
    if left != Some(0) {
        wasi::wait(&[TERMINAL_IN, host.cable], left);
    }
}
