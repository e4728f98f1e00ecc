//! Which pages have been missed before, to tell compulsory misses from others.

use crate::tlb::{Key, Space};
use alloc::collections::BTreeSet;

/// Pages are told apart at the smallest size that any architecture has: a first miss in a large page is the first in
/// its 4 KiB only.
const GRANULE_BITS: u32 = 12;

#[derive(Clone)]
pub(super) struct Seen {
    limit: usize,
    pages: BTreeSet<(Space, u64)>,
}

impl Seen {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, pages: BTreeSet::new() }
    }

    /// Whether the page of `key` is missed for the first time; `false` when it cannot be told.
    pub(super) fn is_new(&mut self, key: &Key) -> bool {
        self.pages.len() < self.limit && self.pages.insert((key.space, key.va >> GRANULE_BITS))
    }
}
