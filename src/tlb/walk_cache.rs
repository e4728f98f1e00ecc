//! What a walk need not read again: tables on the way down (paging-structure caches) and second-stage leaves (the
//! nested-walk cache).
//!
//! Both are ordinary set-associative arrays, so that geometry, policies, tags and fences are those of the TLB: a
//! cached table is an "entry" whose page is all that the table translates. Second-stage structures belong to a
//! virtual machine whatever its ASIDs, and are keyed by guest-physical address.
//!
//! What a walk comes by is kept only when it has found a translation: software that corrects an entry which made a
//! walk fail need not fence before it tries again, and no architecture asks that a failed walk be cached.

use super::config::{Shape, TlbConfig};
use super::policy::AnyPolicy;
use super::{ConfigError, GeometryError, Key, Scope, SetAssociative, Side, Space, Span, Tlb, TlbEntry};
use crate::radix::{Leaf, PteRef, Stage, Subtable};
use alloc::{vec, vec::Vec};

/// Levels that are counted one by one; deeper tables than any architecture's are counted with the last.
pub(super) const LEVELS: usize = 8;

/// Counters of walks and of what cut them short, by stage (first, second) and level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalkStats {
    /// Walks of each stage.
    pub walks: [u64; 2],
    /// Walks that began below the root because a table of this level was cached.
    pub resumed: [[u64; LEVELS]; 2],
    /// Second-stage walks that the nested-walk cache made unnecessary.
    pub recalled: u64,
    /// Table entries read, by the level of their table. The last read of a walk that faults is not seen here.
    pub pte_reads: [[u64; LEVELS]; 2],
}

impl WalkStats {
    /// All table entries read.
    #[must_use]
    pub fn all_pte_reads(&self) -> u64 {
        self.pte_reads.iter().flatten().sum()
    }
}

#[derive(Clone)]
struct Tables {
    stage: Stage,
    levels: core::ops::RangeInclusive<u32>,
    cache: SetAssociative<AnyPolicy>,
}

#[derive(Clone)]
struct Nested {
    cache: SetAssociative<AnyPolicy>,
    /// The leaf of each slot of the array.
    leaves: Vec<Option<Leaf>>,
}

/// What a walk has come by, to be kept if it finds its translation.
#[derive(Clone, Copy)]
enum Find {
    /// A table, for the walk cache of this number.
    Table(usize, TlbEntry),
    /// A second-stage leaf.
    Leaf(TlbEntry, Leaf),
}

/// The most finds kept of one walk: five levels of each stage, each of the first stage behind five of the second.
const FINDS: usize = 36;

/// All walk caches of a TLB.
#[derive(Clone)]
pub(super) struct WalkCaches {
    finds: Vec<Find>,
    /// Those of the leafmost tables first.
    tables: Vec<Tables>,
    nested: Option<Nested>,
    pub(super) stats: WalkStats,
}

impl WalkCaches {
    pub(super) fn new(config: &TlbConfig) -> Result<Self, ConfigError> {
        let array = |shape: &Shape| -> Result<_, GeometryError> {
            let geometry = shape.geometry(config.seed);
            SetAssociative::with_policy(geometry, AnyPolicy::of(shape.policy, geometry)?)
        };
        let mut tables = Vec::new();
        for (cache, part) in config.walk_caches.iter().enumerate() {
            tables.push(Tables {
                stage: part.stage,
                levels: part.min_level..=part.max_level,
                cache: array(&part.shape).map_err(|error| ConfigError::WalkCache { cache, error })?,
            });
        }
        tables.sort_by_key(|tables| *tables.levels.start());
        let nested = match &config.nested {
            Some(shape) => {
                let cache = array(shape).map_err(|error| ConfigError::Nested { error })?;
                Some(Nested { leaves: vec![None; cache.geometry().entries()], cache })
            }
            None => None,
        };
        Ok(Self { finds: Vec::new(), tables, nested, stats: WalkStats::default() })
    }

    pub(super) fn resume(&mut self, space: Space, stage: Stage, va: u64) -> Option<Subtable> {
        self.stats.walks[index(stage)] += 1;
        let key = Key { va, space: keyed(space, stage) };
        let caches = self.tables.iter_mut().filter(|tables| tables.stage == stage);
        let hit = caches.map(|tables| &mut tables.cache).find_map(|cache| cache.lookup(&key, Side::Data))?;
        let entry = hit.entry;
        self.stats.resumed[index(stage)][counted(entry.level.into())] += 1;
        Some(Subtable {
            level: entry.level.into(),
            base: entry.pa,
            limits: entry.rights,
            span_bits: entry.size_bits.into(),
        })
    }

    pub(super) fn descended(&mut self, space: Space, stage: Stage, va: u64, table: Subtable) {
        self.stats.pte_reads[index(stage)][counted(table.level + 1)] += 1;
        let takes = |tables: &Tables| tables.stage == stage && tables.levels.contains(&table.level);
        let Some(cache) = self.tables.iter().position(takes) else { return };
        let (Ok(span_bits @ 0..=63), Ok(level)) = (u8::try_from(table.span_bits), u8::try_from(table.level))
        else {
            return;
        };
        let entry = TlbEntry {
            va: va >> span_bits << span_bits,
            pa: table.base,
            gpa: 0,
            rights: table.limits,
            space: keyed(space, stage),
            global: false,
            size_bits: span_bits,
            leaf_bits: span_bits,
            leaf2_bits: 0,
            level,
            attr: 0,
        };
        self.found(Find::Table(cache, entry));
    }

