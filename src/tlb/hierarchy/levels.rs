//! What moves between the levels.

use super::array::Placed;
use super::{Feed, Hierarchy};
use crate::addr::low_mask;
use crate::tlb::{Hit, Key, Scope, Side, Space, Span, Tlb, TlbEntry};

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
            if let Some(mut entry) = found {
                let placed = self.fill(depth, &mut entry, key.va, side, Some(key), &mut None);
                // Where the first level's policy is not settled, the entry cannot be remembered, yet its line changed.
                let ripple = placed.ripple || placed.line != placed.touched;
                return Some(Hit { entry, line: placed.line, repeat: false, ripple });
            }
        }
        self.misses[side as usize] += 1;
        self.compulsory += u64::from(self.seen.is_new(key));
        self.missed = Some(*key);
        None
    }

    /// Puts `entry` into the first `depth` lower levels, as far as they are fed by walks, and into the first level;
    /// what that takes of it becomes the entry. If a key is given, all of them have just `missed` the entry, and what
    /// is evicted is told only where it falls into the next level.
    #[inline]
    pub(super) fn fill(
        &mut self,
        depth: usize,
        entry: &mut TlbEntry,
        va: u64,
        side: Side,
        missed: Option<&Key>,
        evicted: &mut Option<TlbEntry>,
    ) -> Placed {
        let mut dropped = false;
        for level in (0..depth).rev() {
            if self.lower[level].feed == Feed::Walks {
                dropped |= self.put_lower(level, entry, va, side, missed);
            }
        }
        let spills = self.spills_into(0);
        let Some(array) = self.first.take(entry, va, side) else {
            return Placed { line: None, touched: None, ripple: dropped };
        };
        let wanted = spills || missed.is_none();
        let placed = array.put(entry, side, missed, wanted.then_some(&mut *evicted));
        // As within one array, a smaller page may answer before this one, and this one before a larger.
        let (smaller, larger) = self.first.beside(entry, side);
        let mut gone = false;
        if let (Some(victim), true) = (*evicted, spills) {
            // Where the level below is inclusive, what leaves that on this account may be the very entry put in here.
            gone = self.put_lower(0, &victim, victim.va, side, None);
        }
        let line = placed.line.filter(|_| !smaller && !gone);
        Placed { line, ripple: placed.ripple || larger || dropped || gone, ..placed }
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
        let (mut piece, mut evicted) = (*entry, None);
        let Some(array) = self.lower[level].take(&mut piece, va, side) else { return false };
        array.put(&piece, side, missed, (inclusive || spills).then_some(&mut evicted));
        let Some(evicted) = evicted else { return false };
        let mut dropped = false;
        if inclusive {
            let scope = fence_for(&evicted);
            dropped = self.first.drop_scope(&scope) > 0;
            for above in &mut self.lower[..level] {
                above.drop_scope(&scope);
            }
        }
        if spills {
            dropped |= self.put_lower(level + 1, &evicted, evicted.va, side, None);
        }
        dropped
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
