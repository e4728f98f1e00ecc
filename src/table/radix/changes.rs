//! What an edit will store, kept until nothing can refuse it any more.

use alloc::vec::Vec;

use super::run::{RUN, Rise, Run, store};
use crate::access::Width;
use crate::memory::PhysMemory;
use crate::radix::PteRef;
use crate::table::EditError;

/// Stores to tables that are in use, in the order in which they are to be made, so that a table is complete before it
/// is linked. No walk of any hart sees a part of an edit that fails.
#[derive(Default)]
pub(super) struct Changes {
    runs: Vec<Change>,
    /// The entries that are no rise.
    bytes: Vec<u8>,
}

/// `count` entries from `at` on.
#[derive(Clone, Copy)]
struct Change {
    at: PteRef,
    count: usize,
    old: Values,
    new: Values,
}

/// What entries hold, or are to hold.
#[derive(Clone, Copy)]
pub(super) enum Values {
    Rise(Rise),
    /// What is saved from this place on.
    Saved(usize),
}

impl Changes {
    /// Saves the first `count` entries of a run.
    pub(super) fn save(&mut self, run: &mut Run, count: usize) -> Values {
        let place = self.bytes.len();
        self.bytes.extend_from_slice(run.bytes(count));
        Values::Saved(place)
    }

    /// The `count` (at most a run's) entries from `at` on, which are `old`, are to be `new`.
    #[inline]
    pub(super) fn add(&mut self, at: PteRef, count: usize, old: Values, new: Values) {
        self.runs.push(Change { at, count, old, new });
    }

    /// The one entry `at`, which is `old`, is to be `new`.
    pub(super) fn add_one(&mut self, at: PteRef, old: u64, new: u64) {
        self.add(at, 1, Values::Rise(Rise::flat(old)), Values::Rise(Rise::flat(new)));
    }

    /// Stores everything, or nothing if memory refuses a part.
    pub(super) fn commit<M: PhysMemory + ?Sized>(&self, memory: &M) -> Result<(), EditError> {
        let mut maker = Maker(None);
        for (done, change) in self.runs.iter().enumerate() {
            let stored = self.store(memory, &mut maker, change, change.new);
            if stored.is_err() {
                // It took a store there a moment ago; a memory that refuses now has lost the table by itself.
                for change in self.runs.iter().take(done) {
                    let _ = self.store(memory, &mut maker, change, change.old);
                }
                return stored;
            }
        }
        Ok(())
    }

    fn store<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        maker: &mut Maker,
        change: &Change,
        values: Values,
    ) -> Result<(), EditError> {
        let bytes = match values {
            Values::Rise(rise) if change.count == 1 => {
                return store(
                    memory,
                    change.at,
                    &rise.first.to_le_bytes()[..(change.at.bytes as usize).min(8)],
                );
            }
            Values::Rise(rise) => maker.make(change.at, rise, change.count),
            Values::Saved(place) => {
                let saved = self.bytes.get(place..).unwrap_or_default();
                let len = change.count * change.at.bytes as usize;
                saved.get(..len).unwrap_or(saved)
            }
        };
        store(memory, change.at, bytes)
    }
}

/// Makes rises, keeping the last with its length: what an edit stores is often the same over and over.
struct Maker(Option<(Run, Rise, usize)>);

impl Maker {
    fn make(&mut self, at: PteRef, rise: Rise, count: usize) -> &[u8] {
        let width = Width::from_bytes(at.bytes).unwrap_or(Width::W8);
        let (run, made, long) = self.0.get_or_insert_with(|| (Run::new(width), Rise::flat(0), RUN));
        if *made != rise || *long < count {
            run.rise(rise, count);
            (*made, *long) = (rise, count);
        }
        run.bytes(count)
    }
}
