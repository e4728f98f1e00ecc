//! Any way, by a seeded generator.

use super::{Dice, WayPolicy};
use crate::tlb::Geometry;

/// Random replacement; the same seed gives the same victims.
#[derive(Clone, Debug)]
pub struct Random {
    ways: usize,
    dice: Dice,
}

impl WayPolicy for Random {
    fn new(geometry: Geometry) -> Self {
        Self { ways: geometry.ways, dice: Dice::new(geometry.seed) }
    }
    #[inline]
    fn touch(&mut self, _set: usize, _way: usize) -> bool {
        false
    }
    #[inline]
    fn victim(&mut self, _set: usize) -> usize {
        self.dice.roll(self.ways)
    }
}
