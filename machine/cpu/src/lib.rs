//! An x86-64 processor: registers, memory management, exceptions and an exact interpreter.
//!
//! The processor is in long mode from its first instruction on (64-bit and compatibility mode, no
//! real mode, no paging but by four levels), which is all that a 64-bit kernel with its programs
//! needs. "SDM" means the Intel 64 and IA-32 Architectures Software Developer's Manual.
#![no_std]

extern crate alloc;

pub mod chain;
pub mod code;
pub mod compiled;
pub mod control;
pub mod cpuid;
mod decode;
pub mod exception;
pub mod flags;
mod fxstate;
mod instructions;
pub mod memory;
pub mod paging;
pub mod segment;
pub mod snapshot;
pub mod state;
pub mod tlb;
mod windows;

use alloc::boxed::Box;

use code::CodeCache;
use control::Control;
use exception::{Fault, FIXED, IF, TF};
use memory::Ram;
use paging::Access;
use segment::{Segment, Table};
use state::State;

pub use decode::has_handler;
pub use instructions::{condition_number, is_aligned_move, x87_operation};
use tlb::{Spaces, Tlb};

/// Why an instruction did not end as usual.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// An exception was recorded; the instruction has changed nothing.
    Fault,
    /// Done, but the decoded instructions behind it must not be executed: the mode or the code
    /// itself may have changed.
    Leave,
    /// Done, and nothing happens until an interrupt.
    Halt,
}

pub type Step = Result<(), Stop>;

/// What is around the processor: devices, interrupt controllers and the clock.
pub trait Bus: core::any::Any {
    /// A load from a physical address outside RAM.
    fn read(&mut self, address: u64, size: u8) -> u64;
    fn write(&mut self, address: u64, size: u8, value: u64, memory: &mut Memory);
    fn port_read(&mut self, port: u16, size: u8, memory: &Memory) -> u32;
    fn port_write(&mut self, port: u16, size: u8, value: u32, memory: &mut Memory);
    /// The time stamp counter after so many instructions in all, which is more each time.
    fn tsc(&mut self, executed: u64) -> u64;
    fn tsc_deadline(&mut self) -> u64;
    fn set_tsc_deadline(&mut self, value: u64);
    /// CR8.
    fn task_priority(&mut self) -> u64;
    fn set_task_priority(&mut self, value: u64);
    /// Lets devices and timers do what is due.
    fn poll(&mut self, executed: u64, memory: &mut Memory);
    /// Whether an interrupt waits for the processor.
    fn interrupt_pending(&mut self) -> bool;
    /// Takes the interrupt that waits, and gives its vector.
    fn acknowledge_interrupt(&mut self) -> u8;
    /// Whether the machine was told to reset itself.
    fn reset_requested(&self) -> bool;
}

/// RAM as devices see it: what they write is seen by the processor's caches.
pub struct Memory<'a> {
    ram: &'a mut Ram,
    code: &'a mut CodeCache,
}

impl Memory<'_> {
    pub fn size(&self) -> u64 {
        self.ram.size()
    }

    /// How large it can become.
    pub fn limit(&self) -> u64 {
        self.ram.limit()
    }

    /// Adds zeros behind it, up to this size. False where that cannot be.
    pub fn grow(&mut self, size: u64) -> bool {
        let grown = self.ram.grow(size);
        if grown {
            self.code.grow((size / memory::PAGE) as usize);
        }
        grown
    }

    pub fn bytes(&self, address: u64, length: u64) -> Option<&[u8]> {
        self.ram.bytes(address, length)
    }

    /// For writing to.
    pub fn bytes_mut(&mut self, address: u64, length: u64) -> Option<&mut [u8]> {
        if !self.ram.contains(address, length) {
            return None;
        }
        self.code.written(address, length);
        self.ram.bytes_mut(address, length)
    }
}

/// Why `Cpu::run` came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The instructions that it was given are executed.
    Budget,
    /// HLT: nothing to do until a device or a timer interrupts.
    Halt,
    /// HLT with interrupts off: nothing will ever happen again.
    Dead,
    /// A fault while delivering a double fault, by which a PC resets itself.
    Shutdown,
    /// A device was told to reset the machine.
    Reset,
}

#[repr(C)]
pub struct Cpu {
    pub state: State,
    /// The TLB's table for the present privilege.
    table: *mut tlb::Table,
    pub tlb: Box<Tlb>,
    spaces: Spaces,
    /// The present address space's number.
    space: u64,
    /// Linear addresses of large pages that may be in the TLB: from, to.
    large_low: u64,
    large_high: u64,
    pub ram: Ram,
    pub control: Control,
    pub segments: [Segment; 6],
    pub gdtr: Table,
    pub idtr: Table,
    pub ldtr: Segment,
    pub tr: Segment,
    fault: Option<Fault>,
    pub fpu: x87::Fpu,
    pub code: CodeCache,
    chain: chain::Chain,
    bus: Box<dyn Bus>,
    /// Instructions granted since the machine was made.
    granted: u64,
    /// What was left of the budget when `interrupt_slice` took it away.
    saved: i64,
    /// Interrupts are not looked at before one more instruction (STI, MOV SS).
    shadow: bool,
    halted: bool,
    /// What CPUID tells programs (see `cpuid`). Another one may be set at any time between two calls of `run`; what
    /// is running keeps what it has asked for.
    pub level: cpuid::Level,
    /// Whether instructions are decoded each anew, one by one. For comparing.
    pub stepping: bool,
}

