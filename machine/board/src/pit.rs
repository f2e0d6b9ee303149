//! An interval timer 8254: counter 0 interrupts, counter 2 can be watched through port 0x61.

use virtio::saved_fields;

/// Ticks in a second.
const HZ: u128 = 1_193_182;
const NANOSECONDS: u128 = 1_000_000_000;

#[derive(Clone, Copy, Default)]
struct Counter {
    mode: u8,
    /// Which bytes are read and written: 1 low, 2 high, 3 both, one after the other.
    access: u8,
    /// What it counts from: 1 to 65,536; 0 while none was written.
    reload: u32,
    /// The low byte of one that is being written, and whether the high one is next.
    low: u8,
    writes_high: bool,
    reads_high: bool,
    latch: Option<u16>,
    status: Option<u8>,
    /// The time when it began to count.
    start: u64,
}

fn ticks(time: u64) -> u64 {
    (u128::from(time) * HZ / NANOSECONDS) as u64
}

/// The first nanosecond at which so many ticks are over.
fn nanoseconds(ticks: u64) -> u64 {
    (u128::from(ticks) * NANOSECONDS).div_ceil(HZ) as u64
}

impl Counter {
    fn periodic(&self) -> bool {
        matches!(self.mode, 2 | 3)
    }

    fn elapsed(&self, now: u64) -> u64 {
        ticks(now.saturating_sub(self.start))
    }

    fn value(&self, now: u64) -> u16 {
        if self.reload == 0 {
            return 0;
        }
        let (elapsed, reload) = (self.elapsed(now), u64::from(self.reload));
        let value = match self.mode {
            // It counts by two, twice a period.
            3 => reload - (2 * elapsed) % reload,
            2 => reload - elapsed % reload,
            _ => reload.wrapping_sub(elapsed),
        };
        value as u16
    }

    fn output(&self, now: u64) -> bool {
        if self.reload == 0 {
            return self.mode != 0;
        }
        let (elapsed, reload) = (self.elapsed(now), u64::from(self.reload));
        match self.mode {
            0 | 1 => elapsed >= reload,
            2 => elapsed % reload != reload - 1,
            3 => elapsed % reload < reload.div_ceil(2),
            _ => elapsed != reload,
        }
    }

    /// How many times it has said so until now.
    fn edges(&self, now: u64) -> u64 {
        let (elapsed, reload) = (self.elapsed(now), u64::from(self.reload));
        match (self.reload, self.periodic()) {
            (0, _) => 0,
            (_, true) => elapsed / reload,
            _ => u64::from(elapsed >= reload),
        }
    }

    fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let value = self.latch.unwrap_or_else(|| self.value(now));
        let high = self.access == 2 || self.access == 3 && self.reads_high;
        if self.access == 3 {
            self.reads_high = !self.reads_high;
        }
        if self.access != 3 || high {
            self.latch = None;
        }
        (if high { value >> 8 } else { value & 0xff }) as u8
    }

    /// True when it begins to count.
    fn write(&mut self, value: u8, now: u64) -> bool {
        let reload = match self.access {
            1 => u32::from(value),
            2 => u32::from(value) << 8,
            _ if self.writes_high => u32::from(value) << 8 | u32::from(self.low),
            _ => {
                self.low = value;
                self.writes_high = true;
                return false;
            }
        };
        self.writes_high = false;
        self.reload = if reload == 0 { 0x1_0000 } else { reload };
        self.start = now;
        true
    }
}

#[derive(Default)]
pub struct Pit {
    counters: [Counter; 3],
    /// How many interrupts of counter 0 are over.
    fired: u64,
    /// Bits 0 and 1 of port 0x61.
    gate: u8,
}

impl Pit {
    pub fn new() -> Pit {
        Pit::default()
    }

    /// When counter 0 interrupts next.
    pub fn due(&self) -> Option<u64> {
        let counter = &self.counters[0];
        if counter.reload == 0 || (self.fired > 0 && !counter.periodic()) {
            return None;
        }
        Some(counter.start.saturating_add(nanoseconds((self.fired + 1).saturating_mul(u64::from(counter.reload)))))
    }

    /// Whether counter 0 interrupts now. What was missed is not made up for.
    pub fn fires(&mut self, now: u64) -> bool {
        let edges = self.counters[0].edges(now);
        let fires = edges > self.fired;
        self.fired = edges.max(self.fired);
        fires
    }

    pub fn read(&mut self, port: u16, now: u64) -> Option<u8> {
        Some(match port {
            0x40..=0x42 => self.counters[usize::from(port & 3)].read(now),
            // Bit 4 is toggled by the refreshing of memory.
            0x61 => {
                let refresh = (now / 15_000 & 1) as u8;
                self.gate | refresh << 4 | u8::from(self.counters[2].output(now)) << 5
            }
            _ => return None,
        })
    }

