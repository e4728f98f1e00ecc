//! Addresses and the identities that tag them.
//!
//! Everything above this module speaks these words. Addresses are 64 bits wide whatever the guest: a 32-bit guest
//! uses the low half, and whether a virtual address is *canonical* is for the paging format to say, since 48-bit and
//! 57-bit modes of one machine disagree about it.

use core::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `offset` bytes further, or `None` past the top of the 64-bit space.
            #[inline]
            #[must_use]
            pub const fn checked_add(self, offset: u64) -> Option<Self> {
                match self.0.checked_add(offset) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The address rounded down to a multiple of `2^bits` bytes (`bits >= 64` gives zero).
            #[inline]
            #[must_use]
            pub const fn align_down(self, bits: u32) -> Self {
                Self(self.0 & !low_mask(bits))
            }

            /// The distance from the start of the naturally aligned `2^bits`-byte block that holds the address.
            #[inline]
            #[must_use]
            pub const fn offset_in(self, bits: u32) -> u64 {
                self.0 & low_mask(bits)
            }

            /// Whether the address is a multiple of `2^bits`.
            #[inline]
            #[must_use]
            pub const fn is_aligned(self, bits: u32) -> bool {
                self.offset_in(bits) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }

        impl From<u64> for $name {
            #[inline]
            fn from(raw: u64) -> Self {
                Self(raw)
            }
        }

        impl From<$name> for u64 {
            #[inline]
            fn from(address: $name) -> u64 {
                address.0
            }
        }
    };
}

address! {
    /// An address as the guest's instructions compute it, before any translation.
    VirtAddr
}
address! {
    /// A guest-physical address: what a walk yields and [`PhysMemory`](crate::memory::PhysMemory) understands.
    /// With two stages it is the *final* address; the intermediate one is a [`GuestAddr`].
    PhysAddr
}
address! {
    /// An intermediate address of a two-stage translation (RISC-V guest-physical, AArch64 IPA, x86 nested
    /// guest-physical): what the first stage yields and the second translates.
    GuestAddr
}

/// A mask of the low `bits` bits; all ones from 64 up.
#[inline]
#[must_use]
pub const fn low_mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// Address-space identifier (RISC-V ASID, x86 PCID, AArch64 ASID): tags the translations of one first-stage space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Asid(pub u16);

/// Virtual-machine identifier (RISC-V and AArch64 VMID, x86 VPID/ASID): tags the translations of one guest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Vmid(pub u16);

/// The size of a page, always a power of two bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u8);

impl PageSize {
    /// 4 KiB.
    pub const SIZE_4K: Self = Self(12);
    /// 2 MiB.
    pub const SIZE_2M: Self = Self(21);
    /// 1 GiB.
    pub const SIZE_1G: Self = Self(30);

    /// A page of `2^bits` bytes; `None` when `bits` is 64 or more.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits < 64 { Some(Self(bits as u8)) } else { None }
    }

    /// A page of `bytes` bytes; `None` unless that is a power of two.
    #[inline]
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() { Some(Self(bytes.trailing_zeros() as u8)) } else { None }
    }

    /// log2 of the size in bytes, 0 to 63.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// The size in bytes.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.0
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let unit = self.0 / 10;
        write!(f, "{} {}", 1u64 << (self.0 % 10), UNITS[unit as usize])
    }
}
