//! The map of the physical space: which target answers at which addresses.
//!
//! Ranges never overlap and are kept sorted, so that one binary search finds who answers. Every change is checked
//! whole before any of it is made.

use super::Target;
use crate::addr::PhysAddr;
use crate::memory::PhysRange;
use alloc::borrow::Cow;
use alloc::vec::Vec;

/// Why the map could not be changed. It is as it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// A range of no bytes.
    #[error("the range at {base:#x} has no bytes")]
    Empty {
        /// Where it was to begin.
        base: PhysAddr,
    },
    /// The last byte would lie past the top of the physical space.
    #[error("the range at {base:#x} of {len:#x} bytes runs past the top of the physical space")]
    Wraps {
        /// Where it was to begin.
        base: PhysAddr,
        /// How many bytes it was to have.
        len: u64,
    },
    /// Some of the bytes are taken.
    #[error("the range {range} overlaps {taken}")]
    Overlap {
        /// The range asked for.
        range: PhysRange,
        /// The range that has the bytes.
        taken: PhysRange,
    },
    /// No range begins there.
    #[error("no range begins at {base:#x}")]
    NotFound {
        /// The address given.
        base: PhysAddr,
    },
    /// RAM and ROM move by whole 4 KiB pages.
    #[error("memory at {from:#x} cannot move to {to:#x}: not by a multiple of 4 KiB")]
    Misaligned {
        /// Where it begins.
        from: PhysAddr,
        /// Where it was to begin.
        to: PhysAddr,
    },
    /// The host has no memory for the bytes of a ROM.
    #[error("the host cannot hold a ROM of {len:#x} bytes")]
    HostRefused {
        /// The ROM's length.
        len: u64,
    },
}

/// One stretch of the map.
#[derive(Clone, Debug)]
pub struct Region<D> {
    /// The addresses.
    pub range: PhysRange,
    /// Who answers there.
    pub target: Target<D>,
}

/// A range kept out of the frame allocators' hands, with what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reserved {
    /// What it is for.
    pub name: Cow<'static, str>,
    /// The addresses.
    pub range: PhysRange,
}

/// The range asked for, or why it is none.
pub(super) fn range(base: PhysAddr, len: u64) -> Result<PhysRange, MapError> {
    PhysRange::new(base, len).ok_or(match len {
        0 => MapError::Empty { base },
        _ => MapError::Wraps { base, len },
    })
}

/// Sorted stretches that share no byte.
#[derive(Clone, Debug)]
pub(super) struct Sorted<T> {
    items: Vec<(PhysRange, T)>,
}

impl<T> Sorted<T> {
    pub(super) const fn new() -> Self {
        Self { items: Vec::new() }
    }

    /// How many stretches end before `pa`: where the one holding it stands, if there is one.
    #[inline]
    fn position(&self, pa: PhysAddr) -> usize {
        self.items.partition_point(|(range, _)| range.last() < pa)
    }

    /// The stretch that holds `pa`.
    #[inline]
    pub(super) fn find(&self, pa: PhysAddr) -> Option<&(PhysRange, T)> {
        self.items.get(self.position(pa)).filter(|(range, _)| range.contains(pa))
    }

    /// The first stretch that has bytes of `range`, `except` the one that begins there.
    pub(super) fn conflict(&self, range: PhysRange, except: Option<PhysAddr>) -> Option<PhysRange> {
        let behind = self.items.get(self.position(range.first())..).unwrap_or_default();
        behind
            .iter()
            .map(|(taken, _)| *taken)
            .take_while(|taken| taken.overlaps(&range))
            .find(|taken| Some(taken.first()) != except)
    }

    /// Puts `item` at `range`, if no byte of it is taken.
    pub(super) fn insert(&mut self, range: PhysRange, item: T) -> Result<(), MapError> {
        if let Some(taken) = self.conflict(range, None) {
            return Err(MapError::Overlap { range, taken });
        }
        self.items.insert(self.position(range.first()), (range, item));
        Ok(())
    }

    /// The stretch that begins at `base`.
    pub(super) fn get(&self, base: PhysAddr) -> Result<&(PhysRange, T), MapError> {
        self.find(base).filter(|(range, _)| range.first() == base).ok_or(MapError::NotFound { base })
    }

    /// Takes out the stretch that begins at `base`.
    pub(super) fn remove(&mut self, base: PhysAddr) -> Result<(PhysRange, T), MapError> {
        self.get(base)?;
        Ok(self.items.remove(self.position(base)))
    }

    pub(super) fn iter(&self) -> core::slice::Iter<'_, (PhysRange, T)> {
        self.items.iter()
    }
}
