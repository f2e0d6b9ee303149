//! AES-NI, PCLMULQDQ and the SHA extensions (FIPS 197, FIPS 180-4; Intel SDM volume 2).

use crate::Xmm;
use core::array::from_fn;

const fn times2(x: u8) -> u8 {
    x << 1 ^ if x & 0x80 != 0 { 0x1b } else { 0 }
}

/// A product in GF(2^8).
const fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = times2(a);
        b >>= 1;
    }
    product
}

/// The substitution of SubBytes: the inverse, then an affine map.
const SUBSTITUTION: [u8; 256] = {
    let mut table = [0; 256];
    // 3 generates the field: p runs over its powers, q over their inverses (0xf6 is the inverse of 3).
    let (mut p, mut q) = (1u8, 1u8);
    loop {
        p = times(p, 3);
        q = times(q, 0xf6);
        table[p as usize] = q ^ q.rotate_left(1) ^ q.rotate_left(2) ^ q.rotate_left(3) ^ q.rotate_left(4) ^ 0x63;
        if p == 1 {
            break;
        }
    }
    table[0] = 0x63;
    table
};

const INVERSE: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[SUBSTITUTION[i] as usize] = i as u8;
        i += 1;
    }
    table
};

/// A column of MixColumns for each byte after the substitution, and of its inverse.
const MIXED: [u32; 256] = mixed(&SUBSTITUTION, [2, 1, 1, 3]);
const UNMIXED: [u32; 256] = mixed(&INVERSE, [14, 9, 13, 11]);

const fn mixed(substitution: &[u8; 256], factors: [u8; 4]) -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let s = substitution[i];
        table[i] =
            u32::from_le_bytes([times(s, factors[0]), times(s, factors[1]), times(s, factors[2]), times(s, factors[3])]);
        i += 1;
    }
    table
}

/// The place that ShiftRows takes byte `i` from.
const fn shifted(i: usize) -> usize {
    (i + 4 * (i % 4)) % 16
}
const fn unshifted(i: usize) -> usize {
    (i + 12 * (i % 4)) % 16
}

fn columns(state: Xmm, table: &[u32; 256], place: fn(usize) -> usize) -> Xmm {
    let s = state.u8x16();
    Xmm::from_u32x4(from_fn(|column| {
        (0..4).fold(0, |sum, row| sum ^ table[s[place(4 * column + row)] as usize].rotate_left(8 * row as u32))
    }))
}

fn xor(a: Xmm, b: Xmm) -> Xmm {
    Xmm([a.0[0] ^ b.0[0], a.0[1] ^ b.0[1]])
}

/// `aesenc`: one round of encryption of `a` with the key `b`.
pub fn aesenc(a: Xmm, b: Xmm) -> Xmm {
    xor(columns(a, &MIXED, shifted), b)
}

/// `aesenclast`: the last round.
pub fn aesenclast(a: Xmm, b: Xmm) -> Xmm {
    let s = a.u8x16();
    xor(Xmm::from_u8x16(from_fn(|i| SUBSTITUTION[s[shifted(i)] as usize])), b)
}

/// `aesdec`: one round of the equivalent inverse cipher.
pub fn aesdec(a: Xmm, b: Xmm) -> Xmm {
    xor(columns(a, &UNMIXED, unshifted), b)
}

/// `aesdeclast`: its last round.
pub fn aesdeclast(a: Xmm, b: Xmm) -> Xmm {
    let s = a.u8x16();
    xor(Xmm::from_u8x16(from_fn(|i| INVERSE[s[unshifted(i)] as usize])), b)
}

/// `aesimc`: InvMixColumns of `b`.
pub fn aesimc(_a: Xmm, b: Xmm) -> Xmm {
    let s = b.u8x16().map(|x| SUBSTITUTION[x as usize]);
    columns(Xmm::from_u8x16(s), &UNMIXED, |i| i)
}

/// `aeskeygenassist` of `b` with a round constant.
pub fn aeskeygenassist(_a: Xmm, b: Xmm, constant: u8) -> Xmm {
    let substitute = |x: u32| u32::from_le_bytes(x.to_le_bytes().map(|x| SUBSTITUTION[x as usize]));
    let b = b.u32x4();
    let (low, high) = (substitute(b[1]), substitute(b[3]));
    let constant = constant as u32;
    Xmm::from_u32x4([low, low.rotate_right(8) ^ constant, high, high.rotate_right(8) ^ constant])
}

