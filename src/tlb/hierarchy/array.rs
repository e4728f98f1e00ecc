//! One array and one level of a hierarchy.

use crate::tlb::config::{ArrayConfig, Feed, LevelConfig, Sides};
use crate::tlb::policy::AnyPolicy;
use crate::tlb::slot::clamp;
use crate::tlb::{ConfigError, Hit, Key, Line, Scope, SetAssociative, Side, Tlb, TlbEntry};
use alloc::{boxed::Box, vec::Vec};

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

    /// Puts `entry` in; if a key is given, a lookup of it has just `missed` the entry. What leaves for it is told where
    /// somebody asks for it.
    #[inline]
    pub(super) fn put(
        &mut self,
        entry: &TlbEntry,
        side: Side,
        missed: Option<&Key>,
        evicted: Option<&mut Option<TlbEntry>>,
    ) -> Placed {
        let (line, touched, ripple) = match (missed, evicted) {
            (Some(missed), None) => {
                let filled = self.tlb.refill(*entry, side, missed);
                let line = filled.line.filter(|&line| self.tlb.is_settled(line));
                (line, filled.line, filled.ripple)
            }
            (_, evicted) => {
                let inserted = self.tlb.insert(*entry, side);
                if let Some(evicted) = evicted {
                    *evicted = inserted.evicted;
                }
                (inserted.line, inserted.touched, inserted.ripple)
            }
        };
        Placed {
            line: line.map(|line| self.line(line)),
            touched: touched.map(|line| self.line(line)),
            ripple,
        }
    }
}

/// What [`Inserted`](crate::tlb::Inserted) says, but for what was evicted.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) line: Option<Line>,
    pub(super) touched: Option<Line>,
    pub(super) ripple: bool,
}

/// The arrays of a level, those of the smallest pages first.
#[derive(Clone)]
pub(super) struct Level {
    pub(super) arrays: Vec<Array>,
    pub(super) feed: Feed,
    pub(super) inclusive: bool,
    /// By side and size of a page, the array that takes it: the one that holds the largest piece of it.
    takers: Box<[[u8; 64]; 2]>,
}

/// The array of a page that none takes.
const NOBODY: u8 = u8::MAX;

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
        let mut takers = Box::new([[NOBODY; 64]; 2]);
        for side in [Side::Instruction, Side::Data] {
            for (size, taker) in (0_u8..).zip(&mut takers[side as usize]) {
                // Those of a side share no sizes, so the last that is not too large holds the largest.
                let fits = |array: &Array| array.sides.serve(side) && array.config.min_bits <= size;
                *taker = arrays.iter().rposition(fits).and_then(|at| u8::try_from(at).ok()).unwrap_or(NOBODY);
            }
        }
        Ok(Self { arrays, feed: config.feed, inclusive: config.inclusive, takers })
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

    /// The array that takes `entry` for accesses of `side`. Of a page larger than the array holds, the piece around
    /// `va` of the largest size that it holds becomes the entry.
    #[inline]
    pub(super) fn take(&mut self, entry: &mut TlbEntry, va: u64, side: Side) -> Option<&mut Array> {
        let taker = self.takers[side as usize][clamp(entry.size_bits) as usize];
        let array = self.arrays.get_mut(usize::from(taker))?;
        if entry.size_bits > array.config.max_bits {
            *entry = piece(entry, va, array.config.max_bits);
        }
        Some(array)
    }

    /// Of the `piece` just put in: whether a smaller page may answer accesses of `side` before it, and whether a larger
    /// one of another array answered before it was there, whatever the side.
    #[inline]
    pub(super) fn beside(&self, piece: &TlbEntry, side: Side) -> (bool, bool) {
        let (mut smaller, mut larger) = (false, false);
        for array in &self.arrays {
            smaller |= array.sides.serve(side) && array.tlb.holds_below(piece.size_bits.into());
            larger |= array.config.min_bits > piece.size_bits && array.tlb.encloses(piece);
        }
        (smaller, larger)
    }
}

/// The part of `entry` around `va` that is `2^max_bits` bytes large.
fn piece(entry: &TlbEntry, va: u64, max_bits: u8) -> TlbEntry {
    let base = va >> max_bits << max_bits;
    let offset = base.wrapping_sub(entry.va);
    TlbEntry {
        va: base,
        pa: entry.pa.wrapping_add(offset),
        gpa: entry.gpa.wrapping_add(offset),
        size_bits: max_bits,
        // A fence anywhere in the page must find the piece.
        leaf_bits: entry.leaf_bits.max(entry.size_bits),
        ..*entry
    }
}
