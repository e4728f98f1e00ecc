//! Invalidation: how little of the array a scope needs to look at.

use super::SetAssociative;
use crate::addr::low_mask;
use crate::tlb::occupancy::Occupancy;
use crate::tlb::policy::WayPolicy;
use crate::tlb::slot::{LAST_GENERATION, Slot, clamp, want};
use crate::tlb::{Scope, Span, TlbEntry};

impl<P: WayPolicy> SetAssociative<P> {
    /// Drops what `scope` drops; how many entries that were.
    pub(in crate::tlb) fn drop_scope(&mut self, scope: &Scope) -> u64 {
        match scope.span {
            _ if self.live == 0 => 0,
            Span::All if self.is_all(scope) => self.clear(),
            Span::Virtual { first, last } if first <= last => self.drop_pages(scope, first, last),
            Span::Virtual { .. } => 0,
            Span::All | Span::Guest { .. } => self.drop_spaces(scope),
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
            self.occupancy.reset();
            self.generation = 0;
        }
        self.generation += 1;
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

    /// Drops by virtual address: for each resident page size, the sets that pages of leaves in the range stand in.
    fn drop_pages(&mut self, scope: &Scope, first: u64, last: u64) -> u64 {
        let (mut dropped, mut sizes) = (0, self.sizes);
        while sizes != 0 {
            let bits = sizes.trailing_zeros();
            sizes &= sizes - 1;
            let leaf = low_mask(u32::from(self.reach[bits as usize])) | low_mask(bits);
            let (low, high) = ((first & !leaf) >> bits, (last | leaf) >> bits);
            if high - low >= self.geometry.sets as u64 {
                return dropped + self.drop_spaces(scope);
            }
            for page in low..=high {
                let set = self.set_of(page);
                dropped += self.drop_in_set(set, scope);
            }
        }
        dropped
    }

    /// Drops from every set that may hold entries of the spaces that `scope` covers.
    fn drop_spaces(&mut self, scope: &Scope) -> u64 {
        let mut occupancy = core::mem::take(&mut self.occupancy);
        let generation = self.generation;
        let mut dropped = 0;
        occupancy.visit(scope, generation, |set| {
            dropped += self.drop_in_set(set, scope);
            let live = self.ways(set).iter().filter(|slot| slot.is_live(generation)).map(Slot::entry);
            live.fold(0, |rows, entry| rows | Occupancy::row_bit(entry.space, entry.global))
        });
        self.occupancy = occupancy;
        dropped
    }

    /// Drops the entry with the tag of `entry`; whether there was one.
    pub fn remove(&mut self, entry: &TlbEntry) -> bool {
        let wanted = Slot::new(entry, self.generation_want | want(0, clamp(entry.size_bits)));
        let at = self.set_of(entry.va >> clamp(entry.size_bits));
        let Some(set) = self.sets.get_mut(at) else { return false };
        let Some(slot) = set.ways.iter_mut().find(|slot| slot.same_tag(&wanted)) else { return false };
        *slot = Slot::EMPTY;
        set.live -= 1;
        self.count_out(entry.size_bits);
        true
    }

    fn drop_in_set(&mut self, at: usize, scope: &Scope) -> u64 {
        let mut dropped = 0;
        for way in 0..self.geometry.ways {
            let Some(set) = self.sets.get_mut(at) else { break };
            let Some(slot) = set.ways.get_mut(way) else { break };
            if slot.is_live(self.generation) && scope.drops(&slot.entry()) {
                let size_bits = slot.size_bits();
                *slot = Slot::EMPTY;
                // What is dropped was live, and so is counted in this generation.
                set.live -= 1;
                self.count_out(size_bits);
                dropped += 1;
            }
        }
        dropped
    }
}
