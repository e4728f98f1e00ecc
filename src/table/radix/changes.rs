//! What an edit will store, kept until nothing can refuse it any more.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::raw::put;
use super::run::{Rise, Run, store};
use crate::access::Width;
use crate::memory::PhysMemory;
use crate::radix::PteRef;
use crate::table::EditError;

/// Stores to tables that are in use, in the order in which they are to be made, so that a table is complete before it
/// is linked. No walk of any hart sees a part of an edit that fails.
///
/// A table keeps one from edit to edit, for its memory.
#[derive(Default, Debug)]
pub(super) struct Changes {
    runs: Vec<Change>,
    /// The entries that are no rise.
    bytes: Vec<u8>,
    maker: Maker,
}

/// `count` entries from `at` on.
#[derive(Clone, Copy, Debug)]
struct Change {
    at: PteRef,
    count: usize,
    old: Values,
    new: Values,
}

/// What entries hold, or are to hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values {
    Rise(Rise),
    /// What stands there, the bits `mask` aside, which are `value` in each.
    Bits {
        mask: u64,
        value: u64,
    },
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

    /// Forgets everything, and what memory a large edit took.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.runs.shrink_to(KEPT);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT * size_of::<Run>());
    }

    /// Stores everything, or nothing if memory refuses a part.
    pub(super) fn commit<M: PhysMemory + ?Sized>(&mut self, memory: &M) -> Result<(), EditError> {
        let Self { runs, bytes, maker } = self;
        for (done, change) in runs.iter().enumerate() {
            let stored = change.store(memory, change.new, bytes, maker);
            if stored.is_err() {
                // It took a store there a moment ago; a memory that refuses now has lost the table by itself.
                for change in runs.iter().take(done) {
                    let _ = change.store(memory, change.old, bytes, maker);
                }
                return stored;
            }
        }
        Ok(())
    }
}

/// How many runs a table keeps room for: those of the edits that are made over and over.
const KEPT: usize = 4;

impl Change {
    fn store<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        values: Values,
        saved: &[u8],
        maker: &mut Maker,
    ) -> Result<(), EditError> {
        let wide = self.at.bytes as usize;
        match values {
            Values::Rise(rise) if self.count == 1 => put(memory, self.at, rise.first),
            Values::Rise(rise) => store(memory, self.at, maker.make(self.at, rise, self.count)),
            Values::Bits { mask, value } => {
                let run = maker.run(self.at);
                run.load(memory, self.at, self.count)?;
                run.write(mask, value, self.count);
                run.store(memory, self.at, self.count)
            }
            Values::Saved(place) => {
                let saved = saved.get(place..).unwrap_or_default();
                store(memory, self.at, saved.get(..self.count * wide).unwrap_or(saved))
            }
        }
    }
}

/// Where stores are made, and the rise made last, with its length: what edits store is often the same over and over.
#[derive(Default, Debug)]
struct Maker {
    run: Option<Box<Run>>,
    made: Option<(Rise, usize)>,
}

impl Maker {
    fn make(&mut self, at: PteRef, rise: Rise, count: usize) -> &[u8] {
        let made = self.made.filter(|&(made, long)| made == rise && long >= count);
        let Self { run, made: last } = self;
        let run = run.get_or_insert_with(|| new_run(at));
        if made.is_none() {
            run.rise(rise, count);
            *last = Some((rise, count));
        }
        run.bytes(count)
    }

    /// A run for any use.
    fn run(&mut self, at: PteRef) -> &mut Run {
        self.made = None;
        self.run.get_or_insert_with(|| new_run(at))
    }
}

fn new_run(at: PteRef) -> Box<Run> {
    Box::new(Run::new(Width::from_bytes(at.bytes).unwrap_or(Width::W8)))
}
