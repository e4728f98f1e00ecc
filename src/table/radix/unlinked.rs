//! The tables that an edit unlinks.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::MAX_LEVELS;
use crate::addr::PhysAddr;
use crate::table::flush::Held;

/// Tables to be freed, each once, though a damaged tree may link it more often, and never the root, at which a table
/// may point back.
///
/// Nearly all of them are last-level tables, which are only noted; those above are gone through, so they are known.
pub(super) struct Unlinked {
    root: u64,
    last_level: Vec<Held>,
    /// Whether each of the last-level tables noted lies above those noted before it, so that none is noted twice.
    ascending: bool,
    /// Where the next has to lie, at least, for that.
    above: u64,
    /// The other tables, and the order of each.
    upper: BTreeMap<u64, u32>,
}

impl Unlinked {
    pub(super) const fn new(root: u64) -> Self {
        Self { root, last_level: Vec::new(), ascending: true, above: 0, upper: BTreeMap::new() }
    }

    /// Notes a last-level table.
    #[inline]
    pub(super) fn last_level(&mut self, table: u64, order: u32) {
        if table != self.root {
            self.ascending &= table >= self.above;
            self.above = table.saturating_add(1);
            self.last_level.push(Held::new(PhysAddr(table), order));
        }
    }

    /// Makes room for so many last-level tables, and for those above them.
    pub(super) fn reserve(&mut self, more: usize) {
        self.last_level.reserve(more + MAX_LEVELS);
    }

    /// Notes a table above the last level; `false` if what is below it needs no further look.
    pub(super) fn upper(&mut self, table: u64, order: u32) -> bool {
        table != self.root && self.upper.insert(table, order).is_none()
    }

    /// The tables, each once.
    pub(super) fn into_frames(self) -> Vec<Held> {
        let mut frames = self.last_level;
        if !self.ascending {
            frames.sort_unstable_by_key(Held::frame);
            frames.dedup_by_key(|held| held.frame());
        }
        let noted = frames.len();
        for (table, order) in self.upper {
            let table = PhysAddr(table);
            if frames
                .get(..noted)
                .is_none_or(|frames| frames.binary_search_by_key(&table, Held::frame).is_err())
            {
                frames.push(Held::new(table, order));
            }
        }
        frames
    }
}
