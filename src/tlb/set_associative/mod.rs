//! [`SetAssociative`]: one array of sets and ways for pages of all sizes.
//!
//! A page is kept in the set that its page number at its own size selects, so a lookup probes one set for each page
//! size that is resident, the smallest first. In a set the way touched
//! last is compared first: a hit there changes nothing, whatever the policy, and costs little more than a
//! direct-mapped lookup.
//!
//! "Invalidate everything" advances a generation that is part of every tag. Dropping an address looks only into the
//! sets that can hold it; dropping a space looks only at its entries.

mod access;
mod indexed;
mod invalidate;

pub use indexed::IndexError;

use super::policy::{TrueLru, WayPolicy};
use super::residents::Residents;
use super::slot::{Slot, clamp, find_way, page, want};
use super::{Geometry, GeometryError, Key, LevelStats, Line, TlbEntry};
use crate::addr::PageSize;
use alloc::boxed::Box;
use alloc::{vec, vec::Vec};

/// No way: the number of none.
const NONE: u32 = u32::MAX;

/// One set. That it holds its own ways makes one bounds check of a lookup's three.
#[derive(Clone)]
struct Set {
    /// The way touched last, or [`NONE`].
    last: u32,
    /// How many of its ways were valid in `generation`; in any later one none are.
    live: u32,
    generation: u64,
    ways: Box<[Slot]>,
}

impl Set {
    /// The way that answers, the one touched last before the others.
    #[inline]
    fn find(&self, va: u64, want: u64) -> Option<usize> {
        match self.ways.get(self.last as usize) {
            Some(slot) if slot.answers(va, want) => Some(self.last as usize),
            _ => find_way(&self.ways, va, want),
        }
    }
}

/// A set-associative TLB of mixed page sizes with the replacement policy `P`.
///
/// Where software changed a page without a fence, two entries can answer one address. The smaller page answers then;
/// of a global and an ordinary entry of one size the one touched last on their line, else that in the lower way.
#[derive(Clone)]
pub struct SetAssociative<P: WayPolicy = TrueLru> {
    geometry: Geometry,
    /// Selects a set from a page number where that is a mask, and bounds it where not.
    set_mask: u64,
    /// The smallest size probed, and what a lookup of it wants.
    first_shift: u32,
    first_want: u64,
    /// Bit `n`: pages of `2^n` bytes are resident.
    sizes: u64,
    sets: Vec<Set>,
    policy: P,
    generation: u64,
    generation_want: u64,
    stats: LevelStats,
    /// Resident entries, in all and by size; the largest leaf that entries of a size were part of.
    live: u32,
    resident: [u32; 64],
    reach: [u8; 64],
    /// All space words since the TLB was last empty, or-ed and and-ed.
    spaces_or: u64,
    spaces_and: u64,
    residents: Residents,
}

impl<P: WayPolicy> SetAssociative<P> {
    /// An empty TLB.
    ///
    /// # Errors
    /// [`GeometryError`] for no entries, too many, or more ways than the policy orders.
    pub fn new(geometry: Geometry) -> Result<Self, GeometryError> {
        geometry.check(P::MAX_WAYS)?;
        Self::with_policy(geometry, P::new(geometry))
    }

