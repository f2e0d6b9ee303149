//! The 80-bit extended format and its encodings (Intel SDM vol. 1, 4.2.2 and 8.2.2).

/// A value of the double extended-precision format, in any of its encodings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct F80 {
    /// The 64-bit significand; bit 63 is the explicit integer bit.
    pub significand: u64,
    /// Bit 15 is the sign, bits 14 to 0 the biased exponent.
    pub sign_exponent: u16,
}

/// What an encoding stands for. Encodings that processors since the 387 refuse are `Unsupported`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Unnormals, pseudo-infinities and pseudo-NaNs: the exponent is not 0, the integer bit is 0.
    Unsupported,
    /// A NaN whose top fraction bit is 0.
    SignalingNan,
    /// A NaN whose top fraction bit is 1.
    QuietNan,
    /// A normal finite number.
    Normal,
    /// An infinity.
    Infinity,
    /// A zero.
    Zero,
    /// A denormal or pseudo-denormal: the exponent is 0, the significand is not.
    Denormal,
}

/// The integer bit of the significand.
pub(crate) const INTEGER_BIT: u64 = 1 << 63;
/// The bit that tells quiet NaNs from signalling ones.
pub(crate) const QUIET_BIT: u64 = 1 << 62;
/// The sign bit in `F80::sign_exponent`.
pub(crate) const SIGN: u16 = 0x8000;
/// The exponent of infinities and NaNs.
pub(crate) const EXPONENT_MAX: u16 = 0x7fff;
/// The exponent of 1.0.
pub(crate) const BIAS: i32 = 0x3fff;

impl F80 {
    /// +0.
    pub const ZERO: F80 = F80::new(0, 0);
    /// 1.
    pub const ONE: F80 = F80::new(0x3fff, INTEGER_BIT);
    /// The answer to invalid operations: "QNaN floating-point indefinite".
    pub const INDEFINITE: F80 = F80::new(0xffff, INTEGER_BIT | QUIET_BIT);

    /// A value from its two parts.
    #[inline]
    pub const fn new(sign_exponent: u16, significand: u64) -> F80 {
        F80 {
            significand,
            sign_exponent,
        }
    }

    /// The infinity of this sign.
    #[inline]
    pub const fn infinity(negative: bool) -> F80 {
        F80::with_sign(negative, EXPONENT_MAX, INTEGER_BIT)
    }

    /// The zero of this sign.
    #[inline]
    pub const fn zero(negative: bool) -> F80 {
        F80::with_sign(negative, 0, 0)
    }

    /// A value from sign, biased exponent (15 bits) and significand.
    #[inline]
    pub(crate) const fn with_sign(negative: bool, exponent: u16, significand: u64) -> F80 {
        F80::new(((negative as u16) << 15) | exponent, significand)
    }

    /// A value from its ten bytes in memory, little endian.
    #[inline]
    pub fn from_bytes(bytes: [u8; 10]) -> F80 {
        let [a, b, c, d, e, f, g, h, i, j] = bytes;
        F80::new(
            u16::from_le_bytes([i, j]),
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        )
    }

    /// The ten bytes in memory, little endian.
    #[inline]
    pub fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.significand.to_le_bytes());
        bytes[8..].copy_from_slice(&self.sign_exponent.to_le_bytes());
        bytes
    }

    /// Whether the sign bit is set.
    #[inline]
    pub const fn is_negative(self) -> bool {
        self.sign_exponent & SIGN != 0
    }

    /// The biased exponent field.
    #[inline]
    pub const fn exponent(self) -> u16 {
        self.sign_exponent & EXPONENT_MAX
    }

    /// The same encoding with the other sign.
    #[inline]
    pub const fn negated(self) -> F80 {
        F80::new(self.sign_exponent ^ SIGN, self.significand)
    }

    /// The same encoding without sign.
    #[inline]
    pub const fn absolute(self) -> F80 {
        F80::new(self.sign_exponent & EXPONENT_MAX, self.significand)
    }

    /// What this encoding stands for.
    pub const fn class(self) -> Class {
        match self.exponent() {
            0 if self.significand == 0 => Class::Zero,
            0 => Class::Denormal,
            _ if self.significand & INTEGER_BIT == 0 => Class::Unsupported,
            EXPONENT_MAX => match self.significand {
                INTEGER_BIT => Class::Infinity,
                s if s & QUIET_BIT == 0 => Class::SignalingNan,
                _ => Class::QuietNan,
            },
            _ => Class::Normal,
        }
    }

    /// Whether this is a normal number, the case that every operation treats first.
    #[inline]
    pub(crate) const fn is_normal(self) -> bool {
        // An exponent of 0 or EXPONENT_MAX falls out of the range after the wrapping decrement.
        self.significand & INTEGER_BIT != 0 && self.exponent().wrapping_sub(1) < EXPONENT_MAX - 1
    }

    /// This NaN, quiet.
    #[inline]
    pub(crate) const fn quieted(self) -> F80 {
        F80::new(self.sign_exponent, self.significand | QUIET_BIT)
    }

    /// Sign, exponent and significand of a normal or denormal number, the significand shifted so
    /// that its integer bit is set (the exponent then is 0 or less for denormals).
    #[inline]
    pub(crate) const fn normalized(self) -> Finite {
        let shift = self.significand.leading_zeros();
        let exponent = if self.exponent() == 0 {
            1
        } else {
            self.exponent() as i32
        };
        Finite {
            negative: self.is_negative(),
            exponent: exponent - shift as i32,
            significand: self.significand << shift,
        }
    }
}

/// A finite number other than 0: (-1)^negative * significand * 2^(exponent - 16383 - 63), with the
/// significand's bit 63 set and an exponent that is not limited to 15 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finite {
    pub negative: bool,
    pub exponent: i32,
    pub significand: u64,
}
