//! Software-managed use: entries written, read and found by their index, as MIPS's TLBWI, TLBWR, TLBR and TLBP do.
//!
//! ```
//! use softmmu::addr::{Asid, Vmid};
//! use softmmu::tlb::{Geometry, IndexError, Key, SetAssociative, Side, Space, Tlb, TlbEntry};
//!
//! // 48 entries, the first of them wired: the handler of a refill exception writes the others at random.
//! let mut tlb: SetAssociative = SetAssociative::new(Geometry::fully_associative(48))?;
//! let space = Space::new(0, Vmid(0), Asid(7));
//! let entry = TlbEntry {
//!     va: 0x40_0000, pa: 0x8000, gpa: 0x8000, rights: 0b11, space, global: false,
//!     size_bits: 12, leaf_bits: 12, leaf2_bits: 0, level: 0, attr: 0,
//! };
//! tlb.write(0, entry)?; // TLBWI
//!
//! let key = Key { va: 0x40_0123, space };
//! assert_eq!(tlb.index_of(&key), Some(0)); // TLBP
//! assert_eq!(tlb.read(0), Some(entry)); // TLBR
//! assert!(tlb.lookup(&key, Side::Data).is_some());
//! assert!(matches!(tlb.write(48, entry), Err(IndexError::Range { index: 48, entries: 48 })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{NONE, SetAssociative};
use crate::tlb::policy::WayPolicy;
use crate::tlb::slot::{Slot, clamp, want};
use crate::tlb::{Inserted, Key, TlbEntry};

/// Why an entry cannot be written at an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// There is no such index.
    #[error("index {index} is beyond the last of {entries} entries")]
    Range {
        /// The index.
        index: usize,
        /// How many there are.
        entries: usize,
    },
    /// A lookup of the entry would not look there.
    #[error("index {index} is in set {set}, but the page is looked for in set {wanted}")]
    Set {
        /// The index.
        index: usize,
        /// Its set.
        set: usize,
        /// The entry's set.
        wanted: usize,
    },
}

impl<P: WayPolicy> SetAssociative<P> {
    /// The entry at `index` (set times ways plus way), if it is valid.
    #[must_use]
    pub fn read(&self, index: usize) -> Option<TlbEntry> {
        let ways = self.geometry.ways;
        let slot = self.ways(index / ways).get(index % ways);
        slot.filter(|slot| slot.is_live(self.generation)).map(Slot::entry)
    }

    /// Where the entry that answers `key` stands. Nothing is counted and no policy told.
    #[must_use]
    pub fn index_of(&self, key: &Key) -> Option<usize> {
        self.find(key).map(|(set, way)| set * self.geometry.ways + way)
    }

    /// Where the entry with the tag of `entry` stands, whatever else answers for its address.
    pub(in crate::tlb) fn place_of(&self, entry: &TlbEntry) -> Option<usize> {
        let shift = clamp(entry.size_bits);
        let wanted = Slot::new(entry, self.generation_want | want(0, shift));
        let set = self.set_of(entry.va >> shift);
        let way = self.ways(set).iter().position(|slot| slot.same_tag(&wanted))?;
        Some(set * self.geometry.ways + way)
    }

    /// Puts `entry` at `index`, whatever is there; an entry of the same tag elsewhere goes. The policy sees a fill.
    ///
    /// # Errors
    /// [`IndexError`]; then nothing has changed.
    pub fn write(&mut self, index: usize, entry: TlbEntry) -> Result<Inserted, IndexError> {
        let entries = self.geometry.entries();
        if index >= entries {
            return Err(IndexError::Range { index, entries });
        }
        let (set, way) = (index / self.geometry.ways, index % self.geometry.ways);
        let shift = clamp(entry.size_bits);
        let wanted = self.set_of(entry.va >> shift);
        if set != wanted {
            return Err(IndexError::Set { index, set, wanted });
        }
        self.remove(&entry);
        let settled = self.policy.fill(set, way);
        let Some(state) = self.sets.get_mut(set) else { return Err(IndexError::Range { index, entries }) };
        let Some(slot) = state.ways.get_mut(way) else { return Err(IndexError::Range { index, entries }) };
        let old = core::mem::replace(slot, Slot::new(&entry, self.generation_want | want(0, shift)));
        state.last = if settled { way as u32 } else { NONE };
        if state.generation != self.generation {
            (state.generation, state.live) = (self.generation, 0);
        }
        let evicted = old.is_live(self.generation).then(|| old.entry());
        state.live += u32::from(evicted.is_none());
        if evicted.is_some() {
            self.count_out(set, way, old.size_bits());
            self.stats.evictions += 1;
        }
        self.count_in(set, way);
        self.stats.fills += 1;
        let ripple = self.sizes >> 1 >> shift != 0 && self.is_shadowed(set, way);
        let steady = settled && !self.holds_below(shift);
        Ok(Self::inserted(set, steady, evicted, ripple))
    }
}