    pub fn write(&mut self, port: u16, value: u8, now: u64) -> bool {
        match port {
            0x40..=0x42 => {
                let number = usize::from(port & 3);
                if self.counters[number].write(value, now) && number == 0 {
                    self.fired = 0;
                }
            }
            0x43 if value >> 6 == 3 => {
                for (number, counter) in self.counters.iter_mut().enumerate() {
                    if value >> (number + 1) & 1 == 0 {
                        continue;
                    }
                    if value & 0x20 == 0 && counter.latch.is_none() {
                        counter.latch = Some(counter.value(now));
                    }
                    if value & 0x10 == 0 {
                        let output = u8::from(counter.output(now)) << 7;
                        counter.status = Some(output | counter.access << 4 | counter.mode << 1);
                    }
                }
            }
            0x43 => {
                let number = usize::from(value >> 6);
                let counter = &mut self.counters[number];
                let access = value >> 4 & 3;
                if access == 0 {
                    counter.latch = counter.latch.or(Some(counter.value(now)));
                    return true;
                }
                let mode = value >> 1 & 7;
                // Modes 6 and 7 are 2 and 3.
                *counter = Counter { mode: if mode > 5 { mode & 3 } else { mode }, access, ..Counter::default() };
                if number == 0 {
                    self.fired = 0;
                }
            }
            0x61 => {
                if value & !self.gate & 1 != 0 {
                    self.counters[2].start = now;
                }
                self.gate = value & 3;
            }
            _ => return false,
        }
        true
    }
}

saved_fields!(Pit, b"8254", 1, [counters, fired, gate]);

impl virtio::state::Field for Counter {
    fn save(&self, out: &mut alloc::vec::Vec<u8>) {
        [self.mode, self.access, self.low].save(out);
        self.reload.save(out);
        self.writes_high.save(out);
        self.reads_high.save(out);
        self.latch.save(out);
        self.status.save(out);
        self.start.save(out);
    }

    fn load(reader: &mut virtio::state::Reader) -> Result<Counter, virtio::state::StateError> {
        let [mode, access, low] = <[u8; 3]>::load(reader)?;
        Ok(Counter {
            mode,
            access,
            low,
            reload: u32::load(reader)?.min(0x1_0000),
            writes_high: bool::load(reader)?,
            reads_high: bool::load(reader)?,
            latch: Option::load(reader)?,
            status: Option::load(reader)?,
            start: u64::load(reader)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_periodic_counter_interrupts_again_and_again() {
        let mut pit = Pit::new();
        pit.write(0x43, 0x34, 0);
        pit.write(0x40, (11932 & 0xff) as u8, 0);
        pit.write(0x40, (11932 >> 8) as u8, 0);
        // 11,932 ticks are a hundredth of a second.
        let due = pit.due().unwrap();
        assert!((9_999_000..10_001_000).contains(&due));
        assert!(!pit.fires(due - 1000));
        assert!(pit.fires(due));
        assert!(!pit.fires(due));
        assert!(pit.due().unwrap() > due);
        // Those that were missed count once.
        assert!(pit.fires(due * 10));
        assert!(!pit.fires(due * 10));
    }

    #[test]
    fn one_shot() {
        let mut pit = Pit::new();
        pit.write(0x43, 0x30, 5);
        pit.write(0x40, 100, 5);
        assert!(pit.due().is_none());
        pit.write(0x40, 0, 5);
        let due = pit.due().unwrap();
        assert!(pit.fires(due));
        assert!(pit.due().is_none());
        assert!(!pit.fires(u64::MAX / 2));
    }

    #[test]
    fn the_speakers_counter_is_seen_through_the_gate() {
        let mut pit = Pit::new();
        pit.write(0x43, 0xb0, 0);
        pit.write(0x42, 0xff, 0);
        pit.write(0x42, 0xff, 0);
        pit.write(0x61, 1, 0);
        assert_eq!(pit.read(0x61, 1_000).unwrap() & 0x20, 0);
        assert_eq!(pit.read(0x61, 60_000_000).unwrap() & 0x20, 0x20);
    }

    #[test]
    fn a_latched_value_stays() {
        let mut pit = Pit::new();
        pit.write(0x43, 0x34, 0);
        pit.write(0x40, 0, 0);
        pit.write(0x40, 0, 0);
        pit.write(0x43, 0x00, 1_000_000);
        let low = u16::from(pit.read(0x40, 2_000_000).unwrap());
        let high = u16::from(pit.read(0x40, 3_000_000).unwrap());
        assert_eq!(0x1_0000 - u32::from(high << 8 | low), 1193);
    }
}
