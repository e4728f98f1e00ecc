//! Invalidation: how little of the array a scope needs to look at.

use super::SetAssociative;
use crate::addr::low_mask;
use crate::tlb::policy::WayPolicy;
use crate::tlb::residents::bits_of;
use crate::tlb::slot::{LAST_GENERATION, Slot, clamp, want};
use crate::tlb::{Scope, Span, TlbEntry};

/// So many ways are looked at before asking whose entries stand there.
const FEW: u64 = 32;

impl<P: WayPolicy> SetAssociative<P> {
    /// Drops what `scope` drops; how many entries that were.
    pub(in crate::tlb) fn drop_scope(&mut self, scope: &Scope) -> u64 {
        match scope.span {
            _ if self.live == 0 => 0,
            Span::All if self.is_all(scope) => self.clear(),
            Span::Virtual { first, last } if first <= last => self.drop_pages(scope, first, last),
            Span::Virtual { .. } => 0,
            Span::All | Span::Guest { .. } => self.drop_spaces(scope, u64::MAX).0,
        }
    }

    /// Whether every resident entry is of a space that `scope` covers, as far as that is known without looking.
    fn is_all(&self, scope: &Scope) -> bool {
        let varied = self.spaces_or ^ self.spaces_and;
        let named = (self.spaces_and ^ scope.space.bits()) & scope.mask;
        scope.globals && (varied & scope.mask | named) == 0
    }

    /// Drops everything by advancing the generation.
    fn clear(&mut self) -> u64 {
        let dropped = u64::from(self.live);
        if self.generation == LAST_GENERATION {
            // Once in 2^17 times the generations begin again, and what older ones left must be wiped.
            for set in &mut self.sets {
                set.generation = 0;
                set.ways.fill(Slot::EMPTY);
            }
            self.generation = 0;
        }
        self.generation += 1;
        self.residents.clear();
        self.generation_want = want(self.generation, 0);
        self.live = 0;
        while self.sizes != 0 {
            self.resident[self.sizes.trailing_zeros() as usize] = 0;
            self.sizes &= self.sizes - 1;
        }
        (self.spaces_or, self.spaces_and) = (0, u64::MAX);
        self.set_sizes(0);
        dropped
    }

    /// Drops by virtual address: for each resident page size, from the sets that pages of leaves in the range stand in,
    /// unless the spaces meant have fewer entries than those sets have ways.
    fn drop_pages(&mut self, scope: &Scope, first: u64, last: u64) -> u64 {
        let pages = |tlb: &Self, bits: u32| {
            let leaf = low_mask(u32::from(tlb.reach[bits as usize])) | low_mask(bits);
            (first & !leaf) >> bits..=(last | leaf) >> bits
        };
        let sets = |bits| {
            let pages = pages(self, bits);
            (pages.end() - pages.start()).saturating_add(1).min(self.geometry.sets as u64)
        };
        let ways = bits_of(self.sizes).fold(0, |sum, bits| sum + sets(bits)) * self.geometry.ways as u64;
        let (mut dropped, complete) = if ways <= FEW { (0, false) } else { self.drop_spaces(scope, ways) };
        for bits in bits_of(if complete { 0 } else { self.sizes }) {
            // As many pages as there are sets stand in all of them.
            for page in pages(self, bits).take(self.geometry.sets) {
                dropped += self.drop_in_set(self.set_of(page), scope);
            }
        }
        dropped
    }

    /// Drops from what the spaces that `scope` covers have, having looked at `budget` entries at most: how many, and
    /// whether those were all.
    fn drop_spaces(&mut self, scope: &Scope, budget: u64) -> (u64, bool) {
        let mut residents = core::mem::take(&mut self.residents);
        let (mut dropped, ways) = (0, self.geometry.ways);
        let complete = residents.visit(scope, budget, |index| {
            let gone = self.drop_way(index / ways, index % ways, scope);
            dropped += u64::from(gone);
            gone
        });
        self.residents = residents;
        (dropped, complete)
    }

    /// Drops the entry with the tag of `entry`; whether there was one.
    pub fn remove(&mut self, entry: &TlbEntry) -> bool {
        let wanted = Slot::new(entry, self.generation_want | want(0, clamp(entry.size_bits)));
        let at = self.set_of(entry.va >> clamp(entry.size_bits));
        let Some(set) = self.sets.get_mut(at) else { return false };
        let Some(way) = set.ways.iter().position(|slot| slot.same_tag(&wanted)) else { return false };
        set.ways[way] = Slot::EMPTY;
        set.live -= 1;
        self.count_out(at, way, entry.size_bits);
        true
    }

    /// Drops what `scope` drops in one set.
    fn drop_in_set(&mut self, at: usize, scope: &Scope) -> u64 {
        let mut dropped = 0;
        for way in 0..self.geometry.ways {
            if self.drop_way(at, way, scope) {
                self.residents.unlink(at * self.geometry.ways + way);
                dropped += 1;
            }
        }
        dropped
    }

    /// Drops the entry in a way if `scope` drops it; whether it did. It stays in its list of residents.
    #[inline]
    fn drop_way(&mut self, at: usize, way: usize, scope: &Scope) -> bool {
        let Some(set) = self.sets.get_mut(at) else { return false };
        let Some(slot) = set.ways.get_mut(way) else { return false };
        if !slot.is_live(self.generation) || !scope.drops(&slot.entry()) {
            return false;
        }
        let size_bits = slot.size_bits();
        *slot = Slot::EMPTY;
        // What is dropped was live, and so is counted in this generation.
        set.live -= 1;
        self.uncount(size_bits);
        true
    }
}
