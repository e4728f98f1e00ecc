//! The walk: from a root and an address to a leaf. It only reads.

use super::format::{Entry, Format};
use crate::addr::low_mask;

/// Which stage of a translation a table belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Stage {
    /// The only stage, or the first of two (VS-stage, guest tables).
    First,
    /// The second of two (G-stage, EPT, NPT, stage 2).
    Second,
}

/// One entry of one table, as the walk names it to its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PteRef {
    /// Where the entry is, in the address space that its stage's tables live in.
    pub addr: u64,
    /// Its width: 1, 2, 4 or 8 bytes.
    pub bytes: u32,
    /// The level of its table, 0 for the leafmost.
    pub level: u32,
    /// The stage of its table.
    pub stage: Stage,
}

/// A table that a walk has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subtable {
    /// Its level, 0 for the leafmost.
    pub level: u32,
    /// Where it begins, in the address space that its stage's tables live in.
    pub base: u64,
    /// What the entries down to it impose, as [`Format::limits`] combined it.
    pub limits: u64,
    /// log2 of the bytes that it translates: it serves every address that agrees above these bits.
    pub span_bits: u32,
}

/// Where a walk reads its entries from: physical memory, another stage's translation in front of it, or a recorder
/// that shows every step. A source that must not change memory simply has no way to.
pub trait PteSource {
    /// Why an entry could not be read.
    type Error;

    /// Loads the entry `at`.
    ///
    /// # Errors
    /// Whatever stands between the walk and the entry: a bus error, a refused physical access, a second-stage fault.
    fn read(&mut self, at: PteRef) -> Result<u64, Self::Error>;

    /// A cached shortcut: the deepest table known for `va`. Paging-structure caches answer here.
    #[inline]
    fn resume(&mut self, stage: Stage, va: u64) -> Option<Subtable> {
        let _ = (stage, va);
        None
    }

    /// A cached end: the leaf that a walk of `va` would find. A nested-walk cache answers here for the second stage.
    #[inline]
    fn recall(&mut self, stage: Stage, va: u64) -> Option<Leaf> {
        let _ = (stage, va);
        None
    }

    /// Told of every leaf that a walk has found, for a nested-walk cache to keep.
    #[inline]
    fn reached(&mut self, stage: Stage, va: u64, leaf: &Leaf) {
        let _ = (stage, va, leaf);
    }

    /// Told of every table that the walk goes down into, so that a paging-structure cache can keep it.
    #[inline]
    fn descended(&mut self, stage: Stage, va: u64, table: Subtable) {
        let _ = (stage, va, table);
    }
}

/// A leaf as the walk found it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// First byte of the page.
    pub base: u64,
    /// log2 of the page's size.
    pub size_bits: u32,
    /// The raw entry.
    pub raw: u64,
    /// Where it stands.
    pub at: PteRef,
    /// What the levels above impose, as [`Format::limits`] combined it.
    pub limits: u64,
}

impl Leaf {
    /// Where `va` lands in this page.
    #[inline]
    #[must_use]
    pub fn address(&self, va: u64) -> u64 {
        self.base | (va & low_mask(self.size_bits))
    }
}

/// Where and why a walk stopped without a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop<E> {
    /// The entry is not present.
    Absent {
        /// Its place.
        at: PteRef,
        /// Its raw value.
        raw: u64,
        /// The limits that hold there.
        limits: u64,
    },
    /// The entry has a reserved encoding, or is a table where no further level exists.
    Reserved {
        /// Its place.
        at: PteRef,
        /// Its raw value.
        raw: u64,
        /// The limits that hold there.
        limits: u64,
    },
    /// The entry could not be read.
    Source {
        /// Its place.
        at: PteRef,
        /// What the source said.
        error: E,
    },
}

/// Walks `va` from the table at `root`, which belongs to `format`'s top level.
///
/// Only the bits that index a table are looked at: whether `va` is canonical is the caller's to check first. At most
/// one read a level; ends whatever the tables say, also when they point at themselves.
///
/// # Errors
/// [`Stop`] with the place where the walk ended.
#[inline(always)]
pub fn walk<F: Format, S: PteSource>(
    format: &F,
    stage: Stage,
    root: u64,
    va: u64,
    source: &mut S,
) -> Result<Leaf, Stop<S::Error>> {
    if let Some(leaf) = source.recall(stage, va) {
        return Ok(leaf);
    }
    let (mut level, mut table, mut limits) = match source.resume(stage, va) {
        Some(Subtable { level, base, limits, .. }) => (level, base, limits),
        None => (format.top_level(), root, format.initial_limits()),
    };
    while level > 4 {
        if let Some(end) = step(format, stage, va, level, &mut table, &mut limits, source) {
            return end;
        }
        level -= 1;
    }
    // Written out, so that for a format that knows its levels at compile time each step's shifts and masks are
    // constants and what is left is a straight line.
    if level == 4 {
        if let Some(end) = step(format, stage, va, 4, &mut table, &mut limits, source) {
            return end;
        }
        level = 3;
    }
    if level == 3 {
        if let Some(end) = step(format, stage, va, 3, &mut table, &mut limits, source) {
            return end;
        }
        level = 2;
    }
    if level == 2 {
        if let Some(end) = step(format, stage, va, 2, &mut table, &mut limits, source) {
            return end;
        }
        level = 1;
    }
    if level == 1 {
        if let Some(end) = step(format, stage, va, 1, &mut table, &mut limits, source) {
            return end;
        }
    }
    let last = place(format, stage, va, 0, table);
    // Level 0 has nothing below it: a step there always ends the walk.
    step(format, stage, va, 0, &mut table, &mut limits, source).unwrap_or(Err(Stop::Reserved {
        at: last,
        raw: 0,
        limits,
    }))
}

/// Where the entry for `va` is in the table at `table`.
#[inline(always)]
fn place<F: Format>(format: &F, stage: Stage, va: u64, level: u32, table: u64) -> PteRef {
    let bytes = format.pte_bytes();
    let index = (va >> format.shift(level)) & low_mask(format.index_bits(level));
    PteRef { addr: table.wrapping_add(index * u64::from(bytes)), bytes, level, stage }
}

/// One level: reads the entry and says how the walk ends there, or goes down.
#[inline(always)]
fn step<F: Format, S: PteSource>(
    format: &F,
    stage: Stage,
    va: u64,
    level: u32,
    table: &mut u64,
    limits: &mut u64,
    source: &mut S,
) -> Option<Result<Leaf, Stop<S::Error>>> {
    let at = place(format, stage, va, level, *table);
    let raw = match source.read(at) {
        Ok(raw) => raw,
        Err(error) => return Some(Err(Stop::Source { at, error })),
    };
    match format.decode(raw, level) {
        Entry::Leaf { base, size_bits } => {
            let leaf = Leaf { base, size_bits, raw, at, limits: *limits };
            source.reached(stage, va, &leaf);
            Some(Ok(leaf))
        }
        Entry::Table(next) if level > 0 => {
            *limits = format.limits(*limits, raw, level);
            *table = next;
            let span_bits = format.shift(level);
            source.descended(
                stage,
                va,
                Subtable { level: level - 1, base: next, limits: *limits, span_bits },
            );
            None
        }
        Entry::Absent => Some(Err(Stop::Absent { at, raw, limits: *limits })),
        Entry::Reserved | Entry::Table(_) => Some(Err(Stop::Reserved { at, raw, limits: *limits })),
    }
}