    /// An empty TLB with a policy made for its geometry.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_policy(geometry: Geometry, policy: P) -> Result<Self, GeometryError> {
        geometry.check(P::MAX_WAYS)?;
        let Geometry { sets, ways, .. } = geometry;
        let set = Set { last: NONE, live: 0, generation: 0, ways: vec![Slot::EMPTY; ways].into() };
        Ok(Self {
            geometry,
            set_mask: if sets.is_power_of_two() { sets as u64 - 1 } else { u64::MAX },
            first_shift: 0,
            first_want: want(1, 0),
            sizes: 0,
            sets: vec![set; sets],
            policy,
            generation: 1,
            generation_want: want(1, 0),
            stats: LevelStats::default(),
            live: 0,
            resident: [0; 64],
            reach: [0; 64],
            spaces_or: 0,
            spaces_and: u64::MAX,
            residents: Residents::new(geometry.entries()),
        })
    }

    /// Its shape.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> &LevelStats {
        &self.stats
    }

    /// Starts counting anew.
    pub fn reset_stats(&mut self) {
        self.stats = LevelStats::default();
    }

    /// How many entries are valid.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether no entry is valid.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The page sizes resident and how many entries of each, smallest first.
    pub fn resident(&self) -> impl Iterator<Item = (PageSize, usize)> + '_ {
        (0..)
            .zip(&self.resident)
            .filter(|&(_, &count)| count != 0)
            .filter_map(|(bits, &count)| PageSize::from_bits(bits).map(|size| (size, count as usize)))
    }

    /// The valid entries with the number of the set that each stands in.
    pub fn entries(&self) -> impl Iterator<Item = (usize, TlbEntry)> + '_ {
        let slots =
            self.sets.iter().enumerate().flat_map(|(at, set)| set.ways.iter().map(move |slot| (at, slot)));
        slots.filter(|(_, slot)| slot.is_live(self.generation)).map(|(at, slot)| (at, slot.entry()))
    }

    /// The set of a page number.
    #[inline]
    fn set_of(&self, page: u64) -> usize {
        let (set, sets) = (page & self.set_mask, self.sets.len() as u64);
        // Where the number of sets is no power of two, nothing is masked and small page numbers are their own sets.
        if set < sets { set as usize } else { (page % sets) as usize }
    }

    /// The slots of a set.
    #[inline]
    fn ways(&self, set: usize) -> &[Slot] {
        self.sets.get(set).map_or(&[], |set| &set.ways)
    }

    /// Looks for `key` in every set that may hold it: the set and the way.
    pub(super) fn find(&self, key: &Key) -> Option<(usize, usize)> {
        let mut sizes = self.sizes;
        while sizes != 0 {
            let shift = sizes.trailing_zeros();
            sizes &= sizes - 1;
            let at = self.set_of(key.va >> shift);
            let want = want(self.generation, shift) | key.space.bits();
            if let Some(way) = self.sets.get(at)?.find(page(key.va, shift), want) {
                return Some((at, way));
            }
        }
        None
    }

    /// Whether, of the entry put in last on `line`, another lookup would change nothing.
    pub(super) fn is_settled(&self, line: Line) -> bool {
        self.sets.get(line.0 as usize).is_some_and(|set| set.last != NONE)
    }

    /// Sets which page sizes are resident, and with them what lookups want first.
    #[inline]
    fn set_sizes(&mut self, sizes: u64) {
        self.sizes = sizes;
        self.first_shift = sizes.trailing_zeros() & 63;
        self.first_want = self.generation_want | want(0, self.first_shift);
    }

    /// Accounts for the entry that has come into a way of a set.
    #[inline(never)]
    fn count_in(&mut self, set: usize, way: usize) {
        let Some(entry) = self.ways(set).get(way).map(Slot::entry) else { return };
        let size = clamp(entry.size_bits);
        let (count, reach) = (&mut self.resident[size as usize], &mut self.reach[size as usize]);
        self.live += 1;
        *count += 1;
        if *count == 1 {
            *reach = entry.leaf_bits;
            self.set_sizes(self.sizes | 1 << size);
        } else if *reach < entry.leaf_bits {
            *reach = entry.leaf_bits;
        }
        self.spaces_or |= entry.space.bits();
        self.spaces_and &= entry.space.bits();
        self.residents.link(set * self.geometry.ways + way, entry.space, entry.global);
    }

    /// Accounts for an entry of `size_bits` that went from a way of a set.
    #[inline(never)]
    fn count_out(&mut self, set: usize, way: usize, size_bits: u8) {
        self.residents.unlink(set * self.geometry.ways + way);
        self.uncount(size_bits);
    }

    /// Accounts for an entry that went, but for where it stood.
    fn uncount(&mut self, size_bits: u8) {
        let size = clamp(size_bits);
        self.live -= 1;
        self.resident[size as usize] -= 1;
        if self.resident[size as usize] == 0 {
            self.set_sizes(self.sizes & !(1 << size));
        }
        if self.live == 0 {
            (self.spaces_or, self.spaces_and) = (0, u64::MAX);
        }
    }
}
