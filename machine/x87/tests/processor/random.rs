//! Random operands, heavy in special values.

use x87::F80;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((self.next() as u128 * limit as u128) >> 64) as u64
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// From -radius to radius.
    pub fn around(&mut self, radius: i64) -> i64 {
        self.below(2 * radius as u64 + 1) as i64 - radius
    }

    /// 64 bits with long runs of equal bits, or few bits set, or at the edges where 24 and 53 bits end.
    pub fn significand(&mut self) -> u64 {
        let bits = match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => (1 << self.below(64)) | (1 << self.below(64)),
            4 => u64::MAX << self.below(64),
            5 => {
                let low = [40, 39, 11, 10, 0][self.below(5) as usize];
                let base = self.next() & (u64::MAX << low);
                base.wrapping_add([1 << low, (1u64 << low) >> 1, u64::MAX][self.below(3) as usize])
            }
            _ => self.next(),
        };
        match self.below(8) {
            0 => bits.wrapping_add(1),
            1 => bits.wrapping_sub(1),
            2 => bits ^ (1 << self.below(64)),
            _ => bits,
        }
    }

    pub fn f80(&mut self) -> F80 {
        let sign = (self.next() as u16) & 0x8000;
        let significand = self.significand();
        let integer = 1 << 63;
        let (exponent, significand) = match self.below(32) {
            0 => (0, 0),
            1 | 2 => (0, significand & !integer),
            3 => (0, significand | integer),
            4 => (0x7fff, integer),
            5 => (0x7fff, significand | integer | 1 << 62),
            6 => (0x7fff, (significand | integer | 1) & !(1 << 62)),
            7 => (self.next() & 0x7fff, significand & !integer),
            8 | 9 => (self.below(140), significand | integer),
            10 | 11 => (0x7ffe - self.below(140), significand | integer),
            12 => (self.next() & 0x7fff, significand | integer),
            // Where single and double precision end.
            13 => (
                (0x3fff - 127 + self.around(28)) as u64,
                significand | integer,
            ),
            14 => (
                (0x3fff + 127 + self.around(3)) as u64,
                significand | integer,
            ),
            15 => (
                (0x3fff - 1023 + self.around(56)) as u64,
                significand | integer,
            ),
            16 => (
                (0x3fff + 1023 + self.around(3)) as u64,
                significand | integer,
            ),
            // Where a pair of these over- or underflows in a product.
            17 => ((0x1fff + self.around(70)) as u64, significand | integer),
            18 => ((0x5fff + self.around(70)) as u64, significand | integer),
            // Small integers and halves, exact.
            19..=21 => {
                let value = self.below(1 << 12) | 1;
                let shift = value.leading_zeros();
                (
                    (0x3fff + 63 - shift as i64 - self.below(3) as i64) as u64,
                    value << shift,
                )
            }
            22..=26 => ((0x3fff + self.around(3)) as u64, significand | integer),
            _ => ((0x3fff + self.around(70)) as u64, significand | integer),
        };
        F80::new(sign | exponent as u16, significand)
    }

    /// A value that has something to do with the other one.
    pub fn related(&mut self, other: F80) -> F80 {
        let mut value = other;
        match self.below(6) {
            0 => value.significand = value.significand.wrapping_add(self.around(4) as u64),
            1 => value.significand ^= 1 << self.below(64),
            2 => value.sign_exponent = value.sign_exponent.wrapping_add(self.around(70) as u16),
            3 => value.significand = self.significand(),
            4 => value.sign_exponent ^= 0x8000,
            _ => {}
        }
        value
    }

    pub fn f32(&mut self) -> u32 {
        let sign = (self.next() as u32) & 0x8000_0000;
        let fraction = (self.significand() >> self.below(41)) as u32 & 0x7f_ffff;
        let exponent = match self.below(8) {
            0 => 0,
            1 => 255,
            2 => self.below(256) as u32,
            _ => (127 + self.around(40)) as u32,
        };
        sign | exponent << 23 | if self.one_in(8) { 0 } else { fraction }
    }

    pub fn f64(&mut self) -> u64 {
        let sign = self.next() & 1 << 63;
        let fraction = (self.significand() >> self.below(12)) & ((1 << 52) - 1);
        let exponent = match self.below(8) {
            0 => 0,
            1 => 2047,
            2 => self.below(2048),
            _ => (1023 + self.around(70)) as u64,
        };
        sign | exponent << 52 | if self.one_in(8) { 0 } else { fraction }
    }

    pub fn decimal(&mut self) -> [u8; 10] {
        let mut bytes = [0; 10];
        let digits = self.below(19);
        for digit in 0..digits {
            bytes[digit as usize / 2] |= (self.below(10) as u8) << (4 * (digit & 1));
        }
        bytes[9] = self.next() as u8;
        if self.one_in(4) {
            bytes.iter_mut().for_each(|byte| *byte = self.next() as u8);
        }
        bytes
    }
}