impl Cpu {
    /// A processor in 64-bit mode with interrupts off, whose registers and tables are still to be set.
    pub fn new(ram: Ram, bus: Box<dyn Bus>) -> Box<Cpu> {
        let pages = (ram.size() / memory::PAGE) as usize;
        let mut cpu = Box::new(Cpu {
            // All registers are numbers, for which 0 is a value.
            state: unsafe { core::mem::zeroed() },
            table: core::ptr::null_mut(),
            tlb: Tlb::new(),
            spaces: Spaces::new(),
            space: 0,
            large_low: u64::MAX,
            large_high: 0,
            ram,
            control: Control::long_mode(),
            segments: [Segment::flat_data(0x18); 6],
            gdtr: Table::default(),
            idtr: Table::default(),
            ldtr: Segment::default(),
            tr: Segment::default(),
            fault: None,
            fpu: x87::Fpu::new(),
            code: CodeCache::new(pages),
            chain: chain::Chain::new(),
            bus,
            granted: 0,
            saved: 0,
            shadow: false,
            halted: false,
            level: cpuid::Level::V2,
            stepping: false,
        });
        cpu.state.system_flags = FIXED;
        cpu.state.mxcsr = 0x1f80;
        cpu.segments[segment::CS] = Segment::flat_code(0x10);
        cpu.update_mode();
        cpu.flush_tlb();
        cpu
    }

    pub fn bus(&mut self) -> &mut dyn Bus {
        &mut *self.bus
    }

    /// What is around the processor, and the memory that it shares with it.
    pub fn bus_and_memory(&mut self) -> (&mut dyn Bus, Memory<'_>) {
        (&mut *self.bus, Memory { ram: &mut self.ram, code: &mut self.code })
    }

    pub fn memory(&mut self) -> Memory<'_> {
        Memory { ram: &mut self.ram, code: &mut self.code }
    }

    /// How many instructions were executed since the machine was made.
    pub fn executed(&self) -> u64 {
        self.granted.wrapping_sub((self.state.budget + self.saved) as u64)
    }

    /// Makes the loop look around as soon as the present instruction (in compiled code: the present
    /// stretch up to a back edge) is done.
    pub fn interrupt_slice(&mut self) {
        if self.state.budget >= 0 {
            self.saved += self.state.budget + 1;
            self.state.budget = -1;
        }
    }

    /// Tells that RAM was written to: code in it is no longer what was decoded.
    #[inline(always)]
    pub fn written(&mut self, address: u64, length: u64) {
        if self.code.written(address, length) {
            self.state.event = 1;
            self.state.chain_tag = 0;
        }
    }

    fn device_read(&mut self, address: u64, size: u8) -> u64 {
        self.bus.read(address, size)
    }

    fn device_write(&mut self, address: u64, size: u8, value: u64) {
        let mut memory = Memory { ram: &mut self.ram, code: &mut self.code };
        self.bus.write(address, size, value, &mut memory);
        self.interrupt_slice();
    }

    fn port_read(&mut self, port: u16, size: u8) -> u32 {
        let memory = Memory { ram: &mut self.ram, code: &mut self.code };
        self.bus.port_read(port, size, &memory)
    }

    fn port_write(&mut self, port: u16, size: u8, value: u32) {
        let mut memory = Memory { ram: &mut self.ram, code: &mut self.code };
        self.bus.port_write(port, size, value, &mut memory);
        self.interrupt_slice();
    }

    /// Executes about so many instructions, less where code should be compiled.
    pub fn run(&mut self, instructions: u32) -> Outcome {
        self.granted = self.granted.wrapping_add(u64::from(instructions));
        self.saved += i64::from(instructions);
        loop {
            if self.state.budget <= 0 {
                self.state.budget += self.saved;
                self.saved = 0;
                if let Some(outcome) = self.look_around() {
                    return outcome;
                }
            }
            let executed = if self.stepping || self.state.system_flags & TF != 0 {
                self.step()
            } else if self.shadow {
                self.shadow = false;
                self.some(1)
            } else {
                self.block()
            };
            if let Err(outcome) = executed {
                return outcome;
            }
        }
    }

    /// Devices, interrupts and the end of the slice.
    fn look_around(&mut self) -> Option<Outcome> {
        let executed = self.executed();
        let mut memory = Memory { ram: &mut self.ram, code: &mut self.code };
        self.bus.poll(executed, &mut memory);
        if self.bus.reset_requested() {
            return Some(Outcome::Reset);
        }
        if self.shadow {
            self.interrupt_slice();
            return (self.state.budget + self.saved <= 0).then_some(Outcome::Budget);
        }
        let enabled = self.state.system_flags & IF != 0;
        if enabled && self.bus.interrupt_pending() {
            self.halted = false;
            let vector = self.bus.acknowledge_interrupt();
            if self.deliver_interrupt(vector).is_err() {
                return Some(Outcome::Shutdown);
            }
        }
        if self.halted {
            // The time until the interrupt is not that of instructions.
            self.give_back();
            return Some(if enabled { Outcome::Halt } else { Outcome::Dead });
        }
        if self.is_compiling_urgent() {
            self.give_back();
        }
        (self.state.budget <= 0).then_some(Outcome::Budget)
    }

    /// Gives back what is left of the budget.
    fn give_back(&mut self) {
        self.granted = self.executed();
        self.state.budget = 0;
        self.saved = 0;
    }

    /// What an instruction that did not end as usual makes of the loop. RIP is behind it.
    #[cold]
    fn stopped(&mut self, stop: Stop, length: u64) -> Result<(), Outcome> {
        match stop {
            Stop::Fault => {
                self.state.rip = self.state.rip.wrapping_sub(length);
                // It takes time, or a handler that faults itself would keep us here for ever.
                self.state.budget -= 1;
                self.deliver_fault().map_err(|()| Outcome::Shutdown)
            }
            Stop::Leave => Ok(()),
            Stop::Halt => {
                self.halted = true;
                self.interrupt_slice();
                Ok(())
            }
        }
    }
}
