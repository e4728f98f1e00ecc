//! Lookup and insertion.

use super::{NONE, SetAssociative};
use crate::addr::low_mask;
use crate::tlb::policy::WayPolicy;
use crate::tlb::slot::{Slot, clamp, find_way, page, want};
use crate::tlb::{BLOCK_BITS, Filled, Hit, Inserted, Key, Line, Scope, Side, Space, Tlb, TlbEntry};

/// Where a lookup ended, small enough for two registers; [`NONE`] for a miss.
struct Found {
    set: u32,
    way: u32,
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
        let (at, va) = ((number & self.set_mask) as usize, number << self.first_shift);
        let want = self.first_want | key.space.bits();
        if let Some(set) = self.sets.get_mut(at) {
            match set.ways.get(set.last as usize) {
                // The last touch was this very one: another changes nothing, where touches are not counted.
                Some(slot) if slot.answers(va, want) => {
                    self.stats.hits[side as usize] += 1;
                    let changed = P::COUNTS_TOUCHES && self.policy.touch(at, set.last as usize);
                    return Some(Self::hit(slot, at, !changed));
                }
                _ => {}
            }
            if let Some(way) = find_way(&set.ways, va, want) {
                // Of two entries that answer one key the last touched does, so even where the policy took no notice,
                // a touch of another way is no repeat.
                let last = core::mem::replace(&mut set.last, way as u32) == way as u32;
                self.stats.hits[side as usize] += 1;
                return Some(Self::hit(&set.ways[way], at, !self.policy.touch(at, way) && last));
            }
            if self.sizes & (self.sizes.wrapping_sub(1)) == 0 {
                self.stats.misses[side as usize] += 1;
                return None;
            }
        }
        // Several sizes are resident, or the set is not a mask away.
        let found = self.find_again(key.va, key.space);
        match self.sets.get(found.set as usize).and_then(|set| set.ways.get(found.way as usize)) {
            Some(slot) => {
                self.stats.hits[side as usize] += 1;
                let hit = Self::hit(slot, found.set as usize, found.repeat);
                // Beside an entry smaller than a block, nothing can be said of the block.
                let whole = !self.holds_below(clamp(slot.size_bits()).min(BLOCK_BITS));
                Some(if whole { hit } else { hit.unremembered() })
            }
            None => {
                self.stats.misses[side as usize] += 1;
                None
            }
        }
    }

    #[inline]
    fn peek(&self, key: &Key, _side: Side) -> Option<TlbEntry> {
        let (set, way) = self.find(key)?;
        self.ways(set).get(way).map(Slot::entry)
    }

    #[inline(never)]
    fn insert(&mut self, entry: TlbEntry, _side: Side) -> Inserted {
        let shift = clamp(entry.size_bits);
        let new = Slot::new(&entry, self.generation_want | want(0, shift));
        let at = self.set_of(entry.va >> shift);
        let Some(set) = self.sets.get_mut(at) else { return Self::inserted(at, false, None, false) };
        let same = set.ways.iter().position(|old| old.same_tag(&new));
        let free = set.ways.iter().position(|old| !old.is_live(self.generation));
        let (way, steady) = match (same, free) {
            // Replaced in place, nothing has happened to the policy.
            (Some(way), _) => (way, set.last == way as u32),
            (None, Some(way)) => (way, self.policy.fill(at, way)),
            (None, None) => self.policy.replace(at, set.ways.len()),
        };
        let Some(slot) = set.ways.get_mut(way) else { return Self::inserted(at, false, None, false) };
        let old = core::mem::replace(slot, new);
        if same.is_none() {
            set.last = if steady { way as u32 } else { NONE };
        }
        if set.generation != self.generation {
            (set.generation, set.live) = (self.generation, 0);
        }
        let was_live = old.is_live(self.generation);
        if !old.counts_as(&new) {
            set.live += u32::from(!was_live);
            if was_live {
                self.count_out(at, way, old.size_bits());
            }
            self.count_in(at, way);
        }
        let evicted = (same.is_none() && was_live).then(|| old.entry());
        self.stats.updates += u64::from(same.is_some());
        self.stats.fills += u64::from(same.is_none());
        self.stats.evictions += u64::from(evicted.is_some());
        let ripple = self.sizes >> 1 >> shift != 0 && self.is_shadowed(at, way);
        let steady = steady && !self.holds_below(shift);
        Self::inserted(at, steady, evicted, ripple)
    }

    /// Nothing has the tag of `entry`, so in a full set there is only the victim to be found.
    #[inline(always)]
    fn refill(&mut self, entry: TlbEntry, _side: Side, _missed: &Key) -> Filled {
        let shift = clamp(entry.size_bits);
        let at = self.set_of(entry.va >> shift);
        let want = self.generation_want | want(0, shift);
        let line = Some(Line(at as u32));
        let set = match self.sets.get_mut(at) {
            Some(set) if set.generation == self.generation && set.live as usize == set.ways.len() => set,
            _ => {
                let new = Slot::new(&entry, want);
                let (word, pa, gpa, rights, shape) = new.words();
                return Filled {
                    line,
                    ripple: self.refill_free(at, page(entry.va, shift), word, pa, gpa, rights, shape),
                };
            }
        };
        let (way, settled) = self.policy.replace(at, set.ways.len());
        let Some(slot) = set.ways.get_mut(way) else { return Filled { line, ripple: false } };
        let new = Slot::new(&entry, want);
        let (old_bits, alike) = (slot.size_bits(), slot.counts_as(&new));
        *slot = new;
        set.last = if settled { way as u32 } else { NONE };
        self.stats.fills += 1;
        self.stats.evictions += 1;
        if !alike {
            self.recount(at, way, old_bits);
        }
        Filled { line, ripple: self.sizes >> 1 >> shift != 0 && self.is_shadowed(at, way) }
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
    /// A hit in `slot` of the set `at`.
    #[inline(always)]
    fn hit(slot: &Slot, at: usize, repeat: bool) -> Hit {
        let line = if P::COUNTS_TOUCHES { None } else { Some(Line(at as u32)) };
        Hit { entry: slot.entry(), line, repeat, ripple: false }
    }

    /// Looks for `va` in every set that may hold it, and lets the policy see a hit.
    #[cold]
    #[inline(never)]
    fn find_again(&mut self, va: u64, space: Space) -> Found {
        let miss = Found { set: NONE, way: NONE, repeat: false };
        let Some((at, way)) = self.find(&Key { va, space }) else { return miss };
        let touched = self.policy.touch(at, way);
        let Some(set) = self.sets.get_mut(at) else { return miss };
        let last = core::mem::replace(&mut set.last, way as u32) == way as u32;
        Found { set: at as u32, way: way as u32, repeat: !touched && last }
    }

    /// A refill of a set that is not full: into its first free way. Whether that changed what other lines answer.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments, reason = "a slot in registers, not in memory")]
    fn refill_free(
        &mut self,
        at: usize,
        va: u64,
        word: u64,
        pa: u64,
        gpa: u64,
        rights: u64,
        shape: u64,
    ) -> bool {
        let new = Slot::of_words(va, (word, pa, gpa, rights, shape));
        let Some(set) = self.sets.get_mut(at) else { return false };
        let Some(way) = set.ways.iter().position(|slot| !slot.is_live(self.generation)) else { return false };
        set.ways[way] = new;
        if set.generation != self.generation {
            (set.generation, set.live) = (self.generation, 0);
        }
        set.live += 1;
        set.last = if self.policy.fill(at, way) { way as u32 } else { NONE };
        self.stats.fills += 1;
        self.count_in(at, way);
        self.sizes >> 1 >> clamp(new.size_bits()) != 0 && self.is_shadowed(at, way)
    }

    /// Accounts for a new entry in the place of one of `old_bits`.
    #[cold]
    #[inline(never)]
    fn recount(&mut self, at: usize, way: usize, old_bits: u8) {
        self.count_out(at, way, old_bits);
        self.count_in(at, way);
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

    /// Whether a larger page in another set answered until now for a part of the page in this way.
    #[cold]
    #[inline(never)]
    pub(super) fn is_shadowed(&self, set: usize, way: usize) -> bool {
        self.ways(set).get(way).is_some_and(|new| self.is_enclosed(new))
    }

    /// Whether a page larger than `entry` holds it and serves one of its spaces.
    #[inline]
    pub(in crate::tlb) fn encloses(&self, entry: &TlbEntry) -> bool {
        self.live != 0
            && self.is_enclosed(&Slot::new(entry, self.generation_want | want(0, clamp(entry.size_bits))))
    }

    fn is_enclosed(&self, new: &Slot) -> bool {
        let mut larger = self.sizes & (u64::MAX - 1) << clamp(new.size_bits());
        while larger != 0 {
            let shift = larger.trailing_zeros();
            larger &= larger - 1;
            let ways = self.ways(self.set_of(new.entry().va >> shift));
            if ways.iter().any(|slot| slot.encloses(shift, new)) {
                return true;
            }
        }
        false
    }
}
