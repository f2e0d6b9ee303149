//! Operands and MXCSR values: random ones, and those where something happens.

use simd::{Mxcsr, Xmm};

/// A generator with a fixed seed (splitmix64).
pub struct Random(pub u64);

const DOUBLES: [u64; 24] = [
    0,
    1,
    2,
    0x000f_ffff_ffff_ffff,
    0x0008_0000_0000_0000,
    0x0010_0000_0000_0000,
    0x0010_0000_0000_0001,
    0x0020_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0x7fe0_0000_0000_0000,
    0x7ff0_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0x7ff8_0000_0000_0000,
    0x7ffc_dead_beef_1234,
    0x3ff0_0000_0000_0000,
    0x3fe0_0000_0000_0000,
    0x3fef_ffff_ffff_ffff,
    0x3ff8_0000_0000_0000,
    0x41df_ffff_ffe0_0000,
    0x41e0_0000_0000_0000,
    0x43df_ffff_ffff_ffff,
    0x43e0_0000_0000_0000,
    0x47ef_ffff_f000_0000,
    0x3810_0000_0000_0000,
];

const SINGLES: [u32; 20] = [
    0,
    1,
    2,
    0x007f_ffff,
    0x0040_0000,
    0x0080_0000,
    0x0080_0001,
    0x0100_0000,
    0x7f7f_ffff,
    0x7f00_0000,
    0x7f80_0000,
    0x7f80_0001,
    0x7fc0_0000,
    0x7fd2_3456,
    0x3f80_0000,
    0x3f00_0000,
    0x3f7f_ffff,
    0x4eff_ffff,
    0x4f00_0000,
    0x5f00_0000,
];

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A double: special, random bits, near the limits of the format, or a small integer or fraction.
    pub fn double(&mut self) -> u64 {
        let sign = self.next() & 1 << 63;
        let fraction = self.next() & ((1 << 52) - 1);
        // Few significant bits make exact results.
        let fraction = if self.below(2) == 0 { fraction } else { fraction & !0 << self.below(52) };
        sign | match self.below(8) {
            0 | 1 => DOUBLES[self.below(DOUBLES.len() as u64) as usize],
            2 => self.next() >> 1,
            3 => self.below(60) << 52 | fraction,
            4 => (2046 - self.below(60)) << 52 | fraction,
            5 => (512 + 1024 * self.below(2) - 30 + self.below(60)) << 52 | fraction,
            // Around the limits of singles.
            6 => (1023 + 128 - 3 + self.below(5) - 254 * self.below(2)) << 52 | fraction,
            _ => (1023 - 5 + self.below(70)) << 52 | fraction,
        }
    }

    pub fn single(&mut self) -> u32 {
        let sign = (self.next() as u32) & 1 << 31;
        let fraction = self.next() as u32 & ((1 << 23) - 1);
        let fraction = if self.below(2) == 0 { fraction } else { fraction & !0 << self.below(23) };
        sign | match self.below(7) {
            0 | 1 => SINGLES[self.below(SINGLES.len() as u64) as usize],
            2 => self.next() as u32 >> 1,
            3 => (self.below(30) as u32) << 23 | fraction,
            4 => (254 - self.below(30) as u32) << 23 | fraction,
            5 => ((64 + 128 * self.below(2) - 16 + self.below(32)) as u32) << 23 | fraction,
            _ => (127 - 5 + self.below(70) as u32) << 23 | fraction,
        }
    }

    /// A register for integers: random lanes, and those at the borders of their type.
    pub fn integers(&mut self) -> Xmm {
        let mut bytes = [0; 16];
        let width = 1 << self.below(4);
        for lane in bytes.chunks_exact_mut(width) {
            let value = match self.below(6) {
                0 => 0,
                1 => u64::MAX,
                2 => 1 << (8 * width - 1),
                3 => (1 << (8 * width - 1)) - 1,
                4 => self.below(40),
                _ => self.next(),
            };
            lane.copy_from_slice(&value.to_le_bytes()[..width]);
        }
        Xmm::from_u8x16(bytes)
    }

    pub fn doubles(&mut self) -> Xmm {
        Xmm([self.double(), self.double()])
    }

    pub fn singles(&mut self) -> Xmm {
        Xmm::from_u32x4(std::array::from_fn(|_| self.single()))
    }

    /// A second operand for a first: sometimes the same, or one that differs in the last place or the sign.
    pub fn related(&mut self, a: Xmm, b: Xmm) -> Xmm {
        match self.below(10) {
            0 => a,
            1 => Xmm([a.0[0] ^ 1 << 63, a.0[1] ^ 1 << 31]),
            2 => Xmm([a.0[0].wrapping_add(1), a.0[1].wrapping_sub(1)]),
            _ => b,
        }
    }

    pub fn mxcsr(&mut self) -> Mxcsr {
        let mut value = 0x1f80;
        if self.below(2) == 0 {
            value |= (self.below(4) as u32) << 13;
        }
        if self.below(4) == 0 {
            value |= 1 << 15;
        }
        if self.below(4) == 0 {
            value |= 1 << 6;
        }
        match self.below(3) {
            0 => value |= 1 << 5,
            1 => value |= self.below(64) as u32,
            _ => {}
        }
        if self.below(4) == 0 {
            value ^= (self.next() as u32 & 0x1f80) & if self.below(2) == 0 { 0x0f80 } else { 0x1f80 };
        }
        Mxcsr(value)
    }
}

/// How many rounds: `SIMD_FUZZ_ROUNDS` times as many as in the ordinary test run; other operands with `SIMD_FUZZ_SEED`.
pub fn rounds(ordinary: u64) -> u64 {
    ordinary * number("SIMD_FUZZ_ROUNDS").unwrap_or(1)
}

/// A generator for a test.
pub fn random(name: &str) -> Random {
    let seed = name.bytes().fold(number("SIMD_FUZZ_SEED").unwrap_or(1), |seed, byte| {
        (seed ^ byte as u64).wrapping_mul(0x0100_0000_01b3)
    });
    Random(seed)
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is {value:?}: give a whole number")))
}
