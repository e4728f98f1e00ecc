//! Which sets may hold entries of which space, so that dropping a space costs what that space has cached.
//!
//! Spaces are hashed into a fixed number of rows, global entries have a row of their own; a row has a bit per set. A
//! set bit says "may hold": rows are only ever made too full, by two spaces that share one, and by entries evicted
//! since. Visiting a row clears the bits that turn out wrong. A row of an older generation is empty, so that
//! invalidating everything touches none of them.

use super::{Scope, Space};
use alloc::{vec, vec::Vec};

const ROWS: usize = 64;
const GLOBAL_ROW: usize = ROWS;
const WHOLE: u64 = Space::ASID | Space::VMID | Space::REGIME;

#[derive(Clone, Default)]
pub(super) struct Occupancy {
    words: usize,
    bits: Vec<u64>,
    generations: Vec<u64>,
}

impl Occupancy {
    pub(super) fn new(sets: usize) -> Self {
        let words = sets.div_ceil(64);
        Self { words, bits: vec![0; words * (ROWS + 1)], generations: vec![0; ROWS + 1] }
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        self.generations.fill(0);
    }

    /// The row of a space.
    #[inline]
    fn row(space: Space, global: bool) -> usize {
        let bits = space.bits();
        // Consecutive ASIDs are the common case: they must not share a row.
        if global { GLOBAL_ROW } else { ((bits ^ bits >> 16 ^ bits >> 27) % ROWS as u64) as usize }
    }

    /// Notes that `set` holds an entry of `space`.
    #[inline]
    pub(super) fn mark(&mut self, set: usize, space: Space, global: bool, generation: u64) {
        let row = Self::row(space, global);
        if self.generations.get(row) != Some(&generation) {
            self.begin(row, generation);
        }
        if let Some(word) = self.bits.get_mut(row * self.words + set / 64) {
            *word |= 1 << (set % 64);
        }
    }

    #[cold]
    fn begin(&mut self, row: usize, generation: u64) {
        self.generations[row] = generation;
        self.bits[row * self.words..][..self.words].fill(0);
    }

    /// The row of a space's entries as a bit, to be or-ed into the answer of a visit.
    #[inline]
    pub(super) fn row_bit(space: Space, global: bool) -> u128 {
        1 << Self::row(space, global)
    }

    /// Calls `visit` once with every set that may hold an entry whose space `scope` covers; it answers with the
    /// [rows](Self::row_bit) of the entries left there.
    pub(super) fn visit(&mut self, scope: &Scope, generation: u64, mut visit: impl FnMut(usize) -> u128) {
        let spaces =
            if scope.mask & WHOLE == WHOLE { Self::row_bit(scope.space, false) } else { (1 << ROWS) - 1 };
        let wanted = if scope.globals { spaces | 1 << GLOBAL_ROW } else { spaces };
        let rows = bits_of(wanted)
            .filter(|&row| self.generations.get(row) == Some(&generation))
            .fold(0, |rows, row| rows | 1_u128 << row);
        for word in 0..self.words {
            let mut left = bits_of(rows).fold(0, |sets, row| sets | self.bits[row * self.words + word]);
            while left != 0 {
                let bit = left & left.wrapping_neg();
                left ^= bit;
                let remaining = visit(word * 64 + bit.trailing_zeros() as usize);
                for row in bits_of(rows & !remaining) {
                    self.bits[row * self.words + word] &= !bit;
                }
            }
        }
    }
}

/// The numbers of the bits that are set, in order.
fn bits_of(mut bits: u128) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (bit < 128).then_some(bit)
    })
}
