//! A TLB hierarchy as plain data: what there is, not yet checked or built.
//!
//! [`TlbConfig`] is a list of levels, each a list of arrays; an array serves one side or both and a range of page
//! sizes. Split first levels, per-page-size arrays, unified second levels and victim buffers are all said in these
//! words. [`TlbConfig::check`] says what is wrong with one, by name and value; [`Hierarchy`](super::Hierarchy) is
//! built from one.

use super::policy::PolicyKind;
use super::{Geometry, GeometryError, Side};
use crate::radix::Stage;
use alloc::{vec, vec::Vec};
use core::fmt;

/// Sets, ways and policy of one array.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Shape {
    /// Number of sets.
    pub sets: usize,
    /// Entries per set.
    pub ways: usize,
    /// Which way of a full set makes room.
    pub policy: PolicyKind,
}

impl Shape {
    /// `sets` sets of `ways` ways with true LRU.
    #[must_use]
    pub const fn new(sets: usize, ways: usize) -> Self {
        Self { sets, ways, policy: PolicyKind::TrueLru }
    }

    /// One set of `entries` ways with true LRU.
    #[must_use]
    pub const fn full(entries: usize) -> Self {
        Self::new(1, entries)
    }

    /// The same with another policy.
    #[must_use]
    pub const fn policy(self, policy: PolicyKind) -> Self {
        Self { policy, ..self }
    }

    pub(super) const fn geometry(&self, seed: u64) -> Geometry {
        Geometry::new(self.sets, self.ways).with_seed(seed)
    }

    pub(super) const fn check(&self) -> Result<(), GeometryError> {
        self.geometry(0).check(self.policy.max_ways())
    }
}

/// Which accesses an array serves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Sides {
    /// Instruction fetches only.
    Instruction,
    /// Loads and stores only.
    Data,
    /// Both.
    Both,
}

impl Sides {
    /// Whether accesses of `side` are served.
    #[inline]
    #[must_use]
    pub const fn serve(self, side: Side) -> bool {
        matches!(
            (self, side),
            (Self::Both, _) | (Self::Instruction, Side::Instruction) | (Self::Data, Side::Data)
        )
    }
}

/// One array of entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ArrayConfig {
    /// The accesses that it serves.
    pub sides: Sides,
    /// log2 of the smallest page that it holds.
    pub min_bits: u8,
    /// log2 of the largest. A larger page is cached in pieces of this size, where no other array of its level takes
    /// it whole.
    pub max_bits: u8,
    /// Sets, ways, policy.
    pub shape: Shape,
}

impl ArrayConfig {
    /// An array for pages of all sizes.
    #[must_use]
    pub const fn new(sides: Sides, shape: Shape) -> Self {
        Self { sides, min_bits: 0, max_bits: 63, shape }
    }

    /// The same array for pages of `2^min_bits` to `2^max_bits` bytes.
    #[must_use]
    pub const fn pages(self, min_bits: u8, max_bits: u8) -> Self {
        Self { min_bits, max_bits, ..self }
    }
}

/// What comes into a level.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Feed {
    /// Every translation that a walk finds or a deeper level gives.
    #[default]
    Walks,
    /// Only what the level above evicts; a hit moves the entry back up. A small such level is a victim buffer, a
    /// large one an exclusive second level.
    Victims,
}

/// One level.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LevelConfig {
    /// Its arrays.
    pub arrays: Vec<ArrayConfig>,
    /// What comes in.
    pub feed: Feed,
    /// Whether an entry that leaves this level leaves all levels above it too.
    pub inclusive: bool,
}

impl LevelConfig {
    /// A level of these arrays, filled by walks and not inclusive.
    #[must_use]
    pub fn new(arrays: impl Into<Vec<ArrayConfig>>) -> Self {
        Self { arrays: arrays.into(), feed: Feed::Walks, inclusive: false }
    }

    /// A level that the level above evicts into.
    #[must_use]
    pub fn victims(arrays: impl Into<Vec<ArrayConfig>>) -> Self {
        Self { feed: Feed::Victims, ..Self::new(arrays) }
    }
}

/// A paging-structure cache: it holds the addresses of tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct WalkCacheConfig {
    /// The stage whose tables it holds.
    pub stage: Stage,
    /// The lowest level of the tables that it holds, 0 being the one that maps the smallest pages (so that a cache
    /// of level 0 holds what x86 calls PDE entries).
    pub min_level: u32,
    /// The highest.
    pub max_level: u32,
    /// Sets, ways, policy.
    pub shape: Shape,
}

