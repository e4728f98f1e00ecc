//! Cached translations.
//!
//! The TLB knows no architecture: an entry's rights are an opaque word that the architecture resolves again at every
//! use, and the spaces that separate one program's entries from another's are one packed [`Space`] word. A miss is
//! filled by whoever walked; a fence is a [`Scope`].
//!
//! Whether a hit may be answered without asking the TLB at all is the TLB's own word: see [`Hit::line`].
//!
//! [`SetAssociative`] is one array of any geometry, its replacement policy a [type](policy::WayPolicy).
//! [`Hierarchy`] is a whole machine's: levels of such arrays, victim buffers and walk caches, built from a
//! [`TlbConfig`]; [`presets`] describes real machines.

pub mod policy;
pub mod presets;

mod check;
mod config;
mod geometry;
mod hierarchy;
mod residents;
mod scope;
mod set_associative;
mod slot;
mod stats;
mod walk_cache;

pub use check::ConfigError;
pub use config::{ArrayConfig, Costs, Feed, LevelConfig, Shape, Sides, TlbConfig, WalkCacheConfig};
pub use geometry::{Geometry, GeometryError};
pub use hierarchy::{ArrayReport, Hierarchy, LevelReport, TlbStats};
pub use policy::TrueLru;
pub use scope::{Scope, Span};
pub use set_associative::{IndexError, SetAssociative};
pub use stats::{Fences, LevelStats};
pub use walk_cache::WalkStats;

use crate::addr::{Asid, Vmid};
use crate::radix::{Leaf, PteRef, Stage, Subtable};

/// Regime, VMID and ASID in one word, so that "the same space" is one compare.
///
/// A *regime* is an independent set of translations of one hart (RISC-V: HS/U, VS/VU; AArch64: EL1&0, EL2, ...;
/// "no virtualisation" is a regime, not VMID 0).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Space(u64);

impl Space {
    /// The bits that hold the ASID.
    pub const ASID: u64 = 0xffff;
    /// The bits that hold the VMID.
    pub const VMID: u64 = 0xffff_0000;
    /// The bits that hold the regime.
    pub const REGIME: u64 = 0xff_0000_0000;

    /// Packs the three.
    #[inline]
    #[must_use]
    pub const fn new(regime: u8, vmid: Vmid, asid: Asid) -> Self {
        Self((regime as u64) << 32 | (vmid.0 as u64) << 16 | asid.0 as u64)
    }

    /// The packed word.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The address-space identifier.
    #[inline]
    #[must_use]
    pub const fn asid(self) -> Asid {
        Asid(self.0 as u16)
    }

    /// The virtual-machine identifier.
    #[inline]
    #[must_use]
    pub const fn vmid(self) -> Vmid {
        Vmid((self.0 >> 16) as u16)
    }

    /// The regime's number.
    #[inline]
    #[must_use]
    pub const fn regime(self) -> u8 {
        (self.0 >> 32) as u8
    }
}

/// What a lookup asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// The effective virtual address (after pointer masking).
    pub va: u64,
    /// The space it is looked up in.
    pub space: Space,
}

/// Which side of a split TLB an access uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// Instruction fetches.
    Instruction,
    /// Loads, stores and atomics.
    Data,
}

/// One cached translation, both stages combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlbEntry {
    /// First byte of the effective page (the smaller of both stages' pages).
    pub va: u64,
    /// Its first byte in physical memory.
    pub pa: u64,
    /// Its first byte as the second stage saw it; equal to `pa` with one stage.
    pub gpa: u64,
    /// Rights as the architecture keeps them, unresolved: the same word serves any privilege and any SUM, MXR, WP...
    pub rights: u64,
    /// The space that it belongs to.
    pub space: Space,
    /// Whether it serves every ASID of its regime and VMID.
    pub global: bool,
    /// log2 of the effective page's size, at most 63.
    pub size_bits: u8,
    /// log2 of the first stage's leaf: a fence anywhere in that leaf drops this entry.
    pub leaf_bits: u8,
    /// log2 of the second stage's leaf, likewise for fences by guest-physical address; 0 with one stage.
    pub leaf2_bits: u8,
    /// The level of the first stage's leaf, for fault codes and statistics.
    pub level: u8,
    /// Memory attributes, as the architecture encodes them.
    pub attr: u16,
}

