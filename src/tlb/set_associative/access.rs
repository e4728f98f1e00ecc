//! Lookup and insertion.

use super::{NO_KEY, NONE, SetAssociative};
use crate::addr::low_mask;
use crate::tlb::policy::WayPolicy;
use crate::tlb::slot::{Slot, clamp, find_way, want};
use crate::tlb::{BLOCK_BITS, Hit, Inserted, Key, Line, Scope, Side, Tlb, TlbEntry};

/// A hit, small enough for two registers; the index is [`NONE`] for a miss.
struct Found {
    index: u32,
    set: u32,
    repeat: bool,
}

impl<P: WayPolicy> Tlb for SetAssociative<P> {
    #[inline]
    fn follows_walks(&self) -> bool {
        false
    }

    #[inline(always)]
    fn lookup(&mut self, key: &Key, side: Side) -> Option<Hit> {
        let number = key.va >> self.first_shift;
        let (set, va) = ((number & self.set_mask) as usize, number << self.first_shift);
        let want = self.first_want | key.space.bits();
        let hit = |slot: &Slot, set: usize, repeat: bool| {
            let line = if P::COUNTS_TOUCHES { None } else { Some(Line(set as u32)) };
            Some(Hit { entry: slot.entry(), line, repeat, ripple: false })
        };
        if let Some(state) = self.sets.get_mut(set) {
            match self.slots.get(state.last as usize) {
                // The last touch was this very one: another changes nothing.
                Some(slot) if slot.answers(va, want) && !P::COUNTS_TOUCHES => {
                    self.stats.hits[side as usize] += 1;
                    return hit(slot, set, true);
                }
                _ => {}
            }
            let start = set * self.geometry.ways;
            if let Some(ways) = self.slots.get(start..start + self.geometry.ways) {
                if let Some(way) = find_way(ways, va, want) {
                    let index = (start + way) as u32;
                    // Of two entries that answer one key the last touched does, so even where the policy took no
                    // notice, a touch of another way is no repeat.
                    let last = core::mem::replace(&mut state.last, index) == index;
                    self.stats.hits[side as usize] += 1;
                    return hit(&ways[way], set, !self.policy.touch(set, way) && last);
                }
            }
            if self.sizes & (self.sizes.wrapping_sub(1)) == 0 {
                self.stats.misses[side as usize] += 1;
                self.missed = *key;
                return None;
            }
        }
        // Several sizes are resident, or the set is not a mask away.
        let found = self.find_again(key);
        match self.slots.get(found.index as usize) {
            Some(slot) => {
                self.stats.hits[side as usize] += 1;
                let hit = hit(slot, found.set as usize, found.repeat);
                // Beside an entry smaller than a block, nothing can be said of the block.
                let whole = !self.holds_below(clamp(slot.size_bits()).min(BLOCK_BITS));
                hit.map(|hit| if whole { hit } else { hit.unremembered() })
            }
            None => {
                self.stats.misses[side as usize] += 1;
                self.missed = *key;
                None
            }
        }
    }

    #[inline]
    fn peek(&self, key: &Key, _side: Side) -> Option<TlbEntry> {
        let (index, _) = self.find(key)?;
        self.slots.get(index).map(Slot::entry)
    }

    #[inline(always)]
    fn insert(&mut self, entry: TlbEntry, _side: Side) -> Inserted {
        let shift = clamp(entry.size_bits);
        let set = self.set_of(entry.va >> shift);
        let start = set * self.geometry.ways;
        // The common case in line: a full set, and a lookup has just missed the page, so that nothing has its tag.
        if let (Some(ways), Some(state)) =
            (self.slots.get_mut(start..start + self.geometry.ways), self.sets.get_mut(set))
        {
            if self.missed.space == entry.space
                && (self.missed.va ^ entry.va) >> shift == 0
                && state.generation == self.generation
                && state.live as usize == ways.len()
            {
                let way = self.policy.victim(set).min(ways.len() - 1);
                if let Some(slot) = ways.get_mut(way) {
                    let new = Slot::new(&entry, self.generation_want | want(0, shift));
                    let (evicted, counted) = (slot.entry(), slot.counts_as(&new));
                    *slot = new;
                    let settled = self.policy.fill(set, way);
                    let index = (start + way) as u32;
                    state.last = if settled { index } else { NONE };
                    self.missed = NO_KEY;
                    self.stats.fills += 1;
                    self.stats.evictions += 1;
                    if !counted {
                        self.count_in(set, index as usize);
                        self.count_out(evicted.size_bits);
                    }
                    let ripple = self.sizes >> 1 >> shift != 0 && self.is_shadowed(index as usize);
                    let steady = settled && !self.holds_below(shift);
                    return Self::inserted(set, steady, Some(evicted), ripple);
                }
            }
        }
        self.insert_anyhow(&entry)
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
        self.sets.len() as u32
    }
}

