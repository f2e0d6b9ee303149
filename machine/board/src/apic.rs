//! The processor's local interrupt controller. Intel SDM volume 3, chapter 11 ("APIC").

use alloc::vec::Vec;

use virtio::state::{save_section, Field, Reader, State, StateError};

/// Where its registers are.
pub const ADDRESS: u64 = 0xfee0_0000;
pub const SIZE: u64 = 0x1000;

/// Nanoseconds of a tick of its timer, not divided: the crystal that CPUID has.
const TICK: u64 = 40;

mod register {
    pub const ID: u64 = 0x20;
    pub const VERSION: u64 = 0x30;
    pub const TASK_PRIORITY: u64 = 0x80;
    pub const PROCESSOR_PRIORITY: u64 = 0xa0;
    pub const END: u64 = 0xb0;
    pub const LOGICAL_DESTINATION: u64 = 0xd0;
    pub const DESTINATION_FORMAT: u64 = 0xe0;
    pub const SPURIOUS: u64 = 0xf0;
    pub const ERROR: u64 = 0x280;
    pub const COMMAND_LOW: u64 = 0x300;
    pub const COMMAND_HIGH: u64 = 0x310;
    pub const TIMER: u64 = 0x320;
    pub const LAST_LOCAL: u64 = 0x370;
    pub const INITIAL_COUNT: u64 = 0x380;
    pub const CURRENT_COUNT: u64 = 0x390;
    pub const DIVIDE: u64 = 0x3e0;
}

const MASKED: u32 = 1 << 16;
const ENABLED: u32 = 1 << 8;
const EXTERNAL: u32 = 7;

#[derive(Clone, Copy, PartialEq, Eq)]
enum TimerMode {
    OneShot,
    Periodic,
    Deadline,
}

pub struct Apic {
    id: u32,
    task_priority: u32,
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    in_service: [u32; 8],
    requested: [u32; 8],
    error: u32,
    command_high: u32,
    command_low: u32,
    /// Timer, thermal, performance, LINT0, LINT1, error.
    local: [u32; 6],
    initial_count: u32,
    divide: u32,
    /// When the count began.
    start: u64,
    /// How many times the count was over.
    fired: u64,
    /// The time that the deadline stands for; 0 for none.
    deadline: u64,
}

/// The highest one of 256 bits.
fn highest(bits: &[u32; 8]) -> Option<u8> {
    let word = (0..8).rev().find(|&i| bits[i] != 0)?;
    Some((word * 32 + 31 - bits[word].leading_zeros() as usize) as u8)
}

impl Apic {
    pub fn new() -> Apic {
        let mut local = [MASKED; 6];
        // "Virtual wire": the PIC interrupts the processor through here, as firmware leaves it.
        local[3] = EXTERNAL << 8;
        Apic {
            id: 0,
            task_priority: 0,
            logical_destination: 0,
            destination_format: u32::MAX,
            spurious: 0xff | ENABLED,
            in_service: [0; 8],
            requested: [0; 8],
            error: 0,
            command_high: 0,
            command_low: 0,
            local,
            initial_count: 0,
            divide: 0,
            start: 0,
            fired: 0,
            deadline: 0,
        }
    }

    fn enabled(&self) -> bool {
        self.spurious & ENABLED != 0
    }

    fn timer_mode(&self) -> TimerMode {
        match self.local[0] >> 17 & 3 {
            0 => TimerMode::OneShot,
            1 => TimerMode::Periodic,
            _ => TimerMode::Deadline,
        }
    }

    /// Nanoseconds of one count.
    fn count_time(&self) -> u64 {
        let bits = self.divide & 3 | self.divide >> 1 & 4;
        TICK << ((bits + 1) & 7)
    }

    fn period(&self) -> u64 {
        u64::from(self.initial_count) * self.count_time()
    }

    /// When the timer interrupts next.
    pub fn due(&self) -> Option<u64> {
        if !self.enabled() || self.local[0] & MASKED != 0 {
            return None;
        }
        match self.timer_mode() {
            TimerMode::Deadline => (self.deadline != 0).then_some(self.deadline),
            _ if self.initial_count == 0 => None,
            TimerMode::OneShot if self.fired > 0 => None,
            _ => Some(self.start.saturating_add(self.period().saturating_mul(self.fired + 1))),
        }
    }

