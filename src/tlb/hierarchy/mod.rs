//! [`Hierarchy`]: levels of arrays as a [`TlbConfig`] describes them.
//!
//! An access looks into the arrays of the first level that serve its side, the smallest pages first; the `Mmu`'s
//! filter stands on their lines alone. Only a miss there looks further down. What a deeper level gives, and what a
//! walk finds, is put into every level above that is fed by walks; what the first level evicts falls into the level
//! below if that is fed by victims, and on from there.

mod array;
mod levels;
mod report;
mod seen;

pub use report::{ArrayReport, LevelReport, TlbStats};

use super::config::{Feed, TlbConfig};
use super::walk_cache::WalkCaches;
use super::{BLOCK_BITS, ConfigError, Fences, Filled, Hit, Inserted, Key, Scope, Side, Space, Tlb, TlbEntry};
use crate::radix::{Leaf, PteRef, Stage, Subtable};
use alloc::{boxed::Box, vec::Vec};
use array::{Level, Placed};
use seen::Seen;

/// A TLB of any number of levels, with walk caches.
#[derive(Clone)]
pub struct Hierarchy {
    first: Level,
    lower: Vec<Level>,
    lines: u32,
    /// Accesses that no level could answer, by side, and those of them that were the first to their page.
    misses: [u64; 2],
    compulsory: u64,
    /// The hits in the first level that were answered without asking it.
    repeats: [u64; 2],
    fences: Fences,
    /// The key missed last: which piece of a large page is wanted.
    missed: Option<Key>,
    seen: Seen,
    walks: Box<WalkCaches>,
    config: TlbConfig,
}

impl Hierarchy {
    /// An empty TLB as `config` describes it.
    ///
    /// # Errors
    /// [`ConfigError`], naming what cannot be.
    pub fn new(config: &TlbConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let mut lines = 0;
        let mut levels = Vec::new();
        for (number, level) in (1..).zip(&config.levels) {
            levels.push(Level::new(number, level, config.seed, &mut lines)?);
        }
        let lower = levels.split_off(1);
        let Some(first) = levels.pop() else { return Err(ConfigError::NoLevels) };
        Ok(Self {
            lines: first.lines(),
            first,
            lower,
            misses: [0; 2],
            compulsory: 0,
            repeats: [0; 2],
            fences: Fences::default(),
            missed: None,
            seen: Seen::new(config.compulsory_pages),
            walks: Box::new(WalkCaches::new(config)?),
            config: config.clone(),
        })
    }

    /// What it was built from.
    #[must_use]
    pub fn config(&self) -> &TlbConfig {
        &self.config
    }

    /// The valid entries of a level, counted from 0.
    pub fn entries(&self, level: usize) -> impl Iterator<Item = TlbEntry> + '_ {
        let level = if level == 0 { Some(&self.first) } else { self.lower.get(level - 1) };
        let arrays = level.into_iter().flat_map(|level| &level.arrays);
        arrays.flat_map(|array| array.tlb.entries().map(|(_, entry)| entry))
    }
}

impl Tlb for Hierarchy {
    #[inline(always)]
    fn lookup(&mut self, key: &Key, side: Side) -> Option<Hit> {
        let mut smaller = false;
        for array in &mut self.first.arrays {
            if array.sides.serve(side) && !array.tlb.is_empty() {
                if let Some(hit) = array.tlb.lookup(key, side) {
                    let hit = array.place(hit);
                    return Some(if smaller { hit.unremembered() } else { hit });
                }
                smaller |= array.tlb.holds_below(BLOCK_BITS);
            }
        }
        self.lookup_lower(key, side)
    }

    fn peek(&self, key: &Key, side: Side) -> Option<TlbEntry> {
        core::iter::once(&self.first).chain(&self.lower).find_map(|level| level.peek(key, side))
    }

    fn insert(&mut self, mut entry: TlbEntry, side: Side) -> Inserted {
        // Of a page too large for an array, the piece that was missed comes in.
        let va = match self.missed.take() {
            Some(key) if entry.matches(&key) => key.va,
            _ => entry.va,
        };
        let (size_bits, mut evicted) = (entry.size_bits, None);
        let Placed { line, touched, ripple } =
            self.fill(self.lower.len(), &mut entry, va, side, None, &mut evicted);
        // Which piece is wanted was a guess, if the key looked up last was a hit without the right.
        let line = line.filter(|_| size_bits == entry.size_bits);
        Inserted { line, touched, evicted, ripple }
    }

    fn refill(&mut self, mut entry: TlbEntry, side: Side, missed: &Key) -> Filled {
        self.missed = None;
        let placed = self.fill(self.lower.len(), &mut entry, missed.va, side, Some(missed), &mut None);
        Filled { line: placed.touched, ripple: placed.ripple }
    }

    fn invalidate(&mut self, scope: &Scope) -> u64 {
        let levels = core::iter::once(&mut self.first).chain(&mut self.lower);
        let dropped = levels.map(|level| level.drop_scope(scope)).sum();
        self.walks.invalidate(scope);
        self.fences.count(scope, dropped);
        dropped
    }

    #[inline]
    fn repeats(&mut self, side: Side, hits: u64) {
        self.repeats[side as usize] += hits;
    }

    fn walk_resume(&mut self, space: Space, stage: Stage, va: u64) -> Option<Subtable> {
        self.walks.resume(space, stage, va)
    }

    fn walk_descended(&mut self, space: Space, stage: Stage, va: u64, table: Subtable) {
        self.walks.descended(space, stage, va, table);
    }

    fn walk_recall(&mut self, space: Space, stage: Stage, va: u64) -> Option<Leaf> {
        self.walks.recall(space, stage, va)
    }

    fn walk_reached(&mut self, space: Space, stage: Stage, va: u64, leaf: &Leaf) {
        self.walks.reached(space, stage, va, leaf);
    }

    fn walk_updated(&mut self, at: PteRef, new: u64) {
        self.walks.updated(at, new);
    }

    fn walk_ended(&mut self, found: bool) {
        self.walks.ended(found);
    }

    fn walk_raced(&mut self) {
        self.walks.clear();
    }

    #[inline]
    fn lines(&self) -> u32 {
        self.lines
    }
}
