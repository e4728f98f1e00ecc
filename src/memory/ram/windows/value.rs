//! The integers that one access moves.

use crate::access::Width;

mod sealed {
    pub trait Sealed {}
}

/// An integer that one access moves: `u8`, `u16`, `u32` or `u64`. Sealed.
pub trait Value: Copy + Eq + core::fmt::Debug + sealed::Sealed {
    /// Its width.
    const WIDTH: Width;

    /// Widens to 64 bits with zeros.
    fn to_u64(self) -> u64;

    /// Keeps the low bits.
    fn from_u64(raw: u64) -> Self;
}

macro_rules! value {
    ($int:ty, $width:ident) => {
        impl sealed::Sealed for $int {}
        impl Value for $int {
            const WIDTH: Width = Width::$width;

            #[inline(always)]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }

            #[inline(always)]
            fn from_u64(raw: u64) -> Self {
                raw as $int
            }
        }
    };
}

value!(u8, W1);
value!(u16, W2);
value!(u32, W4);
value!(u64, W8);
