//! Two interrupt controllers 8259A, as in a PC: the second one is behind line 2 of the first.

use alloc::vec::Vec;

use virtio::state::{save_section, Field, Reader, State, StateError};

/// The line of the first one that the second one is at.
const CASCADE: u8 = 2;
/// Lines whose trigger cannot be changed: timer, keyboard and cascade are edges (EISA's ELCR).
const ALWAYS_EDGE: [u8; 2] = [0b0000_0111, 0b0010_0001];

#[derive(Clone, Copy, Default)]
struct Chip {
    /// What the lines say now.
    lines: u8,
    /// Interrupt request, mask and in-service registers.
    requested: u8,
    masked: u8,
    in_service: u8,
    /// Lines that are triggered by level (ELCR).
    level: u8,
    /// Vector of line 0.
    base: u8,
    /// The lowest priority is this line's.
    lowest: u8,
    /// The initialisation command word that is expected next; 0 for none.
    initialising: u8,
    needs_fourth: bool,
    automatic_end: bool,
    rotates: bool,
    special_mask: bool,
    reads_in_service: bool,
    polls: bool,
}

impl Chip {
    fn set_line(&mut self, line: u8, high: bool) {
        let bit = 1 << line;
        if high {
            if self.level & bit != 0 || self.lines & bit == 0 {
                self.requested |= bit;
            }
            self.lines |= bit;
        } else {
            self.lines &= !bit;
            // An edge that was not seen is forgotten, too, as by the chip.
            self.requested &= !bit;
        }
    }

    /// 0 is the highest one; 8 for none.
    fn priority(&self, lines: u8) -> u8 {
        let first = (self.lowest + 1) & 7;
        (0..8).find(|&i| lines >> ((first + i) & 7) & 1 != 0).unwrap_or(8)
    }

    /// The line that interrupts.
    fn pending(&self) -> Option<u8> {
        let priority = self.priority(self.requested & !self.masked);
        let mut serving = self.in_service;
        if self.special_mask {
            serving &= !self.masked;
        }
        (priority < self.priority(serving)).then_some((self.lowest + 1 + priority) & 7)
    }

    fn acknowledge(&mut self, line: u8) {
        let bit = 1 << line;
        if self.automatic_end {
            if self.rotates {
                self.lowest = line;
            }
        } else {
            self.in_service |= bit;
        }
        if self.level & bit == 0 {
            self.requested &= !bit;
        }
    }

    fn end(&mut self, line: u8, rotate: bool) {
        self.in_service &= !(1 << line);
        if rotate {
            self.lowest = line;
        }
    }

    fn write_command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            // ICW1
            *self = Chip {
                lines: self.lines,
                level: self.level,
                requested: self.lines & self.level,
                lowest: 7,
                initialising: 2,
                needs_fourth: value & 1 != 0,
                ..Chip::default()
            };
        } else if value & 8 != 0 {
            // OCW3
            self.polls = value & 4 != 0;
            if value & 2 != 0 {
                self.reads_in_service = value & 1 != 0;
            }
            if value & 0x40 != 0 {
                self.special_mask = value & 0x20 != 0;
            }
        } else {
            // OCW2
            let (line, rotate) = (value & 7, value & 0x80 != 0);
            match value >> 5 & 3 {
                1 => {
                    let priority = self.priority(self.in_service);
                    if priority < 8 {
                        self.end((self.lowest + 1 + priority) & 7, rotate);
                    }
                }
                3 => self.end(line, rotate),
                2 if rotate => self.lowest = line,
                0 => self.rotates = rotate,
                _ => {}
            }
        }
    }

    fn write_data(&mut self, value: u8) {
        match self.initialising {
            2 => {
                self.base = value & 0xf8;
                self.initialising = 3;
            }
            3 => self.initialising = if self.needs_fourth { 4 } else { 0 },
            4 => {
                self.automatic_end = value & 2 != 0;
                self.initialising = 0;
            }
            _ => self.masked = value,
        }
    }

    fn read_command(&mut self) -> u8 {
        if core::mem::take(&mut self.polls) {
            return match self.pending() {
                Some(line) => {
                    self.acknowledge(line);
                    0x80 | line
                }
                None => 0,
            };
        }
        if self.reads_in_service {
            self.in_service
        } else {
            self.requested
        }
    }
}

/// Both of them.
pub struct Pic {
    chips: [Chip; 2],
}

impl Pic {
    /// With these lines (a bit for each of 16) triggered by level, as firmware leaves it.
    pub fn new(level: u16) -> Pic {
        let chip = |level: u8, edge: u8| Chip { level: level & !edge, lowest: 7, masked: 0xff, ..Chip::default() };
        Pic { chips: [chip(level as u8, ALWAYS_EDGE[0]), chip((level >> 8) as u8, ALWAYS_EDGE[1])] }
    }

    pub fn set_line(&mut self, line: u8, high: bool) {
        self.chips[usize::from(line >> 3 & 1)].set_line(line & 7, high);
        self.cascade();
    }

    fn cascade(&mut self) {
        let high = self.chips[1].pending().is_some();
        self.chips[0].set_line(CASCADE, high);
    }

    /// Whether the processor's line INTR is high.
    pub fn pending(&self) -> bool {
        self.chips[0].pending().is_some()
    }

