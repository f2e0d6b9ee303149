//! A console with several ports (Virtio 5.3).
//!
//! Of each port's output a bounded part is kept for the host. When the host does not take it, the rest
//! stays in the queue; Linux's driver then waits in a busy loop, with interrupts off: a host that is slow
//! for long has to ask the guest's programs to wait.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::memory::GuestMemory;
use crate::mmio::{Device, Io, Mmio};
use crate::queue::Fault;
use crate::state::{save_section, Field, Reader, State, StateError};

pub const PORTS: usize = 4;
/// How many bytes of a port's output are kept.
pub const OUTPUT_LIMIT: usize = 64 * 1024;
/// How many messages for the driver are kept before its own are left in their queue.
const CONTROL_LIMIT: usize = 16;

const CONTROL_RECEIVE: usize = 2;
const CONTROL_TRANSMIT: usize = 3;
const FEATURE_MULTIPORT: u64 = 1 << 1;

/// Events of the control queues (Virtio 5.3.6.2).
mod event {
    pub const DEVICE_READY: u16 = 0;
    pub const DEVICE_ADD: u16 = 1;
    pub const PORT_READY: u16 = 3;
    pub const CONSOLE_PORT: u16 = 4;
    pub const PORT_OPEN: u16 = 6;
    pub const PORT_NAME: u16 = 7;
}

pub struct Console {
    names: [&'static str; PORTS],
    output: [Vec<u8>; PORTS],
    /// How much of the next chain of a port's output was taken before.
    offset: [u32; PORTS],
    /// Messages that wait for the driver's buffers.
    control: VecDeque<Vec<u8>>,
    /// Whether a program of the guest has it open.
    open: [bool; PORTS],
}

fn receive_queue(port: usize) -> usize {
    if port == 0 {
        0
    } else {
        2 * port + 2
    }
}

fn transmit_queue(port: usize) -> usize {
    receive_queue(port) + 1
}

fn message(port: usize, event: u16, value: u16) -> Vec<u8> {
    let mut message = (port as u32).to_le_bytes().to_vec();
    message.extend_from_slice(&event.to_le_bytes());
    message.extend_from_slice(&value.to_le_bytes());
    message
}

impl Console {
    pub fn new(names: [&'static str; PORTS]) -> Console {
        Console {
            names,
            output: Default::default(),
            offset: [0; PORTS],
            control: VecDeque::new(),
            open: [false; PORTS],
        }
    }

    fn run_control(&mut self, io: &mut Io) -> Result<(), Fault> {
        loop {
            self.send_control(io)?;
            if self.control.len() >= CONTROL_LIMIT {
                return Ok(());
            }
            let Some(chain) = io.pop(CONTROL_TRANSMIT)? else { return Ok(()) };
            let mut bytes = [0; 8];
            if chain.readable.read(io.memory, 0, &mut bytes)? < bytes.len() {
                return Err(Fault::Request("a console's control message"));
            }
            io.push(CONTROL_TRANSMIT, chain.head, 0)?;
            let port = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
            let event = u16::from_le_bytes([bytes[4], bytes[5]]);
            self.receive_control(port, event, u16::from_le_bytes([bytes[6], bytes[7]]));
        }
    }

    fn receive_control(&mut self, port: usize, event: u16, value: u16) {
        match event {
            event::DEVICE_READY if value == 1 => {
                self.control.extend((0..PORTS).map(|port| message(port, event::DEVICE_ADD, 0)));
            }
            event::PORT_READY if value == 1 && port < PORTS => {
                self.control.push_back(message(port, event::CONSOLE_PORT, 1));
                let mut name = message(port, event::PORT_NAME, 0);
                name.extend_from_slice(self.names[port].as_bytes());
                self.control.push_back(name);
                self.control.push_back(message(port, event::PORT_OPEN, 1));
            }
            event::PORT_OPEN if port < PORTS => self.open[port] = value == 1,
            _ => {}
        }
    }

    fn send_control(&mut self, io: &mut Io) -> Result<(), Fault> {
        while let Some(message) = self.control.front() {
            let Some(chain) = io.pop(CONTROL_RECEIVE)? else { break };
            if chain.writable.write(io.memory, 0, message)? < message.len() {
                return Err(Fault::Request("a console's control buffer"));
            }
            io.push(CONTROL_RECEIVE, chain.head, message.len())?;
            self.control.pop_front();
        }
        Ok(())
    }

    /// Takes as much of a port's output as there is room for.
    fn collect(&mut self, port: usize, io: &mut Io) -> Result<(), Fault> {
        let queue = transmit_queue(port);
        loop {
            let room = OUTPUT_LIMIT - self.output[port].len();
            if room == 0 {
                return Ok(());
            }
            let Some(chain) = io.pop(queue)? else { return Ok(()) };
            let offset = self.offset[port] as usize;
            let bytes = chain.readable.to_vec(io.memory, offset, room)?;
            self.output[port].extend_from_slice(&bytes);
            if offset + bytes.len() < chain.readable.len() {
                self.offset[port] += bytes.len() as u32;
                io.unpop(queue);
                return Ok(());
            }
            self.offset[port] = 0;
            io.push(queue, chain.head, 0)?;
        }
    }
}

impl Device for Console {
    const ID: u32 = 3;
    /// Linux fills a queue for input with a page for each entry, and has one entry of output in use.
    const QUEUES: &'static [u16] = &[16, 16, 16, 16, 16, 16, 16, 16, 16, 16];

