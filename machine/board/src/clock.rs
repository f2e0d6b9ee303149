//! The guest's time: nanoseconds, by the host's clock and by instructions in between.
//!
//! The host's clock is coarse (0.1 ms in a page that is not isolated) and costs a call out of
//! WebAssembly, so it is looked at once a slice; in between, time goes on with the instructions, at the
//! rate of the last slices.

use alloc::vec::Vec;

use virtio::state::{save_section, Field, Reader, State, StateError};

/// Nanoseconds for 1,024 instructions that are thought possible: 1 to 2,000 million a second.
const FASTEST: u64 = 1_024 / 2;
const SLOWEST: u64 = 1_024 * 1_000;
/// How far the guest's time may be ahead of the host's, in nanoseconds.
const MAX_AHEAD: u64 = 10_000_000;

pub struct Clock {
    /// The host's time when the guest's began; none before it was looked at.
    origin: Option<u64>,
    /// The guest's time when the host's was looked at last, and the instructions until then.
    now: u64,
    executed: u64,
    /// Nanoseconds for 1,024 instructions.
    rate: u64,
    /// What was said last: time does not go back.
    last: u64,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { origin: None, now: 0, executed: 0, rate: 16 * 1_024, last: 0 }
    }

    /// The host's clock was looked at: `host` nanoseconds since any moment. `ran`: whether the time since
    /// the last look was that of the instructions since then.
    pub fn look(&mut self, host: u64, executed: u64, ran: bool) {
        let origin = *self.origin.get_or_insert(host.wrapping_sub(self.last));
        let now = host.wrapping_sub(origin);
        // A clock that was set back, or a host that slept, is no reason for anything.
        let now = if now > i64::MAX as u64 { self.now } else { now.max(self.now) };
        let instructions = executed.wrapping_sub(self.executed);
        let time = now - self.now;
        // Too short a time says more about the clock than about us.
        if ran && instructions >= 20_000 && time >= 200_000 {
            let rate = (u128::from(time) * 1_024 / u128::from(instructions)) as u64;
            self.rate = (self.rate * 3 + rate.clamp(FASTEST, SLOWEST)) / 4;
        }
        self.now = now;
        self.executed = executed;
    }

    /// The guest's time after so many instructions.
    pub fn at(&mut self, executed: u64) -> u64 {
        let ahead = u128::from(executed.wrapping_sub(self.executed)) * u128::from(self.rate) / 1_024;
        self.last = self.last.max(self.now + (ahead.min(u128::from(MAX_AHEAD)) as u64));
        self.last
    }

    /// As `at`, but later than all that was said before: the time stamp counter never stands still
    /// between two instructions that read it.
    pub fn tick(&mut self, executed: u64) -> u64 {
        let before = self.last;
        self.last = self.at(executed).max(before + 1);
        self.last
    }

    /// How many instructions are likely to take so many nanoseconds.
    pub fn instructions(&self, time: u64) -> u64 {
        (u128::from(time) * 1_024 / u128::from(self.rate)) as u64
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// The time goes on where it was, whatever the host's clock says when the state is restored.
impl State for Clock {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"CLCK", 1, |out| self.last.save(out));
    }

    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"CLCK", 1)?;
        let last = u64::load(&mut section)?;
        if last > i64::MAX as u64 {
            return Err(StateError::Value("the time"));
        }
        *self = Clock { now: last, last, ..Clock::new() };
        section.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_with_instructions_and_never_back() {
        let mut clock = Clock::new();
        clock.look(5_000_000_000, 0, false);
        assert_eq!(clock.at(0), 0);
        assert_eq!(clock.at(1_000), 16_000);
        // The host says that it was faster.
        clock.look(5_000_001_000, 1_000, true);
        assert_eq!(clock.at(1_000), 16_000);
        assert!(clock.at(3_000) > 16_000);
        // Never far ahead.
        assert_eq!(clock.at(1 << 60), 1_000 + MAX_AHEAD);
        // A host's clock that was set back.
        clock.look(1, 1 << 60, true);
        assert_eq!(clock.at(1 << 60), 1_000 + MAX_AHEAD);
    }

    #[test]
    fn ticks_are_different() {
        let mut clock = Clock::new();
        clock.look(0, 0, false);
        assert_eq!([0, 0, 0].map(|executed| clock.tick(executed)), [1, 2, 3]);
        assert_eq!(clock.at(0), 3);
        assert_eq!([1_000, 1_000].map(|executed| clock.tick(executed)), [16_000, 16_001]);
    }

    #[test]
    fn a_restored_clock_goes_on() {
        let mut clock = Clock::new();
        clock.look(1_000, 0, false);
        clock.look(2_000_000_000, 10, false);
        let time = clock.at(10);
        let mut saved = Vec::new();
        clock.save(&mut saved);
        let mut other = Clock::new();
        other.restore_all(&saved).unwrap();
        other.look(77, 0, false);
        assert_eq!(other.at(0), time);
        other.look(1_077, 0, false);
        assert_eq!(other.at(0), time + 1_000);
    }
}
