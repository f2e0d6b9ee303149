//! A serial port 16550A that nothing comes in from: the kernel's words.

use alloc::vec::Vec;

use virtio::saved_fields;

/// How much of what the guest has sent is kept for the host; the rest is dropped, as by a wire.
const OUTPUT_LIMIT: usize = 64 * 1024;

const ENABLE_TRANSMIT: u8 = 2;
const DIVISOR_LATCH: u8 = 0x80;
const LOOPBACK: u8 = 0x10;
/// OUT2, by which a PC lets the port's interrupts through.
const INTERRUPTS: u8 = 8;

#[derive(Default)]
pub struct Uart {
    enabled: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: [u8; 2],
    fifo: bool,
    /// Whether "can take more" was not yet told.
    empty_pending: bool,
    output: Vec<u8>,
}

impl Uart {
    pub fn new() -> Uart {
        Uart { divisor: [12, 0], ..Uart::default() }
    }

    pub fn interrupts(&self) -> bool {
        self.empty_pending && self.enabled & ENABLE_TRANSMIT != 0 && self.modem_control & INTERRUPTS != 0
    }

    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub fn take_output(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.output)
    }

    fn latched(&self) -> bool {
        self.line_control & DIVISOR_LATCH != 0
    }

    /// A register, 0 to 7.
    pub fn read(&mut self, register: u16) -> u8 {
        match register {
            0 | 1 if self.latched() => self.divisor[usize::from(register)],
            1 => self.enabled,
            2 => {
                let fifo = if self.fifo { 0xc0 } else { 0 };
                if self.empty_pending && self.enabled & ENABLE_TRANSMIT != 0 {
                    self.empty_pending = false;
                    fifo | 2
                } else {
                    fifo | 1
                }
            }
            3 => self.line_control,
            4 => self.modem_control,
            // All that was given is sent.
            5 => 0x60,
            6 if self.modem_control & LOOPBACK != 0 => {
                // DTR, RTS, OUT1 and OUT2 come back as DSR, CTS, RI and DCD.
                let m = self.modem_control;
                (m & 1) << 5 | (m & 2) << 3 | (m & 4) << 4 | (m & 8) << 4
            }
            // Somebody is there.
            6 => 0xb0,
            7 => self.scratch,
            _ => 0,
        }
    }

    pub fn write(&mut self, register: u16, value: u8) {
        match register {
            0 | 1 if self.latched() => self.divisor[usize::from(register)] = value,
            0 => {
                if self.modem_control & LOOPBACK == 0 && self.output.len() < OUTPUT_LIMIT {
                    self.output.push(value);
                }
                self.empty_pending = true;
            }
            1 => {
                if value & !self.enabled & ENABLE_TRANSMIT != 0 {
                    self.empty_pending = true;
                }
                self.enabled = value & 15;
            }
            2 => self.fifo = value & 1 != 0,
            3 => self.line_control = value,
            4 => self.modem_control = value & 0x1f,
            7 => self.scratch = value,
            _ => {}
        }
    }
}

saved_fields!(
    Uart,
    b"UART",
    1,
    [enabled, line_control, modem_control, scratch, divisor, fifo, empty_pending, output]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_comes_out() {
        let mut uart = Uart::new();
        uart.write(3, 0x83);
        uart.write(0, 1);
        uart.write(3, 0x03);
        uart.write(0, b'x');
        assert_eq!(uart.take_output(), b"x");
        assert!(!uart.has_output());
    }

    #[test]
    fn it_interrupts_when_it_can_take_more_until_that_was_read() {
        let mut uart = Uart::new();
        uart.write(4, 8);
        uart.write(1, 2);
        assert!(uart.interrupts());
        assert_eq!(uart.read(2) & 15, 2);
        assert!(!uart.interrupts());
        uart.write(0, b'x');
        assert!(uart.interrupts());
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut uart = Uart::new();
        for _ in 0..2 * OUTPUT_LIMIT {
            uart.write(0, b'x');
        }
        assert_eq!(uart.take_output().len(), OUTPUT_LIMIT);
    }
}
