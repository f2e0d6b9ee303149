//! Drivers that do what they must not: whatever is in the registers and in memory, a device neither
//! panics (overflows included) nor goes on without end.
//!
//! Each device has some thousand drivers; `BROWSERMOUNT_FUZZ_SECONDS` gives each as long as is wanted,
//! `BROWSERMOUNT_FUZZ_SEED` the seed that a failure has told.

use std::time::{Duration, Instant};

use virtio::mmio::{status, Device};
use virtio::state::State;
use virtio::vsock::Event;
use virtio::{console, net, p9, vsock};
use virtio::{Balloon, Console, Entropy, Fault, Mmio, Net, Transport, Vsock, P9};

const MEMORY: usize = 1 << 16;
const ROUNDS: u32 = 2000;
/// What one step may take, on a machine that has other things to do.
const SLOW: Duration = Duration::from_secs(5);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    fn chance(&mut self, one_of: u64) -> bool {
        self.below(one_of) == 0
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    fn bytes(&mut self, limit: u64) -> Vec<u8> {
        (0..self.below(limit + 1)).map(|_| self.next() as u8).collect()
    }
}

/// Says how a failure can be had again.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to have it again: BROWSERMOUNT_FUZZ_SEED={}", self.0);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn put(memory: &mut [u8], address: u64, bytes: &[u8]) {
    if let Some(place) = memory.get_mut(address as usize..address as usize + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[derive(Clone, Copy, Default)]
struct Rings {
    descriptors: u64,
    available: u64,
    used: u64,
    size: u16,
}

struct Driver<D> {
    device: Mmio<D>,
    memory: Vec<u8>,
    rings: Vec<Rings>,
}

impl<D: Device> Driver<D> {
    fn new(device: Mmio<D>) -> Driver<D> {
        let rings = vec![Rings::default(); D::QUEUES.len()];
        Driver { device, memory: vec![0; MEMORY], rings }
    }

    fn write(&mut self, register: u64, value: u64) {
        self.device.write(register, 4, value, &mut self.memory);
    }

    /// As drivers do it, with queues anywhere in memory: over each other, too.
    fn start(&mut self, random: &mut Random) {
        for (register, value) in [(0x70, 0), (0x70, 3)] {
            self.write(register, value);
        }
        for half in 0..2 {
            self.write(0x14, half);
            let offered = self.device.read(0x10, 4);
            let taken = if random.chance(2) { offered } else { offered & random.next() };
            self.write(0x24, half);
            self.write(0x20, if half == 1 { taken | 1 } else { taken });
        }
        self.write(0x70, 11);
        for (index, &most) in D::QUEUES.iter().enumerate() {
            let mut place = |alignment: u64| match random.below(40) {
                0 => random.next(),
                1 => u64::MAX & !(alignment - 1),
                _ => random.below(MEMORY as u64) & !(alignment - 1),
            };
            let rings = Rings {
                descriptors: place(16),
                available: place(2),
                used: place(4),
                size: if random.chance(40) { random.next() as u16 } else { most >> random.below(3) },
            };
            self.rings[index] = rings;
            self.write(0x30, index as u64);
            self.write(0x38, u64::from(rings.size));
            for (register, value) in [(0x80, rings.descriptors), (0x90, rings.available), (0xa0, rings.used)]
            {
                self.write(register, value & 0xffff_ffff);
                self.write(register + 4, value >> 32);
            }
            self.write(0x44, 1);
        }
        self.write(0x70, 15);
    }

    fn describe(&mut self, random: &mut Random) {
        let rings = random.pick(&self.rings);
        let size = u64::from(rings.size.max(1));
        let index = random.below(size);
        let address = match random.below(12) {
            0 => random.next(),
            1 => u64::MAX - random.below(64),
            2 => rings.descriptors,
            3 => rings.available,
            _ => random.below(MEMORY as u64),
        };
        let length = match random.below(12) {
            0 => random.next() as u32,
            1 => u32::MAX,
            2 => 0,
            3 => 16 * random.below(64) as u32,
            _ => random.below(5000) as u32,
        };
        let flags = if random.chance(3) { random.next() as u16 & 7 } else { random.below(4) as u16 };
        let next = if random.chance(20) { random.next() as u16 } else { random.below(size) as u16 };
        let at = rings.descriptors.wrapping_add(16 * index);
        if at < MEMORY as u64 {
            put(&mut self.memory, at, &address.to_le_bytes());
            put(&mut self.memory, at + 8, &length.to_le_bytes());
            put(&mut self.memory, at + 12, &flags.to_le_bytes());
            put(&mut self.memory, at + 14, &next.to_le_bytes());
        }
    }

    fn offer(&mut self, random: &mut Random) {
        let rings = random.pick(&self.rings);
        if rings.available >= MEMORY as u64 - 4 {
            return;
        }
        let at = rings.available as usize + 2;
        let before = u16::from_le_bytes([self.memory[at], self.memory[at + 1]]);
        let count = if random.chance(20) { random.next() as u16 } else { random.below(4) as u16 };
        for step in 0..count.min(16) {
            let slot = u64::from(before.wrapping_add(step) & rings.size.wrapping_sub(1));
            let head = random.below(u64::from(rings.size.max(1))) as u16;
            put(&mut self.memory, rings.available + 4 + 2 * slot, &head.to_le_bytes());
        }
        put(&mut self.memory, rings.available + 2, &before.wrapping_add(count).to_le_bytes());
    }

    /// What the guest, or somebody who has changed a saved state, can do.
    fn step(&mut self, random: &mut Random, new: fn() -> Mmio<D>) {
        match random.below(40) {
            0..=11 => self.describe(random),
            12..=21 => self.offer(random),
            22..=33 => self.write(0x50, random.below(D::QUEUES.len() as u64 + 1)),
            34 => {
                let at = random.below(MEMORY as u64);
                let bytes = random.bytes(64);
                put(&mut self.memory, at, &bytes);
            }
            35 => {
                let (offset, size) = (random.below(0x140), random.pick(&[1, 2, 4, 8]));
                self.device.write(offset, size, random.next(), &mut self.memory);
            }
            36 => {
                self.device.read(random.below(0x1000), random.pick(&[1, 2, 4, 8]));
            }
            37 => self.device.poll(&mut self.memory),
            38 if random.chance(4) => self.start(random),
            _ if random.chance(8) => {
                let mut state = Vec::new();
                self.device.save(&mut state);
                for _ in 0..random.below(3) {
                    let at = random.below(state.len() as u64) as usize;
                    state[at] = random.next() as u8;
                }
                if self.device.restore_all(&state).is_err() {
                    self.device = new();
                    self.start(random);
                }
            }
            _ => {}
        }
    }
}

fn attack<D: Device>(new: fn() -> Mmio<D>, host: fn(&mut Mmio<D>, &mut Vec<u8>, &mut Random)) {
    let seed = number("BROWSERMOUNT_FUZZ_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_nanos() as u64
    });
    let _seed = Seed(seed);
    let mut random = Random(seed | 1);
    let end =
        number("BROWSERMOUNT_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (mut round, mut ran) = (0, 0);
    while end.map_or(round < ROUNDS, |end| Instant::now() < end) {
        round += 1;
        let mut driver = Driver::new(new());
        driver.start(&mut random);
        for _ in 0..40 {
            let start = Instant::now();
            driver.step(&mut random, new);
            ran += u32::from(driver.device.is_running());
            host(&mut driver.device, &mut driver.memory, &mut random);
            assert!(start.elapsed() < SLOW, "a step took {:?}", start.elapsed());
            let broken = driver.device.status() & status::NEEDS_RESET != 0;
            assert!(!broken || !driver.device.is_running());
            assert!(driver.device.fault().is_none() || broken);
        }
    }
    assert!(ran > round, "hardly a driver has got as far as to run");
}

#[test]
fn of_the_9p_server() {
    attack(
        || Mmio::new(P9::new("tag")),
        |device, memory, random| {
            if let Some(request) = device.take_request(memory) {
                assert!(request.len() <= p9::MAX_FRAME);
                let mut reply = request[..7].to_vec();
                reply[4] = reply[4].wrapping_add(1);
                reply.extend(random.bytes(64));
                let length = reply.len() as u32;
                reply[..4].copy_from_slice(&length.to_le_bytes());
                if random.chance(8) {
                    let at = random.below(reply.len() as u64) as usize;
                    reply[at] = random.next() as u8;
                }
                if !random.chance(4) {
                    let _ = device.reply(&reply, memory);
                }
            }
            assert!(device.outstanding() <= 256);
        },
    );
}

#[test]
fn of_the_console() {
    attack(
        || Mmio::new(Console::new(["a", "b", "c", "d"])),
        |device, memory, random| {
            let port = random.below(console::PORTS as u64) as usize;
            assert!(device.take_output(port, memory).len() <= console::OUTPUT_LIMIT);
            let bytes = random.bytes(300);
            assert!(device.input(port, &bytes, memory) <= bytes.len());
            device.is_open(port);
        },
    );
}

#[test]
fn of_the_network_card() {
    attack(
        || Mmio::new(Net::new([2; 6], 1500)),
        |device, memory, random| {
            if let Some(frame) = device.take_frame(memory) {
                assert!(frame.len() <= net::MAX_FRAME);
            }
            let frame = random.bytes(3000);
            device.deliver(&frame, memory);
        },
    );
}

#[test]
fn of_the_sockets() {
    attack(
        || {
            let mut device = Mmio::new(Vsock::new(3));
            (0..2000).for_each(|port| device.listen(port * 7));
            device
        },
        |device, memory, random| {
            let port = random.below(5) as u32;
            let socket = match device.take_event(memory) {
                Some(
                    Event::Accepted(socket)
                    | Event::Connected(socket)
                    | Event::Finished(socket)
                    | Event::Closed(socket),
                ) => Some(socket),
                None => device.connect(port, memory),
            };
            let Some(socket) = socket else { return };
            if let Ok(bytes) = device.read(socket, 1000, memory) {
                assert!(bytes.len() <= vsock::BUFFER);
            }
            let bytes = random.bytes(300);
            let _ = device.write(socket, &bytes, memory);
            match random.below(4) {
                0 => device.finish(socket, memory),
                1 => device.close(socket, memory),
                2 => device.abort(socket, memory),
                _ => {}
            }
        },
    );
}

#[test]
fn of_the_source_of_random_bytes() {
    attack(
        || Mmio::new(Entropy::default()),
        |device, memory, random| device.provide(&random.bytes(600), memory),
    );
}

#[test]
fn of_the_memory_balloon() {
    attack(
        || Mmio::new(Balloon::new(1000)),
        |device, _, random| {
            device.set_target(random.next() as u32);
            device.holds(random.next());
        },
    );
}

/// What the device writes is how many buffers there are: each time one more.
#[test]
fn a_queue_that_is_its_own_buffer_comes_to_an_end() {
    let mut driver = Driver::new(Mmio::new(Entropy::default()));
    let (descriptors, available, used) = (0x1000, 0x2000, 0x3000);
    for (register, value) in [
        (0x70, 3),
        (0x24, 1),
        (0x20, 1),
        (0x70, 11),
        (0x38, 8),
        (0x80, descriptors),
        (0x90, available),
        (0xa0, used),
        (0x44, 1),
        (0x70, 15),
    ] {
        driver.write(register, value);
    }
    put(&mut driver.memory, descriptors, &(available + 2).to_le_bytes());
    put(&mut driver.memory, descriptors + 8, &[2, 0, 0, 0, 2, 0, 0, 0]);
    put(&mut driver.memory, available + 2, &[1, 0]);
    // They are taken from the end.
    let counts: Vec<u8> = (2..500u16).rev().flat_map(u16::to_le_bytes).collect();
    driver.device.provide(&counts, &mut driver.memory);
    assert_eq!(driver.device.fault(), Some(Fault::Endless));
    assert_eq!(driver.memory[used as usize + 2], 8);
}