impl TlbEntry {
    /// Whether the entry answers `key`.
    #[inline]
    #[must_use]
    pub const fn matches(&self, key: &Key) -> bool {
        let ignore = if self.global { Space::ASID } else { 0 };
        (key.va ^ self.va) >> self.size_bits == 0 && (key.space.0 ^ self.space.0) & !ignore == 0
    }

    /// The address bits that lie within the page.
    #[inline(always)]
    #[must_use]
    pub const fn page_mask(&self) -> u64 {
        !(u64::MAX << (self.size_bits & 63))
    }

    /// Where `va`, which the entry translates, lands.
    #[inline]
    #[must_use]
    pub const fn address(&self, va: u64) -> u64 {
        self.pa | (va & self.page_mask())
    }

    /// Whether both entries are cached under the same tag, so that one replaces the other.
    #[inline]
    #[must_use]
    pub fn same_tag(&self, other: &Self) -> bool {
        self.size_bits == other.size_bits
            && self.global == other.global
            && self.matches(&Key { va: other.va, space: other.space })
    }
}

/// A group of entries whose replacement order depends on one another: for a set-associative TLB, one set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Line(pub u32);

/// log2 of the block around an address that a hit may be remembered for: whatever is said of a [`Line`] holds for
/// every address of the block.
pub const BLOCK_BITS: u32 = 12;

/// A successful lookup.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// The entry.
    pub entry: TlbEntry,
    /// Where the entry stands, if looking it up again *at once* would change nothing but the hit counter. The `Mmu`
    /// may then answer further accesses to the page by itself, counting them, until the line is touched elsewhere.
    /// What is remembered is the [block](BLOCK_BITS) around the address, if the entry covers that.
    /// `None` (always correct) when the policy counts every touch.
    pub line: Option<Line>,
    /// Whether this lookup already changed nothing: the entry was the last one touched on its line.
    pub repeat: bool,
    /// Whether lines other than `line` changed as well, or answer differently now: nothing that was remembered about
    /// any line holds.
    pub ripple: bool,
}

impl Hit {
    /// The same hit, of which nothing can be remembered.
    #[inline]
    #[must_use]
    pub fn unremembered(self) -> Self {
        // Its line can no longer say that it has changed.
        Self { line: None, ripple: self.ripple || !self.repeat, ..self }
    }
}

/// What an insertion did.
#[derive(Clone, Copy, Debug)]
pub struct Inserted {
    /// As [`Hit::line`], for the entry put in.
    pub line: Option<Line>,
    /// The line that has changed, whether or not the entry may be remembered on it.
    pub touched: Option<Line>,
    /// The entry that left the TLB for it.
    pub evicted: Option<TlbEntry>,
    /// As [`Hit::ripple`]: for one, the entry lies inside a larger page cached on another line and now answers for
    /// a part of it.
    pub ripple: bool,
}

/// What a [refill](Tlb::refill) did: the less of [`Inserted`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filled {
    /// As [`Inserted::touched`].
    pub line: Option<Line>,
    /// As [`Inserted::ripple`].
    pub ripple: bool,
}

impl From<Inserted> for Filled {
    #[inline]
    fn from(inserted: Inserted) -> Self {
        Self { line: inserted.touched, ripple: inserted.ripple }
    }
}

/// A translation cache.
///
/// Written in safe code by anyone: entries carry guest-physical addresses only, so a wrong implementation gives
/// wrong translations to its own guest and can do no other harm.
pub trait Tlb {
    /// Finds the translation of `key`, counts the hit or miss, and lets the replacement policy see the touch.
    fn lookup(&mut self, key: &Key, side: Side) -> Option<Hit>;