impl<P: WayPolicy> SetAssociative<P> {
    /// Looks for `key` in every set that may hold it, and lets the policy see a hit.
    #[inline(never)]
    fn find_again(&mut self, key: &Key) -> Found {
        let Some((index, set)) = self.find(key) else { return Found { index: NONE, set: 0, repeat: false } };
        let last = self.sets.get_mut(set).map(|state| core::mem::replace(&mut state.last, index as u32));
        let touched = self.policy.touch(set, index - set * self.geometry.ways);
        Found { index: index as u32, set: set as u32, repeat: !touched && last == Some(index as u32) }
    }

    /// Insertion in general.
    #[inline(never)]
    fn insert_anyhow(&mut self, entry: &TlbEntry) -> Inserted {
        let shift = clamp(entry.size_bits);
        self.missed = NO_KEY;
        let new = Slot::new(entry, self.generation_want | want(0, shift));
        let set = self.set_of(entry.va >> shift);
        let (start, ways) = self.ways(set);
        let same = ways.iter().position(|old| old.same_tag(&new));
        let free = ways.iter().position(|old| !old.is_live(self.generation));
        let way = match same.or(free) {
            Some(way) => way,
            None => self.policy.victim(set).min(self.geometry.ways - 1),
        };
        let index = start + way;
        let (Some(slot), Some(state)) = (self.slots.get_mut(index), self.sets.get_mut(set)) else {
            return Self::inserted(set, false, None, false);
        };
        let old = core::mem::replace(slot, new);
        // Replaced in place, nothing has happened to the policy.
        let steady = match same {
            Some(_) => state.last == index as u32,
            None => {
                let settled = self.policy.fill(set, way);
                state.last = if settled { index as u32 } else { NONE };
                settled
            }
        };
        if state.generation != self.generation {
            (state.generation, state.live) = (self.generation, 0);
        }
        let was_live = old.is_live(self.generation);
        if !old.counts_as(&new) {
            state.live += u32::from(!was_live);
            self.count_in(set, index);
            if was_live {
                self.count_out(old.size_bits());
            }
        }
        let evicted = (same.is_none() && was_live).then(|| old.entry());
        self.stats.updates += u64::from(same.is_some());
        self.stats.fills += u64::from(same.is_none());
        self.stats.evictions += u64::from(evicted.is_some());
        let ripple = self.sizes >> 1 >> shift != 0 && self.is_shadowed(index);
        let steady = steady && !self.holds_below(shift);
        Self::inserted(set, steady, evicted, ripple)
    }

    /// Whether pages smaller than `2^shift` bytes are resident.
    #[inline(always)]
    pub(in crate::tlb) fn holds_below(&self, shift: u32) -> bool {
        self.sizes & low_mask(shift) != 0
    }

    /// The report of an insertion into `set`; `steady` if looking the entry up at once would change nothing, and no
    /// smaller page can answer before it.
    #[inline(always)]
    pub(super) fn inserted(set: usize, steady: bool, evicted: Option<TlbEntry>, ripple: bool) -> Inserted {
        let line = Line(set as u32);
        let stands = if steady && !P::COUNTS_TOUCHES { Some(line) } else { None };
        Inserted { line: stands, touched: Some(line), evicted, ripple }
    }

    /// Whether a larger page in another set answered until now for a part of the page in the slot `index`.
    #[inline(never)]
    pub(super) fn is_shadowed(&self, index: usize) -> bool {
        self.slots.get(index).is_some_and(|new| self.is_enclosed(new))
    }

    /// Whether a page larger than `entry` holds it and serves one of its spaces.
    pub(in crate::tlb) fn encloses(&self, entry: &TlbEntry) -> bool {
        self.is_enclosed(&Slot::new(entry, self.generation_want | want(0, clamp(entry.size_bits))))
    }

    fn is_enclosed(&self, new: &Slot) -> bool {
        let mut larger = self.sizes & (u64::MAX - 1) << clamp(new.size_bits());
        while larger != 0 {
            let shift = larger.trailing_zeros();
            larger &= larger - 1;
            let (_, ways) = self.ways(self.set_of(new.entry().va >> shift));
            if ways.iter().any(|slot| slot.encloses(shift, new)) {
                return true;
            }
        }
        false
    }
}
