//! The counters of a hierarchy, as a paper would print them.

use super::Hierarchy;
use crate::addr::PageSize;
use crate::tlb::config::{ArrayConfig, Costs};
use crate::tlb::walk_cache::WalkStats;
use crate::tlb::{Fences, LevelStats, Side};
use alloc::vec::Vec;
use core::fmt;

/// One array: what it is, what it counted, what it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArrayReport {
    /// Its description.
    pub config: ArrayConfig,
    /// Its counters. A lookup in a level whose arrays are divided by page size counts as a miss in each array but the
    /// one that answers; misses of the level are in [`LevelReport`].
    pub counted: LevelStats,
    /// The page sizes resident and how many entries of each.
    pub resident: Vec<(PageSize, usize)>,
}

/// One level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LevelReport {
    /// Hits of instruction fetches and of data accesses.
    pub hits: [u64; 2],
    /// Misses, likewise: these went on to the next level, or to a walk.
    pub misses: [u64; 2],
    /// Its arrays.
    pub arrays: Vec<ArrayReport>,
}

impl LevelReport {
    /// Valid entries that left for others.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.arrays.iter().map(|array| array.counted.evictions).sum()
    }
}

/// All counters of a [`Hierarchy`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlbStats {
    /// Accesses: instruction fetches and data.
    pub accesses: [u64; 2],
    /// The levels.
    pub levels: Vec<LevelReport>,
    /// Accesses that no level answered.
    pub misses: [u64; 2],
    /// Those of them that were the first to their page, if that is [counted](crate::tlb::TlbConfig).
    pub compulsory: u64,
    /// Walks, walk-cache hits and table entries read.
    pub walks: WalkStats,
    /// Invalidations by scope.
    pub fences: Fences,
}

impl Hierarchy {
    /// The counters as they stand.
    #[must_use]
    pub fn stats(&self) -> TlbStats {
        let mut levels = Vec::new();
        for level in core::iter::once(&self.first).chain(&self.lower) {
            let mut hits = [0; 2];
            let mut arrays = Vec::new();
            for array in &level.arrays {
                let counted = *array.tlb.stats();
                for (sum, hits) in hits.iter_mut().zip(counted.hits) {
                    *sum += hits;
                }
                let resident = array.tlb.resident().collect();
                arrays.push(ArrayReport { config: array.config, counted, resident });
            }
            levels.push(LevelReport { hits, misses: [0; 2], arrays });
        }
        let mut reached = self.misses;
        for (depth, level) in levels.iter_mut().enumerate().rev() {
            if depth == 0 {
                for (hits, repeats) in level.hits.iter_mut().zip(self.repeats) {
                    *hits += repeats;
                }
            }
            level.misses = reached;
            for (reached, hits) in reached.iter_mut().zip(level.hits) {
                *reached += hits;
            }
        }
        TlbStats {
            accesses: reached,
            levels,
            misses: self.misses,
            compulsory: self.compulsory,
            walks: self.walks.stats,
            fences: self.fences,
        }
    }
}

impl TlbStats {
    /// The share of accesses of one side that some level answered; `None` without accesses.
    #[must_use]
    pub fn hit_ratio(&self, side: Side) -> Option<f64> {
        let (all, misses) = (self.accesses[side as usize], self.misses[side as usize]);
        (all != 0).then(|| (all - misses) as f64 / all as f64)
    }

    /// Cycles per access, translation only: every access pays for each level that it looked into, every walk for the
    /// walk caches and for the table entries that it read. `None` without accesses.
    #[must_use]
    pub fn effective_access_time(&self, costs: &Costs) -> Option<f64> {
        let sum = |sides: [u64; 2]| (sides[0] + sides[1]) as f64;
        let accesses = sum(self.accesses);
        if accesses == 0.0 {
            return None;
        }
        let last = costs.levels.last().copied().unwrap_or(0);
        let price = costs.levels.iter().copied().chain(core::iter::repeat(last));
        let looks: f64 = self
            .levels
            .iter()
            .zip(price)
            .map(|(level, price)| (sum(level.hits) + sum(level.misses)) * f64::from(price))
            .sum();
        let walks = sum(self.walks.walks) * f64::from(costs.walk_caches)
            + self.walks.all_pte_reads() as f64 * f64::from(costs.pte_read);
        Some((looks + walks) / accesses)
    }
}

impl fmt::Display for TlbStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "accesses      {:>12} fetches {:>12} data", self.accesses[0], self.accesses[1])?;
        for (number, level) in (1..).zip(&self.levels) {
            let [fetches, data] = level.hits;
            writeln!(f, "L{number} hits       {fetches:>12} fetches {data:>12} data")?;
            writeln!(f, "L{number} evictions  {:>12}", level.evictions())?;
            for array in &level.arrays {
                write!(f, "L{number} holds      {}:", array.config)?;
                for (size, count) in &array.resident {
                    write!(f, " {count} of {size}")?;
                }
                writeln!(f)?;
            }
        }
        let [fetches, data] = self.misses;
        writeln!(f, "misses        {fetches:>12} fetches {data:>12} data, {} compulsory", self.compulsory)?;
        for (stage, name) in ["walks", "second stage"].into_iter().enumerate() {
            if self.walks.walks[stage] == 0 {
                continue;
            }
            write!(f, "{name:<13} {:>12}; entries read by level", self.walks.walks[stage])?;
            for reads in used(&self.walks.pte_reads[stage]) {
                write!(f, " {reads}")?;
            }
            f.write_str("; resumed at level")?;
            for hits in used(&self.walks.resumed[stage]) {
                write!(f, " {hits}")?;
            }
            writeln!(f)?;
        }
        if self.walks.recalled != 0 {
            writeln!(f, "nested hits   {:>12}", self.walks.recalled)?;
        }
        let Fences { all, space, address, guest, dropped } = self.fences;
        write!(
            f,
            "invalidations {:>12}: {all} of all, {space} by space, {address} by address, {guest} by guest address; \
             {dropped} entries dropped",
            self.fences.total()
        )
    }
}

/// Counts by level, up to the last that is not zero.
fn used(levels: &[u64]) -> &[u64] {
    let len = levels.iter().rposition(|&count| count != 0).map_or(0, |last| last + 1);
    levels.get(..len).unwrap_or(levels)
}
