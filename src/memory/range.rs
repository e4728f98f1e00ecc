//! Runs of physical addresses that can end at the very top of the space.

use crate::addr::PhysAddr;
use core::fmt;

/// The physical bytes `first..=last`, at least one. Both ends are inclusive, so that a range can hold the last byte
/// of the 64-bit space and no arithmetic on it can overflow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PhysRange {
    first: u64,
    last: u64,
}

impl PhysRange {
    /// The `len` bytes from `base`; `None` when there are none, or when they wrap past the top of the space.
    #[inline]
    #[must_use]
    pub const fn new(base: PhysAddr, len: u64) -> Option<Self> {
        if len == 0 {
            return None;
        }
        match base.0.checked_add(len - 1) {
            Some(last) => Some(Self { first: base.0, last }),
            None => None,
        }
    }

    /// The range between two addresses, of which the caller knows the order.
    pub(crate) const fn inclusive(first: u64, last: u64) -> Self {
        debug_assert!(first <= last);
        Self { first, last }
    }

    /// Address of the first byte.
    #[inline]
    #[must_use]
    pub const fn first(&self) -> PhysAddr {
        PhysAddr(self.first)
    }

    /// Address of the last byte.
    #[inline]
    #[must_use]
    pub const fn last(&self) -> PhysAddr {
        PhysAddr(self.last)
    }

    /// How many bytes lie after the first: the length less one, so that the whole space has an answer too.
    #[inline]
    #[must_use]
    pub const fn span(&self) -> u64 {
        self.last - self.first
    }

    /// Whether the byte at `pa` is in the range.
    #[inline]
    #[must_use]
    pub const fn contains(&self, pa: PhysAddr) -> bool {
        pa.0.wrapping_sub(self.first) <= self.span()
    }

    /// Whether every byte of `other` is in the range.
    #[inline]
    #[must_use]
    pub const fn covers(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether the two share a byte.
    #[inline]
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..={:#x}", self.first, self.last)
    }
}