    /// Interrupts when it is time.
    pub fn poll(&mut self, now: u64) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        match self.timer_mode() {
            TimerMode::Deadline => self.deadline = 0,
            TimerMode::OneShot => self.fired = 1,
            // What was missed is not made up for.
            TimerMode::Periodic => self.fired = (now - self.start) / self.period(),
        }
        self.request(self.local[0] as u8);
    }

    fn request(&mut self, vector: u8) {
        if vector >= 16 {
            self.requested[usize::from(vector / 32)] |= 1 << (vector % 32);
        }
    }

    fn processor_priority(&self) -> u32 {
        let serving = u32::from(highest(&self.in_service).unwrap_or(0)) & 0xf0;
        if self.task_priority & 0xf0 >= serving {
            self.task_priority & 0xff
        } else {
            serving
        }
    }

    /// The vector that interrupts.
    fn pending(&self) -> Option<u8> {
        let vector = highest(&self.requested)?;
        (self.enabled() && u32::from(vector) & 0xf0 > self.processor_priority() & 0xf0).then_some(vector)
    }

    pub fn is_pending(&self) -> bool {
        self.pending().is_some()
    }

    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.pending()?;
        let (word, bit) = (usize::from(vector / 32), 1 << (vector % 32));
        self.requested[word] &= !bit;
        self.in_service[word] |= bit;
        Some(vector)
    }

    /// Whether the PIC's interrupts get to the processor.
    pub fn passes_external(&self) -> bool {
        let lint0 = self.local[3];
        !self.enabled() || lint0 & MASKED == 0 && lint0 >> 8 & 7 == EXTERNAL
    }

    /// As CR8 has it: the upper 4 bits.
    pub fn task_priority(&self) -> u64 {
        u64::from(self.task_priority >> 4 & 15)
    }

    pub fn set_task_priority(&mut self, value: u64) {
        self.task_priority = (value as u32 & 15) << 4;
    }

    pub fn deadline(&self) -> u64 {
        if self.timer_mode() == TimerMode::Deadline {
            self.deadline
        } else {
            0
        }
    }

    pub fn set_deadline(&mut self, time: u64) {
        if self.timer_mode() == TimerMode::Deadline {
            self.deadline = time;
        }
    }

    pub fn read(&self, offset: u64, now: u64) -> u32 {
        let word = |bits: &[u32; 8]| bits[(offset >> 4 & 7) as usize];
        match offset {
            register::ID => self.id,
            // Of an integrated one, with six local entries.
            register::VERSION => 0x0005_0014,
            register::TASK_PRIORITY => self.task_priority,
            register::PROCESSOR_PRIORITY => self.processor_priority(),
            register::LOGICAL_DESTINATION => self.logical_destination,
            register::DESTINATION_FORMAT => self.destination_format,
            register::SPURIOUS => self.spurious,
            0x100..=0x17f if offset % 16 == 0 => word(&self.in_service),
            0x200..=0x27f if offset % 16 == 0 => word(&self.requested),
            register::ERROR => self.error,
            register::COMMAND_LOW => self.command_low,
            register::COMMAND_HIGH => self.command_high,
            register::TIMER..=register::LAST_LOCAL if offset % 16 == 0 => {
                self.local[((offset - register::TIMER) >> 4) as usize]
            }
            register::INITIAL_COUNT => self.initial_count,
            register::CURRENT_COUNT => self.current_count(now),
            register::DIVIDE => self.divide,
            _ => 0,
        }
    }

    fn current_count(&self, now: u64) -> u32 {
        if self.initial_count == 0 || self.timer_mode() == TimerMode::Deadline {
            return 0;
        }
        let elapsed = now.saturating_sub(self.start) / self.count_time();
        let initial = u64::from(self.initial_count);
        if self.timer_mode() == TimerMode::Periodic {
            (initial - elapsed % initial) as u32
        } else {
            initial.saturating_sub(elapsed) as u32
        }
    }

    pub fn write(&mut self, offset: u64, value: u32, now: u64) {
        match offset {
            register::ID => self.id = value & 0xff00_0000,
            register::TASK_PRIORITY => self.task_priority = value & 0xff,
            register::END => {
                if let Some(vector) = highest(&self.in_service) {
                    self.in_service[usize::from(vector / 32)] &= !(1 << (vector % 32));
                }
            }
            register::LOGICAL_DESTINATION => self.logical_destination = value & 0xff00_0000,
            register::DESTINATION_FORMAT => self.destination_format = value | 0x0fff_ffff,
            register::SPURIOUS => self.spurious = value & 0x1ff,
            register::ERROR => self.error = 0,
            register::COMMAND_LOW => self.send(value),
            register::COMMAND_HIGH => self.command_high = value & 0xff00_0000,
            register::TIMER..=register::LAST_LOCAL if offset % 16 == 0 => {
                let index = ((offset - register::TIMER) >> 4) as usize;
                let mode = self.timer_mode();
                self.local[index] = value & !(1 << 12);
                if index == 0 && mode != self.timer_mode() {
                    (self.deadline, self.initial_count, self.fired) = (0, 0, 0);
                }
            }
            register::INITIAL_COUNT => {
                self.initial_count = value;
                self.start = now;
                self.fired = 0;
            }
            register::DIVIDE => {
                self.divide = value & 0b1011;
                self.start = now;
                self.fired = 0;
            }
            _ => {}
        }
    }

    /// An interrupt of this processor's for itself; there is no other one.
    fn send(&mut self, value: u32) {
        self.command_low = value & !(1 << 12);
        let fixed = matches!(value >> 8 & 7, 0 | 1);
        let me = match value >> 18 & 3 {
            0 => self.command_high >> 24 == self.id >> 24 || self.command_high >> 24 == 0xff,
            shorthand => shorthand != 3,
        };
        if fixed && me {
            self.request(value as u8);
        }
    }
}

