//! Re-reference interval prediction (Jaleel, Theobald, Steely, Emer: "High Performance Cache Replacement Using
//! Re-Reference Interval Prediction (RRIP)", ISCA 2010), with two bits a way and hit priority.

use super::{Dice, WayPolicy};
use crate::tlb::Geometry;
use alloc::{vec, vec::Vec};

/// The interval of a way that is expected to be used again last of all.
const DISTANT: u8 = 3;
/// One fill in so many of the bimodal policy gets a long interval instead of a distant one.
const BIMODAL_ODDS: usize = 32;

/// Static RRIP: new entries get a long interval (2 of 3), so that a scan does not displace what is reused.
pub type Srrip = Rrip<false>;
/// Bimodal RRIP: most new entries get a distant interval (3 of 3), one in 32 a long one, against thrashing.
pub type Brrip = Rrip<true>;

/// RRIP, static or bimodal. A hit makes the interval zero. The victim is the lowest way with a distant interval; if
/// there is none, all intervals grow until there is.
#[derive(Clone, Debug)]
pub struct Rrip<const BIMODAL: bool> {
    ways: usize,
    intervals: Vec<u8>,
    dice: Dice,
}

impl<const BIMODAL: bool> WayPolicy for Rrip<BIMODAL> {
    fn new(geometry: Geometry) -> Self {
        Self {
            ways: geometry.ways,
            intervals: vec![DISTANT; geometry.entries()],
            dice: Dice::new(geometry.seed),
        }
    }

    #[inline]
    fn touch(&mut self, set: usize, way: usize) -> bool {
        match self.intervals.get_mut(set * self.ways + way) {
            Some(interval) if *interval != 0 => {
                *interval = 0;
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn fill(&mut self, set: usize, way: usize) -> bool {
        let distant = BIMODAL && self.dice.roll(BIMODAL_ODDS) != 0;
        if let Some(interval) = self.intervals.get_mut(set * self.ways + way) {
            *interval = if distant { DISTANT } else { DISTANT - 1 };
        }
        false
    }

    #[inline]
    fn victim(&mut self, set: usize) -> usize {
        let Some(set) = self.intervals.get_mut(set * self.ways..).and_then(|rest| rest.get_mut(..self.ways))
        else {
            return 0;
        };
        let longest = set.iter().copied().max().unwrap_or(DISTANT);
        for interval in set.iter_mut() {
            *interval += DISTANT - longest;
        }
        set.iter().position(|&interval| interval == DISTANT).unwrap_or(0)
    }
}
