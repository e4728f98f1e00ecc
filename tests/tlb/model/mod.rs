//! What the TLB is compared with, and by what rules: shared by the property tests and the fuzz target.

pub mod levels;
pub mod naive;
pub mod pair;
pub mod policies;
pub mod remembered;
pub mod walks;

use softmmu::tlb::{Key, Scope, Side, TlbEntry};

/// What is done to a TLB and to its reference.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Lookup(Key, Side),
    Insert(TlbEntry),
    /// Looks the entry's page up and refills it if that misses.
    Access(TlbEntry, Side),
    Invalidate(Scope),
    /// Drops the entry of this tag.
    Remove(TlbEntry),
    /// Puts the entry at an index, as software does that manages the TLB.
    Write(usize, TlbEntry),
}

/// Page sizes: 4 KiB, a 16 KiB run of entries, 2 MiB, and a toy of 1 KiB.
pub const SIZES: [u8; 4] = [12, 14, 21, 10];

/// An address in the page of `entry`, in its space.
pub fn key_in(entry: &TlbEntry) -> Key {
    Key { va: entry.va | 3 & entry.page_mask(), space: entry.space }
}
