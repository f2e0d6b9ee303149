//! The 128-bit register and its views as lanes.

/// One 128-bit register, element 0 the lower half. Lane 0 of every view is the least significant one.
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Xmm(pub [u64; 2]);

/// One 256-bit register, element 0 the lower half.
#[repr(C, align(32))]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ymm(pub [Xmm; 2]);

// The views are transmutations of memory: they are right on little-endian hosts only (x86-64 and WebAssembly are).
const _: () = assert!(cfg!(target_endian = "little"));

macro_rules! views {
    ($($get:ident $from:ident $lane:ty, $count:literal;)*) => {
        impl Xmm {
            $(
                #[doc = concat!("The register as ", stringify!($count), " lanes of `", stringify!($lane), "`.")]
                #[inline(always)]
                #[allow(clippy::useless_transmute)]
                pub const fn $get(self) -> [$lane; $count] {
                    // SAFETY: both types are 16 bytes of plain integers or floats; every bit pattern is valid.
                    unsafe { core::mem::transmute::<[u64; 2], [$lane; $count]>(self.0) }
                }

                #[doc = concat!("A register of ", stringify!($count), " lanes of `", stringify!($lane), "`.")]
                #[inline(always)]
                #[allow(clippy::useless_transmute)]
                pub const fn $from(lanes: [$lane; $count]) -> Self {
                    // SAFETY: as above.
                    Xmm(unsafe { core::mem::transmute::<[$lane; $count], [u64; 2]>(lanes) })
                }
            )*
        }
    };
}

views! {
    u8x16 from_u8x16 u8, 16;
    i8x16 from_i8x16 i8, 16;
    u16x8 from_u16x8 u16, 8;
    i16x8 from_i16x8 i16, 8;
    u32x4 from_u32x4 u32, 4;
    i32x4 from_i32x4 i32, 4;
    f32x4 from_f32x4 f32, 4;
    u64x2 from_u64x2 u64, 2;
    i64x2 from_i64x2 i64, 2;
    f64x2 from_f64x2 f64, 2;
}

impl Xmm {
    /// All bits zero.
    pub const ZERO: Xmm = Xmm([0, 0]);

    /// The register as one integer.
    #[inline(always)]
    pub const fn u128(self) -> u128 {
        self.0[0] as u128 | (self.0[1] as u128) << 64
    }

    /// A register from one integer.
    #[inline(always)]
    pub const fn from_u128(value: u128) -> Self {
        Xmm([value as u64, (value >> 64) as u64])
    }

    /// The low 32 bits, as the scalar single operations use them.
    #[inline(always)]
    pub const fn low32(self) -> u32 {
        self.0[0] as u32
    }

    /// This register with its low 32 bits replaced.
    #[inline(always)]
    pub const fn with_low32(self, value: u32) -> Self {
        Xmm([self.0[0] & !0xffff_ffff | value as u64, self.0[1]])
    }

    /// This register with its low 64 bits replaced.
    #[inline(always)]
    pub const fn with_low64(self, value: u64) -> Self {
        Xmm([value, self.0[1]])
    }
}
