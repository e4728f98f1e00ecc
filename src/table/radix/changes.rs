//! What an edit will store, kept until nothing can refuse it any more.

use alloc::vec::Vec;

use super::raw::{Run, store};
use crate::memory::PhysMemory;
use crate::radix::PteRef;
use crate::table::EditError;

/// Stores to tables that are in use, in the order in which they are to be made, so that a table is complete before it
/// is linked. No walk of any hart sees a part of an edit that fails.
#[derive(Default)]
pub(super) struct Changes {
    /// Where each run of entries begins, and its length in bytes.
    runs: Vec<(PteRef, usize)>,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Changes {
    /// Adds the first `count` entries of `new` from `at` on, where those of `old` stand.
    #[inline]
    pub(super) fn add(&mut self, at: PteRef, old: &mut Run, new: &mut Run, count: usize) {
        let (old, new) = (old.bytes(count), new.bytes(count));
        self.runs.push((at, old.len()));
        self.old.extend_from_slice(old);
        self.new.extend_from_slice(new);
    }

    /// Adds the one entry `at`.
    pub(super) fn add_one(&mut self, at: PteRef, old: u64, new: u64) {
        let wide = at.bytes as usize;
        self.runs.push((at, wide));
        self.old.extend(old.to_le_bytes().into_iter().take(wide));
        self.new.extend(new.to_le_bytes().into_iter().take(wide));
    }

    /// Stores everything, or nothing if memory refuses a part.
    pub(super) fn commit<M: PhysMemory + ?Sized>(&self, memory: &M) -> Result<(), EditError> {
        for (stored, outcome) in self.stores(memory, &self.new).enumerate() {
            if outcome.is_err() {
                // It took a store there a moment ago; a memory that refuses now has lost the table by itself.
                self.stores(memory, &self.old).take(stored).for_each(drop);
                return outcome;
            }
        }
        Ok(())
    }

    /// Stores each run from `bytes`, lazily.
    fn stores<'a, M: PhysMemory + ?Sized>(
        &'a self,
        memory: &'a M,
        mut bytes: &'a [u8],
    ) -> impl Iterator<Item = Result<(), EditError>> + 'a {
        self.runs.iter().map(move |&(at, len)| {
            let (these, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
            bytes = rest;
            store(memory, at, these)
        })
    }
}