    fn features(&self) -> u64 {
        FEATURE_MULTIPORT
    }

    /// Columns and rows (without meaning: VIRTIO_CONSOLE_F_SIZE is not offered), and the number of ports.
    fn config(&self) -> Vec<u8> {
        [0, PORTS as u32].iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn run(&mut self, io: &mut Io) -> Result<(), Fault> {
        self.run_control(io)?;
        (0..PORTS).try_for_each(|port| self.collect(port, io))
    }

    /// What was written before is still the host's to take.
    fn reset(&mut self) {
        self.offset = [0; PORTS];
        self.control.clear();
        self.open = [false; PORTS];
    }

    fn has_output(&self) -> bool {
        self.output.iter().any(|output| !output.is_empty())
    }
}

impl Mmio<Console> {
    /// What the guest has written to a port: no bytes, when there is nothing new.
    pub fn take_output(&mut self, port: usize, memory: &mut dyn GuestMemory) -> Vec<u8> {
        let output = core::mem::take(&mut self.device.output[port]);
        if output.len() == OUTPUT_LIMIT {
            self.drive(memory, |device, io| device.collect(port, io));
        }
        output
    }

    /// Gives bytes to a port, and tells how many of them the driver had buffers for.
    pub fn input(&mut self, port: usize, bytes: &[u8], memory: &mut dyn GuestMemory) -> usize {
        let queue = receive_queue(port);
        let mut done = 0;
        self.drive(memory, |_, io| {
            while done < bytes.len() {
                let Some(chain) = io.pop(queue)? else { break };
                let length = chain.writable.write(io.memory, 0, &bytes[done..])?;
                done += length;
                io.push(queue, chain.head, length)?;
            }
            Ok(())
        });
        done
    }

    /// Whether the guest has a port open.
    pub fn is_open(&self, port: usize) -> bool {
        self.device.open[port]
    }
}

impl State for Console {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"VCON", 1, |out| {
            self.output.iter().for_each(|output| output.save(out));
            self.offset.save(out);
            self.open.save(out);
            self.control.iter().cloned().collect::<Vec<_>>().save(out);
        });
    }

    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"VCON", 1)?;
        for output in &mut self.output {
            *output = Field::load(&mut section)?;
            if output.len() > OUTPUT_LIMIT {
                return Err(StateError::Value("the length of a console's output"));
            }
        }
        self.offset = Field::load(&mut section)?;
        self.open = Field::load(&mut section)?;
        self.control = Vec::load(&mut section)?.into();
        section.finish()
    }
}
