//! The 9P device behind its registers, with a driver by hand.

use virtio::{Mmio, Transport, P9};

const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const SIZE: u16 = 16;

struct Driver {
    device: Mmio<P9>,
    memory: Vec<u8>,
    sent: u16,
}

impl Driver {
    fn new() -> Driver {
        let mut driver = Driver { device: Mmio::new(P9::new("tag")), memory: vec![0; 0x2_0000], sent: 0 };
        // Status up to FEATURES_OK with VERSION_1, one queue, DRIVER_OK.
        for (register, value) in [
            (0x70, 3),
            (0x24, 1),
            (0x20, 1),
            (0x70, 11),
            (0x30, 0),
            (0x38, u64::from(SIZE)),
            (0x80, DESCRIPTORS),
            (0x90, AVAILABLE),
            (0xa0, USED),
            (0x44, 1),
            (0x70, 15),
        ] {
            driver.device.write(register, 4, value, &mut driver.memory);
        }
        assert!(driver.device.is_running());
        driver
    }

    fn put(&mut self, address: u64, bytes: &[u8]) {
        self.memory[address as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn get_u32(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.memory[address as usize..][..4].try_into().unwrap())
    }

    /// Sends a request; its descriptors are the two from `head` on.
    fn send(&mut self, head: u16, frame: &[u8]) {
        let (request, reply) = (0x8000 + u64::from(head) * 0x200, 0x8100 + u64::from(head) * 0x200);
        self.put(request, frame);
        for (index, address, length, flags, next) in
            [(head, request, frame.len() as u32, 1u16, head + 1), (head + 1, reply, 0x100, 2, 0)]
        {
            let at = DESCRIPTORS + 16 * u64::from(index);
            self.put(at, &address.to_le_bytes());
            self.put(at + 8, &length.to_le_bytes());
            self.put(at + 12, &flags.to_le_bytes());
            self.put(at + 14, &next.to_le_bytes());
        }
        self.put(AVAILABLE + 4 + 2 * u64::from(self.sent % SIZE), &head.to_le_bytes());
        self.sent += 1;
        self.put(AVAILABLE + 2, &self.sent.to_le_bytes());
        self.device.write(0x50, 4, 0, &mut self.memory);
    }

    /// Heads and written lengths that came back.
    fn used(&self) -> Vec<(u32, u32)> {
        let count = self.get_u32(USED) >> 16;
        (0..u64::from(count)).map(|i| (self.get_u32(USED + 4 + 8 * i), self.get_u32(USED + 8 + 8 * i))).collect()
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.device.take_request(&mut self.memory)
    }
}

fn frame(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = (7 + body.len() as u32).to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend_from_slice(&tag.to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

#[test]
fn replies_come_in_any_order() {
    let mut driver = Driver::new();
    driver.send(0, &frame(116, 1, b"one"));
    driver.send(2, &frame(116, 2, b"two"));
    assert_eq!(driver.take(), Some(frame(116, 1, b"one")));
    assert_eq!(driver.take(), Some(frame(116, 2, b"two")));
    assert_eq!(driver.take(), None);
    driver.device.reply(&frame(117, 2, b""), &mut driver.memory).unwrap();
    driver.device.reply(&frame(117, 1, b"x"), &mut driver.memory).unwrap();
    assert_eq!(driver.used(), [(2, 7), (0, 8)]);
    assert!(driver.device.irq_level());
}

#[test]
fn what_was_flushed_is_given_back_and_its_tag_is_free() {
    let mut driver = Driver::new();
    driver.send(0, &frame(116, 1, b""));
    driver.send(2, &frame(108, 2, &1u16.to_le_bytes()));
    assert!(driver.take().is_some() && driver.take().is_some());
    // The server does not answer the first one any more.
    driver.device.reply(&frame(109, 2, b""), &mut driver.memory).unwrap();
    assert_eq!(driver.used(), [(0, 0), (2, 7)]);
    driver.send(4, &frame(116, 1, b"again"));
    assert_eq!(driver.take(), Some(frame(116, 1, b"again")));
    assert!(driver.device.is_running());
    driver.device.reply(&frame(117, 1, b""), &mut driver.memory).unwrap();
    assert_eq!(driver.used().last(), Some(&(4, 7)));
}

#[test]
fn what_was_flushed_too_late_is_answered() {
    let mut driver = Driver::new();
    driver.send(0, &frame(116, 1, b""));
    driver.send(2, &frame(108, 2, &1u16.to_le_bytes()));
    assert!(driver.take().is_some() && driver.take().is_some());
    driver.device.reply(&frame(117, 1, b""), &mut driver.memory).unwrap();
    driver.device.reply(&frame(109, 2, b""), &mut driver.memory).unwrap();
    assert_eq!(driver.used(), [(0, 7), (2, 7)]);
}

#[test]
fn a_tag_in_use_and_a_frame_that_is_none_need_a_reset() {
    let mut driver = Driver::new();
    driver.send(0, &frame(116, 1, b""));
    driver.send(2, &frame(116, 1, b""));
    assert!(driver.take().is_some());
    assert_eq!(driver.take(), None);
    assert!(driver.device.fault().is_some());
    let mut driver = Driver::new();
    driver.send(0, &[255, 255, 255, 255, 116, 0, 0]);
    assert_eq!(driver.take(), None);
    assert!(driver.device.fault().is_some());
}
