//! What is wrong with a configuration.

use super::config::{Feed, LevelConfig, TlbConfig};
use super::{GeometryError, Side};

impl TlbConfig {
    /// Says what is wrong.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Some(first) = self.levels.first() else { return Err(ConfigError::NoLevels) };
        if first.feed == Feed::Victims {
            return Err(ConfigError::FirstLevelOfVictims);
        }
        for side in [Side::Instruction, Side::Data] {
            if !first.arrays.iter().any(|array| array.sides.serve(side)) {
                return Err(ConfigError::Unserved { side });
            }
        }
        for (level, config) in (1..).zip(&self.levels) {
            config.check(level)?;
        }
        for (cache, config) in (0..).zip(&self.walk_caches) {
            if config.min_level > config.max_level {
                let (min, max) = (config.min_level, config.max_level);
                return Err(ConfigError::WalkCacheLevels { cache, min, max });
            }
            config.shape.check().map_err(|error| ConfigError::WalkCache { cache, error })?;
        }
        match self.nested {
            Some(shape) => shape.check().map_err(|error| ConfigError::Nested { error }),
            None => Ok(()),
        }
    }
}

impl LevelConfig {
    fn check(&self, level: usize) -> Result<(), ConfigError> {
        if self.arrays.is_empty() {
            return Err(ConfigError::EmptyLevel { level });
        }
        for (array, config) in self.arrays.iter().enumerate() {
            let (min, max) = (config.min_bits, config.max_bits);
            if min > max || max > 63 {
                return Err(ConfigError::PageSizes { level, array, min, max });
            }
            config.shape.check().map_err(|error| ConfigError::Array { level, array, error })?;
            for (other, earlier) in self.arrays[..array].iter().enumerate() {
                let shared = [Side::Instruction, Side::Data]
                    .into_iter()
                    .any(|side| config.sides.serve(side) && earlier.sides.serve(side));
                if shared && min <= earlier.max_bits && earlier.min_bits <= max {
                    return Err(ConfigError::Overlap { level, array, other });
                }
            }
        }
        Ok(())
    }
}

/// Why a configuration cannot be built. Levels are counted from 1 as their names are, arrays and caches from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No level at all.
    #[error("a TLB needs at least one level")]
    NoLevels,
    /// The first level is fed by evictions, of which there are none.
    #[error("nothing is evicted into L1: its feed must be walks")]
    FirstLevelOfVictims,
    /// The first level serves one side only.
    #[error("no array of L1 serves {side:?} accesses")]
    Unserved {
        /// The side without an array.
        side: Side,
    },
    /// A level without arrays.
    #[error("L{level} has no arrays")]
    EmptyLevel {
        /// The level.
        level: usize,
    },
    /// A page-size range that is empty or beyond 2^63.
    #[error("array {array} of L{level} cannot hold pages of 2^{min} to 2^{max} bytes")]
    PageSizes {
        /// The level.
        level: usize,
        /// The array.
        array: usize,
        /// Its smallest page.
        min: u8,
        /// Its largest page.
        max: u8,
    },
    /// An impossible shape.
    #[error("array {array} of L{level}: {error}")]
    Array {
        /// The level.
        level: usize,
        /// The array.
        array: usize,
        /// What is wrong with it.
        error: GeometryError,
    },
    /// Two arrays want the same pages of the same side.
    #[error("arrays {other} and {array} of L{level} serve the same side and share page sizes")]
    Overlap {
        /// The level.
        level: usize,
        /// The later array.
        array: usize,
        /// The earlier one.
        other: usize,
    },
    /// A walk cache for no level.
    #[error("walk cache {cache} holds tables of levels {min} to {max}, which are none")]
    WalkCacheLevels {
        /// The cache.
        cache: usize,
        /// Its lowest level.
        min: u32,
        /// Its highest level.
        max: u32,
    },
    /// An impossible shape of a walk cache.
    #[error("walk cache {cache}: {error}")]
    WalkCache {
        /// The cache.
        cache: usize,
        /// What is wrong with it.
        error: GeometryError,
    },
    /// An impossible shape of the nested-walk cache.
    #[error("nested-walk cache: {error}")]
    Nested {
        /// What is wrong with it.
        error: GeometryError,
    },
}
