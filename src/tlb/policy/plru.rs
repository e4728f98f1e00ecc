//! Approximations of LRU with one bit a way: a tree of directions, and reference bits.

use super::WayPolicy;
use crate::tlb::Geometry;
use alloc::{vec, vec::Vec};

/// Tree pseudo-LRU: a binary tree over the ways, each node pointing at the half used less recently.
///
/// Ways that are no power of two leave a tree with missing leaves; a node whose far half has no ways points at the
/// near one whatever its bit says.
#[derive(Clone, Debug)]
pub struct TreePlru {
    ways: usize,
    depth: u32,
    /// Per set, bit `n` is node `n` in heap order (the root is 1); set means the upper half.
    trees: Vec<u64>,
    /// Per way, the nodes on its path and the directions that point away from it.
    paths: Vec<(u64, u64)>,
}

impl WayPolicy for TreePlru {
    const MAX_WAYS: usize = 64;

    fn new(geometry: Geometry) -> Self {
        let depth = geometry.ways.next_power_of_two().trailing_zeros();
        let path = |way: usize| {
            (0..depth).fold((0, 0), |(nodes, away), level| {
                let node = 1_u64 << ((1 << level) | (way >> (depth - level)));
                let upper = way >> (depth - 1 - level) & 1 == 1;
                (nodes | node, if upper { away } else { away | node })
            })
        };
        let paths = (0..geometry.ways).map(path).collect();
        Self { ways: geometry.ways, depth, trees: vec![0; geometry.sets], paths }
    }

    #[inline]
    fn touch(&mut self, set: usize, way: usize) -> bool {
        let (Some(tree), Some(&(nodes, away))) = (self.trees.get_mut(set), self.paths.get(way)) else {
            return false;
        };
        let new = *tree & !nodes | away;
        let changed = new != *tree;
        *tree = new;
        changed
    }

    #[inline]
    fn victim(&mut self, set: usize) -> usize {
        let tree = self.trees.get(set).copied().unwrap_or(0);
        let mut node = 1_usize;
        for level in (0..self.depth).rev() {
            let upper = node * 2 + 1;
            let first_way = (upper << level) - (1 << self.depth);
            node = if tree >> node & 1 == 1 && first_way < self.ways { upper } else { node * 2 };
        }
        node - (1 << self.depth)
    }
}

/// One reference bit per way, in as many words per set as the ways need.
#[derive(Clone, Debug)]
struct Marks {
    ways: usize,
    words: usize,
    bits: Vec<u64>,
}

impl Marks {
    fn new(geometry: Geometry) -> Self {
        let words = geometry.ways.div_ceil(64);
        Self { ways: geometry.ways, words, bits: vec![0; words * geometry.sets] }
    }

    #[inline]
    fn of(&mut self, set: usize) -> &mut [u64] {
        let start = (set * self.words).min(self.bits.len());
        let end = (start + self.words).min(self.bits.len());
        &mut self.bits[start..end]
    }

    /// Marks a way; whether it was not marked.
    #[inline]
    fn mark(&mut self, set: usize, way: usize) -> bool {
        let Some(word) = self.of(set).get_mut(way / 64) else { return false };
        let bit = 1 << (way % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    /// The lowest way without a mark.
    #[inline]
    fn unmarked(&mut self, set: usize) -> Option<usize> {
        let ways = self.ways;
        let word = self.of(set).iter().position(|&word| word != u64::MAX)?;
        let way = word * 64 + self.of(set)[word].trailing_ones() as usize;
        (way < ways).then_some(way)
    }

    #[inline]
    fn clear(&mut self, set: usize) {
        self.of(set).fill(0);
    }
}

/// Bit pseudo-LRU (MRU bits): a touch marks its way, and the touch that would mark the last one clears all others.
/// The lowest unmarked way goes.
#[derive(Clone, Debug)]
pub struct BitPlru(Marks);

impl WayPolicy for BitPlru {
    fn new(geometry: Geometry) -> Self {
        Self(Marks::new(geometry))
    }

    #[inline]
    fn touch(&mut self, set: usize, way: usize) -> bool {
        if !self.0.mark(set, way) {
            return false;
        }
        if self.0.unmarked(set).is_none() {
            self.0.clear(set);
            self.0.mark(set, way);
        }
        true
    }

    #[inline]
    fn victim(&mut self, set: usize) -> usize {
        self.0.unmarked(set).unwrap_or(0)
    }
}

/// Not recently used: a touch marks its way, the lowest unmarked way goes, and where all are marked the choice of a
/// victim first clears them.
#[derive(Clone, Debug)]
pub struct Nru(Marks);

impl WayPolicy for Nru {
    fn new(geometry: Geometry) -> Self {
        Self(Marks::new(geometry))
    }

    #[inline]
    fn touch(&mut self, set: usize, way: usize) -> bool {
        self.0.mark(set, way)
    }

    #[inline]
    fn victim(&mut self, set: usize) -> usize {
        if let Some(way) = self.0.unmarked(set) {
            return way;
        }
        self.0.clear(set);
        0
    }
}
