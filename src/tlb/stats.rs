//! What a TLB counts, in the words that a paper would print.

use super::{Scope, Side, Span};
use core::fmt;

/// Invalidations by the kind of scope that was asked for, and what they cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fences {
    /// Everything, whatever the space.
    pub all: u64,
    /// All addresses of some spaces.
    pub space: u64,
    /// Virtual addresses, in one space or in all.
    pub address: u64,
    /// Guest-physical addresses.
    pub guest: u64,
    /// Entries that went, by all of them together.
    pub dropped: u64,
}

impl Fences {
    /// Counts one invalidation by `scope` that dropped `dropped` entries.
    #[inline]
    pub fn count(&mut self, scope: &Scope, dropped: u64) {
        let kind = match scope.span {
            Span::All if scope.mask == 0 && scope.globals => &mut self.all,
            Span::All => &mut self.space,
            Span::Virtual { .. } => &mut self.address,
            Span::Guest { .. } => &mut self.guest,
        };
        *kind += 1;
        self.dropped += dropped;
    }

    /// How many invalidations there were.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.all + self.space + self.address + self.guest
    }
}

/// The counters of one array of entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LevelStats {
    /// Hits of instruction fetches and of data accesses, in this order (`side as usize`).
    pub hits: [u64; 2],
    /// Misses, likewise.
    pub misses: [u64; 2],
    /// Entries put in, in-place replacements apart.
    pub fills: u64,
    /// Entries replaced by a newer one with the same tag.
    pub updates: u64,
    /// Valid entries that left for another one.
    pub evictions: u64,
    /// Invalidations by scope.
    pub fences: Fences,
}

impl LevelStats {
    /// Lookups of one side.
    #[must_use]
    pub const fn accesses(&self, side: Side) -> u64 {
        self.hits[side as usize] + self.misses[side as usize]
    }

    /// Hits of both sides.
    #[must_use]
    pub const fn all_hits(&self) -> u64 {
        self.hits[0] + self.hits[1]
    }

    /// Misses of both sides.
    #[must_use]
    pub const fn all_misses(&self) -> u64 {
        self.misses[0] + self.misses[1]
    }
}

impl fmt::Display for LevelStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} hits, {} misses, {} fills, {} evictions, {} invalidations dropping {}",
            self.all_hits(),
            self.all_misses(),
            self.fills,
            self.evictions,
            self.fences.total(),
            self.fences.dropped
        )
    }
}
