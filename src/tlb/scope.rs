//! What a fence drops: which spaces, which addresses.

use super::{Space, TlbEntry};
use crate::addr::low_mask;

/// The addresses that a fence names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// All of them.
    All,
    /// Effective virtual addresses `first..=last`.
    Virtual {
        /// First address.
        first: u64,
        /// Last address, inclusive.
        last: u64,
    },
    /// Guest-physical (intermediate) addresses `first..=last`.
    Guest {
        /// First address.
        first: u64,
        /// Last address, inclusive.
        last: u64,
    },
}

/// What an invalidation drops. Every fence instruction of every architecture becomes one or more of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    /// The space named.
    pub space: Space,
    /// The bits of `space` that count ([`Space::ASID`], [`Space::VMID`], [`Space::REGIME`] or-ed together).
    pub mask: u64,
    /// Whether global entries go too; if so, they go whatever the ASID.
    pub globals: bool,
    /// The addresses named.
    pub span: Span,
    /// Only leaves: paging-structure caches may keep what they hold.
    pub leaves_only: bool,
}

impl Scope {
    /// Everything, in all spaces.
    pub const ALL: Self =
        Self { space: Space(0), mask: 0, globals: true, span: Span::All, leaves_only: false };

    /// Whether an entry of `space` (and `global` or not) is meant, its addresses aside.
    #[inline]
    #[must_use]
    pub const fn covers_space(&self, space: Space, global: bool) -> bool {
        if global && !self.globals {
            return false;
        }
        let mask = if global { self.mask & !Space::ASID } else { self.mask };
        (space.0 ^ self.space.0) & mask == 0
    }

    /// Whether the scope drops `entry`: its space is meant, and its first-stage (or second-stage) *leaf* holds an
    /// address that the scope names, though the entry itself may be another fragment of that leaf.
    #[inline]
    #[must_use]
    pub const fn drops(&self, entry: &TlbEntry) -> bool {
        if !self.covers_space(entry.space, entry.global) {
            return false;
        }
        let (first, last, base, bits) = match self.span {
            Span::All => return true,
            Span::Virtual { first, last } => (first, last, entry.va, entry.leaf_bits),
            Span::Guest { first, last } => (first, last, entry.gpa, entry.leaf2_bits),
        };
        let mask = low_mask(bits as u32);
        first <= last && first <= base | mask && base & !mask <= last
    }
}