/// What an access costs, in cycles of whatever is being modelled.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Costs {
    /// Looking into each level, first level first; the last number serves all further levels. A hit in the second
    /// level costs the first two.
    pub levels: Vec<u32>,
    /// Looking into the walk caches, once per walk.
    pub walk_caches: u32,
    /// Reading one table entry.
    pub pte_read: u32,
}

impl Default for Costs {
    /// 1 and 7 cycles for the first two levels, 2 for the walk caches, 30 for a table entry: round numbers of the
    /// order that optimisation manuals print.
    fn default() -> Self {
        Self { levels: vec![1, 7], walk_caches: 2, pte_read: 30 }
    }
}

/// A whole TLB.
///
/// ```
/// use softmmu::tlb::{ArrayConfig, Hierarchy, LevelConfig, Shape, Sides, TlbConfig};
///
/// let first = LevelConfig::new([
///     ArrayConfig::new(Sides::Instruction, Shape::full(32)),
///     ArrayConfig::new(Sides::Data, Shape::new(16, 4)),
/// ]);
/// let second = LevelConfig::new([ArrayConfig::new(Sides::Both, Shape::new(128, 8))]);
/// let config = TlbConfig::new([first, second]);
/// assert_eq!(config.to_string(), "L1: I 1x32 lru, D 16x4 lru; L2: ID 128x8 lru");
/// let tlb = Hierarchy::new(&config)?;
/// # Ok::<(), softmmu::tlb::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TlbConfig {
    /// The levels, the one that accesses look into first.
    pub levels: Vec<LevelConfig>,
    /// Paging-structure caches.
    pub walk_caches: Vec<WalkCacheConfig>,
    /// The nested-walk cache: second-stage translations of guest-physical addresses.
    pub nested: Option<Shape>,
    /// How many distinct pages are remembered to tell first misses from others; 0 counts none. When so many have
    /// been seen, further first misses count as others.
    pub compulsory_pages: usize,
    /// Where the dice of random policies start.
    pub seed: u64,
    /// What the effective access time is reckoned with.
    pub costs: Costs,
}

impl TlbConfig {
    /// These levels, and no walk caches.
    #[must_use]
    pub fn new(levels: impl Into<Vec<LevelConfig>>) -> Self {
        Self {
            levels: levels.into(),
            walk_caches: Vec::new(),
            nested: None,
            compulsory_pages: 0,
            seed: 0,
            costs: Costs::default(),
        }
    }

    /// One array for everything.
    #[must_use]
    pub fn unified(shape: Shape) -> Self {
        Self::new([LevelConfig::new([ArrayConfig::new(Sides::Both, shape)])])
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} {}", self.sets, self.ways, self.policy)
    }
}

impl fmt::Display for Sides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instruction => "I",
            Self::Data => "D",
            Self::Both => "ID",
        })
    }
}

impl fmt::Display for ArrayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sides, self.shape)?;
        if (self.min_bits, self.max_bits) == (0, 63) {
            return Ok(());
        }
        let size = |bits: u8| crate::addr::PageSize::from_bits(bits.into());
        match (size(self.min_bits), size(self.max_bits)) {
            (Some(min), Some(max)) if min == max => write!(f, " of {min}"),
            (Some(min), Some(max)) => write!(f, " of {min} to {max}"),
            _ => write!(f, " of 2^{} to 2^{} B", self.min_bits, self.max_bits),
        }
    }
}

impl fmt::Display for TlbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, level) in (1..).zip(&self.levels) {
            write!(f, "{}L{number}", if number == 1 { "" } else { "; " })?;
            match level.feed {
                Feed::Walks => f.write_str(if level.inclusive { " inclusive:" } else { ":" })?,
                Feed::Victims => f.write_str(" of victims:")?,
            }
            for (index, array) in level.arrays.iter().enumerate() {
                write!(f, "{} {array}", if index == 0 { "" } else { "," })?;
            }
        }
        for cache in &self.walk_caches {
            let stage = if cache.stage == Stage::First { "" } else { "second-stage " };
            write!(f, "; {stage}tables of level {}", cache.min_level)?;
            if cache.max_level != cache.min_level {
                write!(f, " to {}", cache.max_level)?;
            }
            write!(f, ": {}", cache.shape)?;
        }
        self.nested.map_or(Ok(()), |shape| write!(f, "; nested walks: {shape}"))
    }
}
