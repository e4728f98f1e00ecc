//! What an access is: its kind, its width and its address.

use crate::addr::VirtAddr;

/// What an instruction does to memory at the address that it presents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AccessKind {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An atomic read-modify-write: checked as the architecture checks one (RISC-V AMO: as a store; x86: as a
    /// write; AArch64: both rights, reported as a write).
    ReadWrite,
    /// An instruction fetch.
    Execute,
}

impl AccessKind {
    /// Whether the access stores, or may store, to memory.
    #[inline]
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// One access to one run of bytes, as it arrives at the MMU.
///
/// `F` is the architecture's [`Flavor`](crate::arch::Arch::Flavor): what distinguishes the instruction beyond its
/// kind (a hypervisor load, an unprivileged load, an access through the stack segment).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access<F> {
    /// The address that the instruction computed, before pointer masking.
    pub va: VirtAddr,
    /// Length in bytes, at least 1.
    pub len: u32,
    /// Load, store, atomic or fetch.
    pub kind: AccessKind,
    /// The instruction's special manner, by default none.
    pub flavor: F,
}

/// The width of a single access, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Width {
    /// One byte.
    W1 = 1,
    /// Two bytes.
    W2 = 2,
    /// Four bytes.
    W4 = 4,
    /// Eight bytes.
    W8 = 8,
}

impl Width {
    /// The width of `bytes` bytes, where that is 1, 2, 4 or 8.
    #[inline]
    #[must_use]
    pub const fn from_bytes(bytes: u32) -> Option<Self> {
        Some(match bytes {
            1 => Self::W1,
            2 => Self::W2,
            4 => Self::W4,
            8 => Self::W8,
            _ => return None,
        })
    }

    /// The width in bytes: 1, 2, 4 or 8.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self as u64
    }

    /// The bits of a value of this width.
    #[inline]
    #[must_use]
    pub const fn mask(self) -> u64 {
        crate::addr::low_mask(self as u32 * 8)
    }
}
