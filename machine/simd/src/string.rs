//! SSE4.2: string comparison and CRC32 (Intel SDM volume 2, 4.1 and "CRC32").

use crate::Xmm;

/// CF in RFLAGS: some bit of the result is set.
pub const CF: u32 = 1 << 0;
/// ZF: the second string ends within the register.
pub const ZF: u32 = 1 << 6;
/// SF: the first string ends within the register.
pub const SF: u32 = 1 << 7;
/// OF: bit 0 of the result is set.
pub const OF: u32 = 1 << 11;

/// What a comparison gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compared {
    /// One bit for each element of the second operand.
    bits: u32,
    control: u8,
    /// CF, ZF, SF and OF at their places in RFLAGS; PF and AF become zero.
    pub flags: u32,
}

impl Compared {
    /// ECX of the forms that give an index.
    pub fn index(self) -> u32 {
        let count = elements(self.control) as u32;
        if self.bits == 0 {
            count
        } else if self.control & 0x40 != 0 {
            31 - self.bits.leading_zeros()
        } else {
            self.bits.trailing_zeros()
        }
    }

    /// XMM0 of the forms that give a mask.
    pub fn mask(self) -> Xmm {
        if self.control & 0x40 == 0 {
            return Xmm([self.bits as u64, 0]);
        }
        if self.control & 1 != 0 {
            Xmm::from_i16x8(core::array::from_fn(|i| -((self.bits >> i & 1) as i16)))
        } else {
            Xmm::from_i8x16(core::array::from_fn(|i| -((self.bits >> i & 1) as i8)))
        }
    }
}

fn elements(control: u8) -> usize {
    if control & 1 != 0 {
        8
    } else {
        16
    }
}

/// The elements as integers that compare as the control says.
fn integers(x: Xmm, control: u8) -> [i32; 16] {
    let mut out = [0; 16];
    for (i, slot) in out.iter_mut().enumerate().take(elements(control)) {
        *slot = match control & 3 {
            0 => x.u8x16()[i] as i32,
            1 => x.u16x8()[i] as i32,
            2 => x.i8x16()[i] as i32,
            _ => x.i16x8()[i] as i32,
        };
    }
    out
}

fn compare(a: Xmm, length_a: usize, b: Xmm, length_b: usize, control: u8) -> Compared {
    let count = elements(control);
    let (x, y) = (integers(a, control), integers(b, control));
    let all = (1u32 << count) - 1;
    let valid = (1u32 << length_b) - 1;
    let bits_of = |holds: &dyn Fn(usize) -> bool| (0..count).fold(0, |bits, j| bits | (holds(j) as u32) << j);
    let bits = match control >> 2 & 3 {
        // Equal any: is the element one of those of the first?
        0 => bits_of(&|j| j < length_b && x[..length_a].contains(&y[j])),
        // Ranges: pairs of limits in the first.
        1 => bits_of(&|j| {
            j < length_b && x[..length_a & !1].chunks_exact(2).any(|limits| limits[0] <= y[j] && y[j] <= limits[1])
        }),
        // Equal each: both ended counts as equal, one ended does not.
        2 => bits_of(&|j| match (j < length_a, j < length_b) {
            (true, true) => x[j] == y[j],
            (one, other) => one == other,
        }),
        // Equal ordered: does the first occur here? What would lie beyond the register counts as equal.
        _ => bits_of(&|j| (0..length_a.min(count - j)).all(|i| j + i < length_b && x[i] == y[j + i])),
    };
    let bits = match control >> 4 & 3 {
        1 => bits ^ all,
        3 => bits ^ valid,
        _ => bits,
    };
    let mut flags = 0;
    if bits != 0 {
        flags |= CF;
    }
    if length_b < count {
        flags |= ZF;
    }
    if length_a < count {
        flags |= SF;
    }
    if bits & 1 != 0 {
        flags |= OF;
    }
    Compared { bits, control, flags }
}

/// The number of elements before the first zero.
fn implicit(x: Xmm, control: u8) -> usize {
    let count = elements(control);
    integers(x, control)[..count].iter().position(|&e| e == 0).unwrap_or(count)
}

fn explicit(length: i64, control: u8) -> usize {
    length.unsigned_abs().min(elements(control) as u64) as usize
}

/// `pcmpistri` and `pcmpistrm`: strings that end at a zero.
pub fn pcmpistr(a: Xmm, b: Xmm, control: u8) -> Compared {
    compare(a, implicit(a, control), b, implicit(b, control), control)
}

/// `pcmpestri` and `pcmpestrm`: strings of given lengths, EAX and EDX sign-extended, or RAX and RDX with REX.W.
pub fn pcmpestr(a: Xmm, length_a: i64, b: Xmm, length_b: i64, control: u8) -> Compared {
    compare(a, explicit(length_a, control), b, explicit(length_b, control), control)
}

/// CRC-32C, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut value = i as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 != 0 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        tables[0][i] = value;
        i += 1;
    }
    let mut t = 1;
    while t < 8 {
        let mut i = 0;
        while i < 256 {
            let before = tables[t - 1][i];
            tables[t][i] = before >> 8 ^ tables[0][(before & 255) as usize];
            i += 1;
        }
        t += 1;
    }
    tables
};

/// `crc32` of a byte.
#[inline]
pub fn crc32_8(crc: u32, value: u8) -> u32 {
    crc >> 8 ^ TABLES[0][((crc ^ value as u32) & 255) as usize]
}

/// `crc32` of a word.
#[inline]
pub fn crc32_16(crc: u32, value: u16) -> u32 {
    crc32_8(crc32_8(crc, value as u8), (value >> 8) as u8)
}

/// `crc32` of a dword.
#[inline]
pub fn crc32_32(crc: u32, value: u32) -> u32 {
    let x = crc ^ value;
    TABLES[3][(x & 255) as usize]
        ^ TABLES[2][(x >> 8 & 255) as usize]
        ^ TABLES[1][(x >> 16 & 255) as usize]
        ^ TABLES[0][(x >> 24) as usize]
}

/// `crc32` of a qword; the upper half of the destination becomes zero.
#[inline]
pub fn crc32_64(crc: u32, value: u64) -> u32 {
    let x = crc as u64 ^ value;
    (0..8).fold(0, |sum, i| sum ^ TABLES[7 - i][(x >> (8 * i) & 255) as usize])
}