impl Default for Apic {
    fn default() -> Self {
        Self::new()
    }
}

impl State for Apic {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"APIC", 1, |out| {
            [self.id, self.task_priority, self.logical_destination, self.destination_format].save(out);
            [self.spurious, self.error, self.command_high, self.command_low].save(out);
            self.in_service.save(out);
            self.requested.save(out);
            self.local.save(out);
            [self.initial_count, self.divide].save(out);
            [self.start, self.fired, self.deadline].save(out);
        });
    }

    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"APIC", 1)?;
        [self.id, self.task_priority, self.logical_destination, self.destination_format] =
            Field::load(&mut section)?;
        [self.spurious, self.error, self.command_high, self.command_low] = Field::load(&mut section)?;
        self.in_service = Field::load(&mut section)?;
        self.requested = Field::load(&mut section)?;
        self.local = Field::load(&mut section)?;
        [self.initial_count, self.divide] = Field::load(&mut section)?;
        [self.start, self.fired, self.deadline] = Field::load(&mut section)?;
        // Exceptions' vectors are nobody's to request.
        self.requested[0] &= !0xffff;
        self.fired = self.fired.min(u64::from(u32::MAX) << 16);
        section.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_interrupts_once() {
        let mut apic = Apic::new();
        apic.write(register::TIMER, 2 << 17 | 0xec, 0);
        apic.set_deadline(1_000);
        apic.poll(999);
        assert!(!apic.is_pending());
        apic.poll(1_000);
        assert_eq!(apic.acknowledge(), Some(0xec));
        assert_eq!(apic.deadline(), 0);
        apic.poll(5_000);
        assert!(!apic.is_pending());
    }

    #[test]
    fn a_periodic_timer_goes_on() {
        let mut apic = Apic::new();
        apic.write(register::DIVIDE, 0b1011, 0);
        apic.write(register::TIMER, 1 << 17 | 0x40, 0);
        apic.write(register::INITIAL_COUNT, 100, 0);
        assert_eq!(apic.due(), Some(4_000));
        assert_eq!(apic.read(register::CURRENT_COUNT, 1_000), 75);
        apic.poll(9_000);
        assert_eq!(apic.acknowledge(), Some(0x40));
        assert_eq!(apic.due(), Some(12_000));
    }

    #[test]
    fn priorities_hold_back_what_is_lower() {
        let mut apic = Apic::new();
        apic.request(0x50);
        assert_eq!(apic.acknowledge(), Some(0x50));
        apic.request(0x51);
        assert!(!apic.is_pending());
        apic.request(0x60);
        assert_eq!(apic.acknowledge(), Some(0x60));
        apic.write(register::END, 0, 0);
        apic.write(register::END, 0, 0);
        assert_eq!(apic.acknowledge(), Some(0x51));
        apic.write(register::END, 0, 0);
        apic.request(0x61);
        apic.set_task_priority(6);
        assert!(!apic.is_pending());
    }

    #[test]
    fn it_can_interrupt_itself() {
        let mut apic = Apic::new();
        apic.write(register::COMMAND_LOW, 1 << 18 | 0xf6, 0);
        assert_eq!(apic.acknowledge(), Some(0xf6));
        // All but itself: nobody.
        apic.write(register::COMMAND_LOW, 3 << 18 | 0xf6, 0);
        assert!(!apic.is_pending());
    }
}
