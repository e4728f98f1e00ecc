//! One array and one level of a hierarchy.

use crate::tlb::config::{ArrayConfig, Feed, LevelConfig, Sides};
use crate::tlb::policy::AnyPolicy;
use crate::tlb::{ConfigError, Hit, Key, Line, Scope, SetAssociative, Side, Tlb, TlbEntry};
use alloc::vec::Vec;

/// An array with the pages it takes and the numbers of its lines.
#[derive(Clone)]
pub(super) struct Array {
    pub(super) tlb: SetAssociative<AnyPolicy>,
    pub(super) sides: Sides,
    pub(super) config: ArrayConfig,
    first_line: u32,
}

impl Array {
    /// `line` of the array as a line of the hierarchy.
    #[inline]
    pub(super) fn line(&self, line: Line) -> Line {
        Line(self.first_line + line.0)
    }

    /// The array's hit as the hierarchy's.
    #[inline]
    pub(super) fn place(&self, hit: Hit) -> Hit {
        Hit { line: hit.line.map(|line| self.line(line)), ..hit }
    }
}

/// The arrays of a level, those of the smallest pages first.
#[derive(Clone)]
pub(super) struct Level {
    pub(super) arrays: Vec<Array>,
    pub(super) feed: Feed,
    pub(super) inclusive: bool,
}

impl Level {
    pub(super) fn new(
        number: usize,
        config: &LevelConfig,
        seed: u64,
        lines: &mut u32,
    ) -> Result<Self, ConfigError> {
        let mut arrays = Vec::new();
        for (index, array) in config.arrays.iter().enumerate() {
            let geometry = array.shape.geometry(seed);
            let tlb = AnyPolicy::of(array.shape.policy, geometry)
                .and_then(|policy| SetAssociative::with_policy(geometry, policy))
                .map_err(|error| ConfigError::Array { level: number, array: index, error })?;
            let first_line = *lines;
            *lines = first_line.saturating_add(tlb.lines());
            arrays.push(Array { tlb, sides: array.sides, config: *array, first_line });
        }
        arrays.sort_by_key(|array| array.config.min_bits);
        Ok(Self { arrays, feed: config.feed, inclusive: config.inclusive })
    }

    /// How many lines its arrays have.
    pub(super) fn lines(&self) -> u32 {
        self.arrays.iter().map(|array| array.tlb.lines()).sum()
    }

    /// The arrays that serve `side`.
    pub(super) fn serving(&self, side: Side) -> impl Iterator<Item = &Array> {
        self.arrays.iter().filter(move |array| array.sides.serve(side))
    }

    pub(super) fn peek(&self, key: &Key, side: Side) -> Option<TlbEntry> {
        self.serving(side).find_map(|array| array.tlb.peek(key, side))
    }

    pub(super) fn drop_scope(&mut self, scope: &Scope) -> u64 {
        self.arrays.iter_mut().map(|array| array.tlb.drop_scope(scope)).sum()
    }

    /// The array that takes `entry` for accesses of `side`, and what of the entry it takes: all, or the piece around
    /// `va` of the largest page that the array holds.
    pub(super) fn take(&mut self, entry: TlbEntry, va: u64, side: Side) -> Option<(&mut Array, TlbEntry)> {
        let size = entry.size_bits;
        let fits = |array: &Array| array.sides.serve(side) && array.config.min_bits <= size;
        let mut best: Option<&mut Array> = None;
        for array in self.arrays.iter_mut().filter(|array| fits(array)) {
            if best.as_ref().is_none_or(|best| best.config.max_bits < array.config.max_bits.min(size)) {
                best = Some(array);
            }
        }
        let array = best?;
        let piece = piece(entry, va, array.config.max_bits);
        Some((array, piece))
    }
}

/// The part of `entry` around `va` that is no larger than `2^max_bits` bytes.
fn piece(entry: TlbEntry, va: u64, max_bits: u8) -> TlbEntry {
    if entry.size_bits <= max_bits {
        return entry;
    }
    let base = va >> max_bits << max_bits;
    let offset = base.wrapping_sub(entry.va);
    TlbEntry {
        va: base,
        pa: entry.pa.wrapping_add(offset),
        gpa: entry.gpa.wrapping_add(offset),
        size_bits: max_bits,
        // A fence anywhere in the page must find the piece.
        leaf_bits: entry.leaf_bits.max(entry.size_bits),
        ..entry
    }
}
