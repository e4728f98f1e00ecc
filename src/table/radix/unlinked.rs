//! The tables that an edit unlinks.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::MAX_LEVELS;
use super::run::Run;
use crate::addr::PhysAddr;
use crate::table::flush::{Batch, Held};

/// Tables to be freed, each once, though a damaged tree may link it more often.
///
/// Nearly all of them are last-level tables, which are only noted; those above are gone through, so they are known.
pub(super) struct Unlinked {
    last_level: Vec<Held>,
    /// How many of these do not lie above the one noted before: none can be noted twice where that is none.
    falls: u64,
    latest: u64,
    /// The other tables, and the order of each.
    upper: BTreeMap<u64, u32>,
    /// A table may point back at it, but it is never unlinked.
    root: u64,
}

impl Unlinked {
    pub(super) const fn new(root: u64) -> Self {
        Self { last_level: Vec::new(), falls: 0, latest: 0, upper: BTreeMap::new(), root }
    }

    /// Notes a last-level table.
    pub(super) fn last_level(&mut self, table: u64) {
        self.falls += u64::from(table <= self.latest);
        self.latest = table;
        self.last_level.push(Held::new(table));
    }

    /// Notes the last-level tables that the first `count` entries of a run link, as `link` says.
    #[inline]
    pub(super) fn last_level_of(&mut self, run: &mut Run, count: usize, link: impl Fn(u64) -> Option<u64>) {
        // Slots for all first: a push would ask for each whether there is room. Where one run of links is another is
        // near, and the tables above come last.
        let noted = self.last_level.len();
        if self.last_level.capacity() < noted + count {
            self.last_level.reserve(2 * count + MAX_LEVELS);
        }
        self.last_level.resize_with(noted + count, || Held::new(0));
        let mut slots = self.last_level.get_mut(noted..).unwrap_or_default().iter_mut();
        let (mut falls, mut latest) = (self.falls, self.latest);
        let _ = run.visit(count, |raw| {
            if let Some(table) = link(raw) {
                falls += u64::from(table <= latest);
                latest = table;
                if let Some(slot) = slots.next() {
                    *slot = Held::new(table);
                }
            }
            ControlFlow::<()>::Continue(())
        });
        (self.falls, self.latest) = (falls, latest);
        let unused = slots.len();
        self.last_level.truncate(noted + count - unused);
    }

    /// Notes a table above the last level; `false` if what is below it needs no further look.
    pub(super) fn upper(&mut self, table: u64, order: u32) -> bool {
        table != self.root && self.upper.insert(table, order).is_none()
    }

    /// The tables, each once; those of the last level have `order`.
    pub(super) fn into_batches(self, order: u32) -> Vec<Batch> {
        let Self { mut last_level, falls, mut upper, root, .. } = self;
        if falls > 0 {
            last_level.sort_unstable_by_key(Held::frame);
            last_level.dedup_by_key(|held| held.frame());
        }
        if let Ok(place) = last_level.binary_search_by_key(&root, Held::frame) {
            last_level.remove(place);
        }
        upper.retain(|table, _| last_level.binary_search_by_key(table, Held::frame).is_err());
        let mut batches = Vec::new();
        if !last_level.is_empty() {
            batches.push(Batch { order, frames: last_level });
        }
        if upper.is_empty() {
            return batches;
        }
        for (table, order) in upper {
            Batch::add(&mut batches, PhysAddr(table), order);
        }
        batches
    }
}
