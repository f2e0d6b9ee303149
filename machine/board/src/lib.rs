//! What is around the processor: interrupt controllers, timers, ports, virtio devices, and how a kernel
//! gets into it.
//!
//! Nothing here knows a host: the time is told, and bytes go in and out.
#![no_std]

extern crate alloc;

pub mod apic;
pub mod boot;
pub mod clock;
pub mod pic;
pub mod pit;
pub mod room;
pub mod uart;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use cpu::{Bus, Memory};
use virtio::state::{save_section, Reader, State, StateError};
use virtio::{Balloon, Console, Entropy, Fault, GuestMemory, Mmio, Net, OutOfRange, Transport, Vsock, P9};

use apic::Apic;
use clock::Clock;
use pic::Pic;
use pit::Pit;
use uart::Uart;

/// The first virtio device's registers; the others' follow.
const VIRTIO: u64 = 0xd000_0000;
/// Their interrupt lines.
const LINES: [u8; 6] = [5, 7, 9, 10, 11, 12];
/// What they are to a person, in the same order.
const DEVICES: [&str; 6] =
    ["9P server", "console", "source of random bytes", "network card", "sockets", "memory balloon"];
const TIMER_LINE: u8 = 0;
const UART_LINE: u8 = 4;
const UART: u16 = 0x3f8;

/// The tag of the 9P server's tree.
pub const MOUNT_TAG: &str = "host9p";
/// Of the network card: administered locally.
pub const MAC: [u8; 6] = [0x52, 0x62, 0x6d, 0x00, 0x00, 0x02];
/// The largest IP packet that there is: nothing is lost on this wire. As MTU in web/vm/machine.js.
const MTU: u16 = 65535;
/// The guest's address for sockets.
const GUEST_CID: u64 = 3;

/// RAM as the devices reach it.
pub struct Ram<'a, 'b>(pub &'a mut Memory<'b>);

impl GuestMemory for Ram<'_, '_> {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutOfRange> {
        bytes.copy_from_slice(self.0.bytes(address, bytes.len() as u64).ok_or(OutOfRange)?);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.0.bytes_mut(address, bytes.len() as u64).ok_or(OutOfRange)?.copy_from_slice(bytes);
        Ok(())
    }
}

pub struct Board {
    pub clock: Clock,
    apic: Apic,
    pic: Pic,
    pit: Pit,
    pub uart: Uart,
    /// The register of the clock in CMOS that is selected.
    cmos: u8,
    reset: bool,
    /// The time at the last look.
    now: u64,
    pub p9: Mmio<P9>,
    pub console: Mmio<Console>,
    pub entropy: Mmio<Entropy>,
    pub net: Mmio<Net>,
    pub vsock: Mmio<Vsock>,
    pub balloon: Mmio<Balloon>,
}

impl Board {
    /// For a machine with so many bytes of memory at first.
    pub fn new(ram: u64) -> Board {
        Board {
            clock: Clock::new(),
            apic: Apic::new(),
            pic: Pic::new(LINES.iter().fold(0, |lines, line| lines | 1 << line)),
            pit: Pit::new(),
            uart: Uart::new(),
            cmos: 0,
            reset: false,
            now: 0,
            p9: Mmio::new(P9::new(MOUNT_TAG)),
            console: Mmio::new(Console::new(["terminal", "control", "stdout", "stderr"])),
            entropy: Mmio::new(Entropy::default()),
            net: Mmio::new(Net::new(MAC, MTU)),
            vsock: Mmio::new(Vsock::new(GUEST_CID)),
            balloon: Mmio::new(Balloon::new(room::end(ram) / cpu::memory::PAGE)),
        }
    }

    /// What the kernel's command line has to say about the devices.
    pub fn command_line() -> String {
        let mut line = String::new();
        for (index, irq) in LINES.iter().enumerate() {
            let address = VIRTIO + virtio::mmio::WINDOW * index as u64;
            let _ = write!(line, " virtio_mmio.device=4K@{address:#x}:{irq}");
        }
        line
    }

    fn devices(&self) -> [&dyn Transport; 6] {
        [&self.p9, &self.console, &self.entropy, &self.net, &self.vsock, &self.balloon]
    }

    fn device_mut(&mut self, index: u64) -> Option<&mut dyn Transport> {
        Some(match index {
            0 => &mut self.p9,
            1 => &mut self.console,
            2 => &mut self.entropy,
            3 => &mut self.net,
            4 => &mut self.vsock,
            5 => &mut self.balloon,
            _ => return None,
        })
    }

    /// The virtio device with this address, and the address in it.
    fn device_at(&mut self, address: u64) -> Option<(&mut dyn Transport, u64)> {
        let offset = address.checked_sub(VIRTIO)?;
        let device = self.device_mut(offset / virtio::mmio::WINDOW)?;
        Some((device, offset % virtio::mmio::WINDOW))
    }

    /// Brings the lines to the interrupt controller: for whoever has used a device from the host's side.
    pub fn update_lines(&mut self) {
        for (index, line) in LINES.into_iter().enumerate() {
            let high = self.devices()[index].irq_level();
            self.pic.set_line(line, high);
        }
        self.pic.set_line(UART_LINE, self.uart.interrupts());
    }

    /// Whether a device has something for the host to take. (Random bytes that it could bring are no
    /// reason to hurry.)
    pub fn has_output(&self) -> bool {
        self.uart.has_output()
            || self.p9.has_output()
            || self.console.has_output()
            || self.net.has_output()
            || self.vsock.has_output()
    }

    /// The device whose driver has done what it must not, by its name, and what that was. It does nothing
    /// any more until it is reset.
    pub fn fault(&self) -> Option<(&'static str, Fault)> {
        DEVICES.into_iter().zip(self.devices()).find_map(|(name, device)| Some((name, device.fault()?)))
    }