    /// Whether a line is masked, so that nobody waits for it.
    pub fn is_masked(&self, line: u8) -> bool {
        self.chips[usize::from(line >> 3 & 1)].masked >> (line & 7) & 1 != 0
    }

    /// Takes the interrupt, and gives its vector: that of line 7 when it has gone away.
    pub fn acknowledge(&mut self) -> u8 {
        let [first, second] = &mut self.chips;
        let Some(line) = first.pending() else { return first.base + 7 };
        first.acknowledge(line);
        if line != CASCADE {
            return first.base + line;
        }
        let vector = match second.pending() {
            Some(line) => {
                second.acknowledge(line);
                second.base + line
            }
            None => second.base + 7,
        };
        self.cascade();
        vector
    }

    /// Ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0 and 0x4d1.
    pub fn read(&mut self, port: u16) -> Option<u8> {
        let value = match port {
            0x20 | 0xa0 => self.chips[usize::from(port == 0xa0)].read_command(),
            0x21 | 0xa1 => self.chips[usize::from(port == 0xa1)].masked,
            0x4d0 | 0x4d1 => self.chips[usize::from(port & 1)].level,
            _ => return None,
        };
        self.cascade();
        Some(value)
    }

    pub fn write(&mut self, port: u16, value: u8) -> bool {
        match port {
            0x20 | 0xa0 => self.chips[usize::from(port == 0xa0)].write_command(value),
            0x21 | 0xa1 => self.chips[usize::from(port == 0xa1)].write_data(value),
            0x4d0 | 0x4d1 => {
                let chip = usize::from(port & 1);
                self.chips[chip].level = value & !ALWAYS_EDGE[chip];
            }
            _ => return false,
        }
        self.cascade();
        true
    }
}

impl State for Pic {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"8259", 1, |out| {
            for c in &self.chips {
                [c.lines, c.requested, c.masked, c.in_service].save(out);
                [c.level, c.base, c.lowest, c.initialising].save(out);
                for flag in [
                    c.needs_fourth,
                    c.automatic_end,
                    c.rotates,
                    c.special_mask,
                    c.reads_in_service,
                    c.polls,
                ] {
                    flag.save(out);
                }
            }
        });
    }

    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"8259", 1)?;
        for c in &mut self.chips {
            [c.lines, c.requested, c.masked, c.in_service] = Field::load(&mut section)?;
            [c.level, c.base, c.lowest, c.initialising] = Field::load(&mut section)?;
            c.lowest &= 7;
            c.base &= 0xf8;
            for flag in [
                &mut c.needs_fourth,
                &mut c.automatic_end,
                &mut c.rotates,
                &mut c.special_mask,
                &mut c.reads_in_service,
                &mut c.polls,
            ] {
                *flag = Field::load(&mut section)?;
            }
        }
        section.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux does it.
    fn initialised(level: u16) -> Pic {
        let mut pic = Pic::new(level);
        for (port, value) in [
            (0x20, 0x11),
            (0x21, 0x30),
            (0x21, 0x04),
            (0x21, 0x01),
            (0xa0, 0x11),
            (0xa1, 0x38),
            (0xa1, 0x02),
            (0xa1, 0x01),
        ] {
            assert!(pic.write(port, value));
        }
        pic
    }

    #[test]
    fn an_edge_interrupts_once() {
        let mut pic = initialised(0);
        pic.set_line(4, true);
        assert!(pic.pending());
        assert_eq!(pic.acknowledge(), 0x34);
        pic.write(0x20, 0x64);
        assert!(!pic.pending());
        pic.set_line(4, false);
        pic.set_line(4, true);
        assert!(pic.pending());
    }

    #[test]
    fn a_level_interrupts_until_it_falls() {
        let mut pic = initialised(1 << 10);
        pic.set_line(10, true);
        assert_eq!(pic.acknowledge(), 0x3a);
        assert!(!pic.pending());
        pic.write(0xa0, 0x62);
        pic.write(0x20, 0x62);
        assert!(pic.pending());
        assert_eq!(pic.acknowledge(), 0x3a);
        pic.set_line(10, false);
        pic.write(0xa0, 0x62);
        pic.write(0x20, 0x62);
        assert!(!pic.pending());
    }

    #[test]
    fn a_lower_line_has_the_higher_priority() {
        let mut pic = initialised(0);
        pic.set_line(5, true);
        pic.set_line(0, true);
        assert_eq!(pic.acknowledge(), 0x30);
        assert!(!pic.pending());
        pic.write(0x20, 0x20);
        assert_eq!(pic.acknowledge(), 0x35);
    }

    #[test]
    fn a_masked_line_waits() {
        let mut pic = initialised(0);
        pic.write(0x21, 0xff);
        pic.set_line(4, true);
        assert!(!pic.pending() && pic.is_masked(4));
        pic.write(0x21, 0);
        assert_eq!(pic.acknowledge(), 0x34);
    }

    #[test]
    fn an_interrupt_that_has_gone_is_spurious() {
        let mut pic = initialised(1 << 5);
        pic.set_line(5, true);
        pic.set_line(5, false);
        assert_eq!(pic.acknowledge(), 0x37);
    }
}