/// `pclmulqdq`: the product without carries of a half of each, by bits 0 and 4 of the immediate.
pub fn pclmulqdq(a: Xmm, b: Xmm, halves: u8) -> Xmm {
    let (x, y) = (a.0[halves as usize & 1], b.0[halves as usize >> 4 & 1]);
    // Four bits of y at a time.
    let mut multiples = [0u128; 16];
    for (i, multiple) in multiples.iter_mut().enumerate() {
        let x = x as u128;
        for bit in 0..4 {
            if i >> bit & 1 != 0 {
                *multiple ^= x << bit;
            }
        }
    }
    Xmm::from_u128((0..16).rev().fold(0, |sum, i| sum << 4 ^ multiples[(y >> (4 * i) & 15) as usize]))
}

/// `sha1rnds4`: four rounds; the immediate's bits 1-0 say which function and constant.
pub fn sha1rnds4(a: Xmm, b: Xmm, function: u8) -> Xmm {
    let (state, words) = (a.u32x4(), b.u32x4());
    let (mut a, mut b, mut c, mut d) = (state[3], state[2], state[1], state[0]);
    let mut e = 0u32;
    for i in 0..4 {
        let (f, k) = match function & 3 {
            0 => (b & c ^ !b & d, 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => (b & c ^ b & d ^ c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6u32),
        };
        // The first word has E in it already.
        let next = f.wrapping_add(a.rotate_left(5)).wrapping_add(words[3 - i]).wrapping_add(e).wrapping_add(k);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    Xmm::from_u32x4([d, c, b, a])
}

/// `sha1nexte`: the next E added to the top word of `b`.
pub fn sha1nexte(a: Xmm, b: Xmm) -> Xmm {
    let mut words = b.u32x4();
    words[3] = words[3].wrapping_add(a.u32x4()[3].rotate_left(30));
    Xmm::from_u32x4(words)
}

/// `sha1msg1`: an intermediate step of the next four words.
pub fn sha1msg1(a: Xmm, b: Xmm) -> Xmm {
    let (x, y) = (a.u32x4(), b.u32x4());
    Xmm::from_u32x4([x[0] ^ y[2], x[1] ^ y[3], x[2] ^ x[0], x[3] ^ x[1]])
}

/// `sha1msg2`: the last step of the next four words.
pub fn sha1msg2(a: Xmm, b: Xmm) -> Xmm {
    let (x, y) = (a.u32x4(), b.u32x4());
    let w16 = (x[3] ^ y[2]).rotate_left(1);
    let w17 = (x[2] ^ y[1]).rotate_left(1);
    let w18 = (x[1] ^ y[0]).rotate_left(1);
    let w19 = (x[0] ^ w16).rotate_left(1);
    Xmm::from_u32x4([w19, w18, w17, w16])
}

/// `sha256rnds2`: two rounds; `words` is XMM0, whose low two dwords are words plus constants.
pub fn sha256rnds2(a: Xmm, b: Xmm, words: Xmm) -> Xmm {
    let (x, y, words) = (a.u32x4(), b.u32x4(), words.u32x4());
    let (mut a, mut b, mut c, mut d) = (y[3], y[2], x[3], x[2]);
    let (mut e, mut f, mut g, mut h) = (y[1], y[0], x[1], x[0]);
    for word in &words[..2] {
        let choice = e & f ^ !e & g;
        let majority = a & b ^ a & c ^ b & c;
        let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t = choice.wrapping_add(sum1).wrapping_add(*word).wrapping_add(h);
        (h, g, f, e) = (g, f, e, t.wrapping_add(d));
        (d, c, b, a) = (c, b, a, t.wrapping_add(majority).wrapping_add(sum0));
    }
    Xmm::from_u32x4([f, e, b, a])
}

fn sigma0(x: u32) -> u32 {
    x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3
}
fn sigma1(x: u32) -> u32 {
    x.rotate_right(17) ^ x.rotate_right(19) ^ x >> 10
}

/// `sha256msg1`: an intermediate step of the next four words.
pub fn sha256msg1(a: Xmm, b: Xmm) -> Xmm {
    let (x, y) = (a.u32x4(), b.u32x4());
    let next = [x[1], x[2], x[3], y[0]];
    Xmm::from_u32x4(from_fn(|i| x[i].wrapping_add(sigma0(next[i]))))
}

/// `sha256msg2`: the last step of the next four words.
pub fn sha256msg2(a: Xmm, b: Xmm) -> Xmm {
    let (x, y) = (a.u32x4(), b.u32x4());
    let w16 = x[0].wrapping_add(sigma1(y[2]));
    let w17 = x[1].wrapping_add(sigma1(y[3]));
    Xmm::from_u32x4([w16, w17, x[2].wrapping_add(sigma1(w16)), x[3].wrapping_add(sigma1(w17))])
}