    /// The guest's time at which a timer interrupts next.
    pub fn next_timer(&self) -> Option<u64> {
        let pit = if self.pic.is_masked(TIMER_LINE) { None } else { self.pit.due() };
        match (self.apic.due(), pit) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Goes on with what waited in restored devices.
    fn poll_devices(&mut self, memory: &mut Memory) {
        for index in 0..LINES.len() as u64 {
            if let Some(device) = self.device_mut(index) {
                device.poll(&mut Ram(memory));
            }
        }
        self.update_lines();
    }

    /// After `restore`, with the memory that belongs to it.
    pub fn resume(&mut self, memory: &mut Memory) {
        self.poll_devices(memory);
    }
}

impl Bus for Board {
    fn read(&mut self, address: u64, size: u8) -> u64 {
        if let Some(offset) = address.checked_sub(apic::ADDRESS).filter(|&offset| offset < apic::SIZE) {
            return if size == 4 { u64::from(self.apic.read(offset, self.now)) } else { 0 };
        }
        match self.device_at(address) {
            Some((device, offset)) => device.read(offset, size),
            None => u64::MAX,
        }
    }

    fn write(&mut self, address: u64, size: u8, value: u64, memory: &mut Memory) {
        if let Some(offset) = address.checked_sub(apic::ADDRESS).filter(|&offset| offset < apic::SIZE) {
            if size == 4 {
                self.apic.write(offset, value as u32, self.now);
            }
        } else if let Some((device, offset)) = self.device_at(address) {
            device.write(offset, size, value, &mut Ram(memory));
            self.update_lines();
        }
    }

    fn port_read(&mut self, port: u16, size: u8, memory: &Memory) -> u32 {
        let empty = u32::MAX >> (32 - 8 * u32::from(size.clamp(1, 4)));
        if size == 4 {
            return room::read(port, memory).unwrap_or(empty);
        }
        if size != 1 {
            return empty;
        }
        let value = match port {
            UART..=0x3ff => Some(self.uart.read(port - UART)),
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => self.pic.read(port),
            0x40..=0x43 | 0x61 => self.pit.read(port, self.now),
            // A clock that nobody has set: but it is not in the middle of an update.
            0x71 => Some(match self.cmos {
                0x0a => 0x26,
                0x0b => 0x02,
                0x0d => 0x80,
                _ => 0,
            }),
            _ => None,
        };
        if (UART..UART + 8).contains(&port) {
            self.pic.set_line(UART_LINE, self.uart.interrupts());
        }
        value.map_or(empty, u32::from)
    }

    fn port_write(&mut self, port: u16, size: u8, value: u32, memory: &mut Memory) {
        if size == 4 {
            room::write(port, value, memory);
        }
        if size != 1 {
            return;
        }
        let value = value as u8;
        match port {
            UART..=0x3ff => {
                self.uart.write(port - UART, value);
                self.pic.set_line(UART_LINE, self.uart.interrupts());
            }
            0x40..=0x43 | 0x61 => {
                self.pit.write(port, value, self.now);
            }
            0x70 => self.cmos = value & 0x7f,
            // Keyboard controller and chipset: reset.
            0x64 if value == 0xfe => self.reset = true,
            0xcf9 if value & 4 != 0 => self.reset = true,
            _ => {
                self.pic.write(port, value);
            }
        }
    }

    fn tsc(&mut self, executed: u64) -> u64 {
        self.now = self.clock.tick(executed);
        self.now
    }

    fn tsc_deadline(&mut self) -> u64 {
        self.apic.deadline()
    }

    fn set_tsc_deadline(&mut self, value: u64) {
        self.apic.set_deadline(value);
    }

    fn task_priority(&mut self) -> u64 {
        self.apic.task_priority()
    }

    fn set_task_priority(&mut self, value: u64) {
        self.apic.set_task_priority(value);
    }

    fn poll(&mut self, executed: u64, _memory: &mut Memory) {
        self.now = self.clock.at(executed);
        self.apic.poll(self.now);
        if self.pit.fires(self.now) {
            self.pic.set_line(TIMER_LINE, false);
            self.pic.set_line(TIMER_LINE, true);
        }
    }

    fn interrupt_pending(&mut self) -> bool {
        self.apic.is_pending() || self.pic.pending() && self.apic.passes_external()
    }

    fn acknowledge_interrupt(&mut self) -> u8 {
        match self.apic.acknowledge() {
            Some(vector) => vector,
            None => self.pic.acknowledge(),
        }
    }

    fn reset_requested(&self) -> bool {
        self.reset
    }
}

impl State for Board {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"BORD", 1, |out| {
            self.clock.save(out);
            self.apic.save(out);
            self.pic.save(out);
            self.pit.save(out);
            self.uart.save(out);
            virtio::state::Field::save(&self.cmos, out);
            self.p9.save(out);
            self.console.save(out);
            self.entropy.save(out);
            self.net.save(out);
            self.vsock.save(out);
            self.balloon.save(out);
        });
    }

    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"BORD", 1)?;
        self.clock.restore(&mut section)?;
        self.apic.restore(&mut section)?;
        self.pic.restore(&mut section)?;
        self.pit.restore(&mut section)?;
        self.uart.restore(&mut section)?;
        self.cmos = virtio::state::Field::load(&mut section)?;
        self.p9.restore(&mut section)?;
        self.console.restore(&mut section)?;
        self.entropy.restore(&mut section)?;
        self.net.restore(&mut section)?;
        self.vsock.restore(&mut section)?;
        self.balloon.restore(&mut section)?;
        section.finish()
    }
}
