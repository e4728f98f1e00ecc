//! How many sets of how many ways.

use core::fmt;

/// The shape of one array of entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Geometry {
    /// Number of sets; any number from 1. One set is a fully associative array.
    pub sets: usize,
    /// Entries per set; any number from 1.
    pub ways: usize,
    /// Where the policy's dice start, for those that throw any.
    pub seed: u64,
}

impl Geometry {
    /// The most entries that an array can have.
    pub const MAX_ENTRIES: usize = 1 << 24;

    /// `sets` sets of `ways` ways, seed 0.
    #[must_use]
    pub const fn new(sets: usize, ways: usize) -> Self {
        Self { sets, ways, seed: 0 }
    }

    /// One set of `entries` ways.
    #[must_use]
    pub const fn fully_associative(entries: usize) -> Self {
        Self::new(1, entries)
    }

    /// The same shape with another seed.
    #[must_use]
    pub const fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// How many entries there are, `usize::MAX` if that is more than a `usize` holds.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.sets.saturating_mul(self.ways)
    }

    /// Checks the shape for a policy that can order `max_ways` ways.
    ///
    /// # Errors
    /// [`GeometryError`], naming the number.
    pub const fn check(&self, max_ways: usize) -> Result<(), GeometryError> {
        if self.sets == 0 || self.ways == 0 {
            Err(GeometryError::Empty { sets: self.sets, ways: self.ways })
        } else if self.entries() > Self::MAX_ENTRIES {
            Err(GeometryError::TooLarge { sets: self.sets, ways: self.ways })
        } else if self.ways > max_ways {
            Err(GeometryError::TooManyWays { ways: self.ways, max: max_ways })
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.sets, self.ways)
    }
}

/// Why a TLB cannot have a shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// No sets or no ways.
    #[error("a TLB of {sets} sets x {ways} ways holds nothing")]
    Empty {
        /// Sets asked for.
        sets: usize,
        /// Ways asked for.
        ways: usize,
    },
    /// More than [`Geometry::MAX_ENTRIES`].
    #[error("a TLB of {sets} sets x {ways} ways has more than {} entries", Geometry::MAX_ENTRIES)]
    TooLarge {
        /// Sets asked for.
        sets: usize,
        /// Ways asked for.
        ways: usize,
    },
    /// More ways than the policy can order.
    #[error("the replacement policy orders at most {max} ways, not {ways}")]
    TooManyWays {
        /// Ways asked for.
        ways: usize,
        /// The policy's limit.
        max: usize,
    },
}
