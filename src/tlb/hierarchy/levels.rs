//! What moves between the levels.

use super::{Feed, Hierarchy};
use crate::addr::low_mask;
use crate::tlb::{Hit, Inserted, Key, Scope, Side, Space, Span, Tlb, TlbEntry};

impl Hierarchy {
    /// A lookup that the first level could not answer.
    #[inline(never)]
    pub(super) fn lookup_lower(&mut self, key: &Key, side: Side) -> Option<Hit> {
        for depth in 0..self.lower.len() {
            let level = &mut self.lower[depth];
            let mut arrays = level.arrays.iter_mut().filter(|array| array.sides.serve(side));
            let found = arrays.find_map(|array| {
                let entry = array.tlb.lookup(key, side)?.entry;
                if level.feed == Feed::Victims {
                    array.tlb.remove(&entry);
                }
                Some(entry)
            });
            if let Some(entry) = found {
                let (filled, piece) = self.fill(depth, &entry, key.va, side, Some(key));
                // Where the first level's policy is not settled, the entry cannot be remembered, yet its line changed.
                let ripple = filled.ripple || filled.line != filled.touched;
                return Some(Hit { entry: piece, line: filled.line, repeat: false, ripple });
            }
        }
        self.misses[side as usize] += 1;
        self.compulsory += u64::from(self.seen.is_new(key));
        self.missed = Some(*key);
        None
    }

    /// Puts `entry` into the first `depth` lower levels, as far as they are fed by walks, and into the first level;
    /// with what that took of it, or the whole entry if nothing. All of them have just `missed` it, if a key is given.
    #[inline]
    pub(super) fn fill(
        &mut self,
        depth: usize,
        entry: &TlbEntry,
        va: u64,
        side: Side,
        missed: Option<&Key>,
    ) -> (Inserted, TlbEntry) {
        let mut ripple = false;
        for level in (0..depth).rev() {
            if self.lower[level].feed == Feed::Walks {
                ripple |= self.put_lower(level, entry, va, side, missed);
            }
        }
        let spills = self.spills_into(0);
        let Some((array, piece)) = self.first.take(entry, va, side) else {
            return (Inserted { line: None, touched: None, evicted: None, ripple }, *entry);
        };
        let inserted = array.put(piece, side, missed, spills);
        let (line, touched) = (inserted.line, inserted.touched);
        let (line, touched) = (line.map(|line| array.line(line)), touched.map(|line| array.line(line)));
        // As within one array, a smaller page may answer before this one, and this one before a larger.
        let (smaller, larger) = self.first.beside(&piece, side);
        ripple |= inserted.ripple | larger;
        let mut gone = false;
        if let (Some(evicted), true) = (inserted.evicted, spills) {
            // Where the level below is inclusive, what leaves that on this account may be the very entry put in here.
            gone = self.put_lower(0, &evicted, evicted.va, side, None);
        }
        let line = line.filter(|_| !smaller && !gone);
        (Inserted { line, touched, evicted: inserted.evicted, ripple: ripple || gone }, piece)
    }

    /// Puts `entry` into a lower level; whether anything left the first level on account of it.
    fn put_lower(
        &mut self,
        level: usize,
        entry: &TlbEntry,
        va: u64,
        side: Side,
        missed: Option<&Key>,
    ) -> bool {
        let (inclusive, spills) = (self.lower[level].inclusive, self.spills_into(level + 1));
        let Some((array, piece)) = self.lower[level].take(entry, va, side) else { return false };
        let Some(evicted) = array.put(piece, side, missed, inclusive || spills).evicted else { return false };
        let mut ripple = false;
        if inclusive {
            let scope = fence_for(&evicted);
            ripple = self.first.drop_scope(&scope) > 0;
            for above in &mut self.lower[..level] {
                above.drop_scope(&scope);
            }
        }
        if spills {
            ripple |= self.put_lower(level + 1, &evicted, evicted.va, side, None);
        }
        ripple
    }

    /// Whether what is evicted above falls into this lower level.
    fn spills_into(&self, level: usize) -> bool {
        self.lower.get(level).is_some_and(|below| below.feed == Feed::Victims)
    }
}

/// The fence that drops `entry`, with whatever else is a piece of the same leaf in its space.
fn fence_for(entry: &TlbEntry) -> Scope {
    Scope {
        space: entry.space,
        mask: Space::ASID | Space::VMID | Space::REGIME,
        globals: entry.global,
        span: Span::Virtual { first: entry.va, last: entry.va | low_mask(entry.size_bits.into()) },
        leaves_only: true,
    }
}