    pub(super) fn recall(&mut self, space: Space, stage: Stage, gpa: u64) -> Option<Leaf> {
        let nested = self.nested.as_mut().filter(|_| stage == Stage::Second)?;
        let key = Key { va: gpa, space: keyed(space, stage) };
        nested.cache.lookup(&key, Side::Data)?;
        let leaf = nested.leaf_of(&key)?;
        self.stats.recalled += 1;
        leaf
    }

    pub(super) fn reached(&mut self, space: Space, stage: Stage, gpa: u64, leaf: &Leaf) {
        self.stats.pte_reads[index(stage)][counted(leaf.at.level)] += 1;
        if self.nested.is_none() || stage == Stage::First {
            return;
        }
        let Ok(size_bits @ 0..=63) = u8::try_from(leaf.size_bits) else { return };
        let entry = TlbEntry {
            va: gpa >> size_bits << size_bits,
            pa: leaf.base,
            gpa: 0,
            rights: leaf.raw,
            space: keyed(space, stage),
            global: false,
            size_bits,
            leaf_bits: size_bits,
            leaf2_bits: 0,
            level: 0,
            attr: 0,
        };
        self.found(Find::Leaf(entry, *leaf));
    }

    fn found(&mut self, find: Find) {
        if self.finds.len() < FINDS {
            self.finds.push(find);
        }
    }

    /// The walk has ended; what it came by is kept if it was `found`.
    pub(super) fn ended(&mut self, found: bool) {
        for find in self.finds.drain(..).filter(|_| found) {
            match find {
                Find::Table(cache, entry) => {
                    if let Some(tables) = self.tables.get_mut(cache) {
                        tables.cache.insert(entry, Side::Data);
                    }
                }
                Find::Leaf(entry, leaf) => {
                    let Some(nested) = &mut self.nested else { continue };
                    nested.cache.insert(entry, Side::Data);
                    // Where just this entry stands: a smaller page may answer for its address.
                    let slot = nested.cache.place_of(&entry).and_then(|index| nested.leaves.get_mut(index));
                    if let Some(slot) = slot {
                        *slot = Some(leaf);
                    }
                }
            }
        }
    }

    /// The entry at `at` has become `new` in memory, by a walk.
    pub(super) fn updated(&mut self, at: PteRef, new: u64) {
        let kept = self.nested.iter_mut().flat_map(|nested| nested.leaves.iter_mut().flatten());
        let found = self.finds.iter_mut().filter_map(|find| match find {
            Find::Leaf(_, leaf) => Some(leaf),
            Find::Table(..) => None,
        });
        for leaf in kept.chain(found).filter(|leaf| leaf.at == at) {
            leaf.raw = new;
        }
    }

    pub(super) fn clear(&mut self) {
        self.finds.clear();
        for tables in &mut self.tables {
            tables.cache.drop_scope(&Scope::ALL);
        }
        if let Some(nested) = &mut self.nested {
            nested.cache.drop_scope(&Scope::ALL);
        }
    }

    /// Drops what a fence of `scope` takes with it. What a fence does not tell apart goes: one for all addresses of
    /// a virtual machine drops its second-stage structures whether it meant them or not, and one that concerns tables
    /// drops those of the whole space whatever the address, as x86 demands (SDM Vol. 3A, 4.10.4.1: INVLPG).
    pub(super) fn invalidate(&mut self, scope: &Scope) {
        let mask = scope.mask & !Space::ASID;
        let second = match scope.span {
            Span::All => Some(Span::All),
            Span::Guest { first, last } => Some(Span::Virtual { first, last }),
            Span::Virtual { .. } => None,
        };
        let second = second.map(|span| Scope { mask, span, ..*scope });
        for tables in self.tables.iter_mut().filter(|_| !scope.leaves_only) {
            match (tables.stage, scope.span, &second) {
                // First-stage tables are found at guest-physical addresses, which no second-stage fence changes.
                (Stage::First, Span::Guest { .. }, _) | (Stage::Second, _, None) => {}
                (Stage::First, ..) => {
                    tables.cache.drop_scope(&Scope { span: Span::All, ..*scope });
                }
                (Stage::Second, _, Some(second)) => {
                    tables.cache.drop_scope(second);
                }
            }
        }
        if let (Some(nested), Some(second)) = (&mut self.nested, &second) {
            nested.cache.drop_scope(second);
        }
    }
}

impl Nested {
    fn leaf_of(&self, key: &Key) -> Option<Option<Leaf>> {
        self.leaves.get(self.cache.index_of(key)?).copied()
    }
}

/// The space that a stage's structures are tagged with.
fn keyed(space: Space, stage: Stage) -> Space {
    match stage {
        Stage::First => space,
        Stage::Second => Space(space.bits() & !Space::ASID),
    }
}

fn index(stage: Stage) -> usize {
    usize::from(stage == Stage::Second)
}

fn counted(level: u32) -> usize {
    (level as usize).min(LEVELS - 1)
}
