//! Lookup and insertion.

use super::{NONE, SetAssociative};
use crate::tlb::policy::WayPolicy;
use crate::tlb::slot::Slot;
use crate::tlb::{Hit, Inserted, Key, Line, Scope, Side, Tlb, TlbEntry};

/// A hit, small enough for two registers; the index is [`NONE`] for a miss.
struct Found {
    index: u32,
    set: u32,
    repeat: bool,
}

impl<P: WayPolicy> Tlb for SetAssociative<P> {
    #[inline(always)]
    fn lookup(&mut self, key: &Key, side: Side) -> Option<Hit> {
        let set = ((key.va >> self.first_shift) & self.set_mask) as usize;
        let want = self.first_want | key.space.bits();
        let hit = |slot: &Slot, set: usize, repeat: bool| {
            let line = if P::COUNTS_TOUCHES { None } else { Some(Line(set as u32)) };
            Some(Hit { entry: slot.entry(), line, repeat, ripple: false })
        };
        if let Some(last) = self.last.get_mut(set) {
            match self.slots.get(*last as usize) {
                // The last touch was this very one: another changes nothing.
                Some(slot) if slot.answers(key.va, want) && !P::COUNTS_TOUCHES => {
                    self.stats.hits[side as usize] += 1;
                    return hit(slot, set, true);
                }
                _ => {}
            }
            let start = set * self.geometry.ways;
            let ways = self.slots.get(start..start + self.geometry.ways).unwrap_or(&[]);
            for (way, slot) in ways.iter().enumerate() {
                if slot.holds(key.va) && slot.answers(key.va, want) {
                    *last = (start + way) as u32;
                    self.stats.hits[side as usize] += 1;
                    return hit(slot, set, !self.policy.touch(set, way));
                }
            }
            if self.probes & (self.probes.wrapping_sub(1)) == 0 {
                self.stats.misses[side as usize] += 1;
                return None;
            }
        }
        // Several sizes are resident, or the set is not a mask away.
        let found = self.find_again(key);
        match self.slots.get(found.index as usize) {
            Some(slot) => {
                self.stats.hits[side as usize] += 1;
                hit(slot, found.set as usize, found.repeat)
            }
            None => {
                self.stats.misses[side as usize] += 1;
                None
            }
        }
    }

    #[inline]
    fn peek(&self, key: &Key, _side: Side) -> Option<TlbEntry> {
        let (index, _) = self.find(key)?;
        self.slots.get(index).map(Slot::entry)
    }

    #[inline]
    fn insert(&mut self, entry: TlbEntry, _side: Side) -> Inserted {
        let new = Slot::new(&entry, self.generation, self.care());
        let set = self.set_of(entry.va >> self.shift(entry.size_bits));
        let line = Line(set as u32);
        let larger = self.probes & (u64::MAX - 1) << self.shift(entry.size_bits);
        let ripple = larger != 0 && self.is_sized() && self.find_larger(larger, &new);
        let (start, ways) = self.ways(set);
        if let Some(way) = ways.iter().position(|old| old.same_tag(&new)) {
            return self.update(set, start + way, &entry, new, ripple);
        }
        let full = self.live as usize == self.slots.len();
        let free = if full { None } else { ways.iter().position(|old| !old.is_live(self.generation)) };
        let way = match free {
            Some(way) => way,
            None => self.policy.victim(set).min(self.geometry.ways - 1),
        };
        self.policy.fill(set, way);
        let index = start + way;
        if let Some(last) = self.last.get_mut(set) {
            *last = if P::FILL_TOUCHES { index as u32 } else { NONE };
        }
        self.stats.fills += 1;
        let steady = P::FILL_TOUCHES && !P::COUNTS_TOUCHES;
        let mut inserted = Inserted {
            line: if steady { Some(line) } else { None },
            touched: Some(line),
            evicted: None,
            ripple,
        };
        if let Some(slot) = self.slots.get_mut(index) {
            let old = core::mem::replace(slot, new);
            if free.is_none() {
                self.stats.evictions += 1;
                inserted.evicted = Some(old.entry());
            }
            if !old.counts_as(&new) {
                self.recount(set, &old, &entry);
            }
        }
        inserted
    }

    fn invalidate(&mut self, scope: &Scope) -> u64 {
        let dropped = self.drop_scope(scope);
        self.stats.fences.count(scope, dropped);
        dropped
    }

    #[inline]
    fn repeats(&mut self, side: Side, n: u64) {
        self.stats.hits[side as usize] += n;
    }

    #[inline]
    fn lines(&self) -> u32 {
        self.last.len() as u32
    }
}

impl<P: WayPolicy> SetAssociative<P> {
    /// Looks for `key` in every set that may hold it, and lets the policy see a hit.
    #[inline(never)]
    fn find_again(&mut self, key: &Key) -> Found {
        let Some((index, set)) = self.find(key) else { return Found { index: NONE, set: 0, repeat: false } };
        if let Some(last) = self.last.get_mut(set) {
            *last = index as u32;
        }
        let repeat = !self.policy.touch(set, index - set * self.geometry.ways);
        Found { index: index as u32, set: set as u32, repeat }
    }

    /// Puts `new` where an entry of the same tag stands: to the policy nothing happens.
    #[inline(never)]
    fn update(&mut self, set: usize, index: usize, entry: &TlbEntry, new: Slot, ripple: bool) -> Inserted {
        let line = Line(set as u32);
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = new;
        }
        self.stats.updates += 1;
        // The leaf may have grown.
        self.count_in(set, entry);
        self.count_out(entry.size_bits);
        let last = self.last.get(set) == Some(&(index as u32));
        let steady = last && !P::COUNTS_TOUCHES;
        Inserted { line: steady.then_some(line), touched: Some(line), evicted: None, ripple }
    }

    /// Accounts for `entry` in the place of `old`, which may be dead.
    #[inline(never)]
    fn recount(&mut self, set: usize, old: &Slot, entry: &TlbEntry) {
        self.count_in(set, entry);
        if old.is_live(self.generation) {
            self.count_out(old.size_bits());
        }
    }

    /// Whether a larger page, of the sizes `larger`, answered for a part of `new` on another line until now.
    #[cold]
    fn find_larger(&self, mut larger: u64, new: &Slot) -> bool {
        let va = new.entry().va;
        while larger != 0 {
            let shift = larger.trailing_zeros();
            larger &= larger - 1;
            let (_, ways) = self.ways(self.set_of(va >> shift));
            if ways.iter().any(|slot| {
                slot.is_live(self.generation) && u32::from(slot.size_bits()) == shift && slot.encloses(new)
            }) {
                return true;
            }
        }
        false
    }
}