    /// Finds the translation of `key` and changes nothing.
    fn peek(&self, key: &Key, side: Side) -> Option<TlbEntry>;

    /// Caches `entry`. An entry of [the same tag](TlbEntry::same_tag) is replaced where it stands.
    fn insert(&mut self, entry: TlbEntry, side: Side) -> Inserted;

    /// Caches `entry`, which a lookup of `missed` has just missed: nothing has its tag, and of a page larger than can be
    /// cached the part around `missed` is wanted.
    #[inline]
    fn refill(&mut self, entry: TlbEntry, side: Side, missed: &Key) -> Filled {
        let _ = missed;
        self.insert(entry, side).into()
    }

    /// Drops every entry that `scope` [drops](Scope::drops), at least; returns how many entries went.
    fn invalidate(&mut self, scope: &Scope) -> u64;

    /// Told of `hits` repeated hits that the `Mmu` answered by itself, to be counted as lookups and hits of `side`.
    #[inline]
    fn repeats(&mut self, side: Side, hits: u64) {
        let _ = (side, hits);
    }

    /// Whether any of the functions below named `walk_...` does anything. Where not, a walk need not be told step by
    /// step.
    #[inline]
    fn follows_walks(&self) -> bool {
        true
    }

    /// A paging-structure cache's answer: the deepest table known for `va` in `space`. Without such a cache, none.
    /// For the second stage `va` is a guest-physical address.
    #[inline]
    fn walk_resume(&mut self, space: Space, stage: Stage, va: u64) -> Option<Subtable> {
        let _ = (space, stage, va);
        None
    }

    /// Told of every table that a walk goes down into, for a paging-structure cache to keep.
    #[inline]
    fn walk_descended(&mut self, space: Space, stage: Stage, va: u64, table: Subtable) {
        let _ = (space, stage, va, table);
    }

    /// A nested-walk cache's answer: the leaf that a walk would find. Without such a cache, none.
    #[inline]
    fn walk_recall(&mut self, space: Space, stage: Stage, va: u64) -> Option<Leaf> {
        let _ = (space, stage, va);
        None
    }

    /// Told of every leaf that a walk finds, for a nested-walk cache to keep.
    #[inline]
    fn walk_reached(&mut self, space: Space, stage: Stage, va: u64, leaf: &Leaf) {
        let _ = (space, stage, va, leaf);
    }

    /// Told of every entry that a walk changed in memory: what is cached of its raw value has become `new`.
    #[inline]
    fn walk_updated(&mut self, at: PteRef, new: u64) {
        let _ = (at, new);
    }

    /// Told that a walk has ended, and whether it has found a translation. What a walk that failed came by is best not
    /// kept: software need not fence before it tries again.
    #[inline]
    fn walk_ended(&mut self, found: bool) {
        let _ = found;
    }

    /// Told that a walk found memory other than it had just been told: whatever the walk caches hold may be stale,
    /// and the next walk must read memory.
    #[inline]
    fn walk_raced(&mut self) {}

    /// One more than the highest [`Line`] number that this TLB ever reports.
    #[inline]
    fn lines(&self) -> u32 {
        0
    }
}

/// No TLB: every access walks.
impl Tlb for () {
    #[inline]
    fn follows_walks(&self) -> bool {
        false
    }

    #[inline]
    fn lookup(&mut self, _key: &Key, _side: Side) -> Option<Hit> {
        None
    }
    #[inline]
    fn peek(&self, _key: &Key, _side: Side) -> Option<TlbEntry> {
        None
    }
    #[inline]
    fn insert(&mut self, _entry: TlbEntry, _side: Side) -> Inserted {
        Inserted { line: None, touched: None, evicted: None, ripple: false }
    }
    #[inline]
    fn invalidate(&mut self, _scope: &Scope) -> u64 {
        0
    }
}
