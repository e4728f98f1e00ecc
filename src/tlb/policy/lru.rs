//! Least recently used, and first in first out: one order, moved by hits or only by fills.

use super::{WayPolicy, list::Order};
use crate::tlb::Geometry;

/// True LRU: the way that was hit or filled longest ago goes.
#[derive(Clone, Debug)]
pub struct TrueLru(Order);

impl WayPolicy for TrueLru {
    fn new(geometry: Geometry) -> Self {
        Self(Order::new(geometry))
    }
    #[inline(always)]
    fn touch(&mut self, set: usize, way: usize) -> bool {
        self.0.move_to_front(set, way)
    }
    #[inline(always)]
    fn fill(&mut self, set: usize, way: usize) -> bool {
        self.0.move_to_front(set, way);
        true
    }
    #[inline(always)]
    fn victim(&mut self, set: usize) -> usize {
        self.0.last(set)
    }
    #[inline(always)]
    fn replace(&mut self, set: usize, _ways: usize) -> (usize, bool) {
        (self.0.rotate(set), true)
    }
}

/// First in, first out: the way that was filled longest ago goes, hits or none.
#[derive(Clone, Debug)]
pub struct Fifo(Order);

impl WayPolicy for Fifo {
    fn new(geometry: Geometry) -> Self {
        Self(Order::new(geometry))
    }
    #[inline]
    fn touch(&mut self, _set: usize, _way: usize) -> bool {
        false
    }
    #[inline]
    fn fill(&mut self, set: usize, way: usize) -> bool {
        self.0.move_to_front(set, way);
        true
    }
    #[inline]
    fn victim(&mut self, set: usize) -> usize {
        self.0.last(set)
    }
    #[inline]
    fn replace(&mut self, set: usize, _ways: usize) -> (usize, bool) {
        (self.0.rotate(set), true)
    }
}
