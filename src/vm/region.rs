//! What a space promises: regions of pages with the same rights and the same origin.

use super::{SharedMemory, VmError};
use crate::addr::{PhysAddr, VirtAddr};
use crate::radix::Perms;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// Bytes that pages can be filled from: a file, a segment of a program.
///
/// It must give the same bytes each time: a page that was never written to is dropped and read again.
pub trait Source {
    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Whatever went wrong; the access that needed the page fails with it.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Box<dyn core::error::Error + Send + Sync>>;
}

/// Bytes in host memory. What lies past their end reads as zero.
impl<B: AsRef<[u8]>> Source for B {
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Box<dyn core::error::Error + Send + Sync>> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.as_ref().get(offset..).unwrap_or_default();
        let len = rest.len().min(out.len());
        let (from_source, beyond) = out.split_at_mut(len);
        from_source.copy_from_slice(&rest[..len]);
        beyond.fill(0);
        Ok(())
    }
}

/// Where a region's pages come from when they are touched for the first time.
#[derive(Clone)]
pub enum Backing {
    /// Zeros.
    Zero,
    /// A source's bytes, with zeros around them.
    Source {
        /// The source.
        source: Arc<dyn Source + Send + Sync>,
        /// Where its bytes begin to be used.
        offset: u64,
        /// The address at which the byte at `offset` appears.
        at: VirtAddr,
        /// How many bytes of it appear.
        len: u64,
    },
    /// Physical addresses that are not frames: a device, or memory shared with one. Never put out, and shared, not
    /// copied, by a fork.
    Device {
        /// The physical address that appears at `at`.
        pa: PhysAddr,
        /// A page's first address.
        at: VirtAddr,
    },
    /// Zeros at first, and then what any space stores that shows the same memory. Shared, not copied, by a fork.
    Shared {
        /// The memory.
        memory: SharedMemory,
        /// Which byte of it appears at `at`: a page's first.
        offset: u64,
        /// A page's first address.
        at: VirtAddr,
    },
    /// Nothing: every access is refused.
    Guard,
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("Zero"),
            Self::Source { offset, at, len, .. } => {
                write!(f, "Source {{ offset: {offset:#x}, at: {at:#x}, len: {len:#x} }}")
            }
            Self::Device { pa, at } => write!(f, "Device {{ pa: {pa:#x}, at: {at:#x} }}"),
            Self::Shared { offset, at, .. } => write!(f, "Shared {{ offset: {offset:#x}, at: {at:#x} }}"),
            Self::Guard => f.write_str("Guard"),
        }
    }
}

/// A run of whole pages in an address space.
#[derive(Clone, Debug)]
pub struct Region {
    /// First address.
    pub va: VirtAddr,
    /// Length in bytes.
    pub len: u64,
    /// What may be done there: [`READ`](Perms::READ), [`WRITE`](Perms::WRITE), [`EXECUTE`](Perms::EXECUTE),
    /// [`USER`](Perms::USER), [`GLOBAL`](Perms::GLOBAL); for a device also [`DEVICE`](Perms::DEVICE).
    pub perms: Perms,
    /// Where its pages come from.
    pub backing: Backing,
}

impl Region {
    /// Memory that begins as zeros.
    #[must_use]
    pub const fn anonymous(va: VirtAddr, len: u64, perms: Perms) -> Self {
        Self { va, len, perms, backing: Backing::Zero }
    }

    /// Private memory that begins as the bytes of `source` from its start; zeros follow them.
    #[must_use]
    pub fn from_source(va: VirtAddr, len: u64, perms: Perms, source: Arc<dyn Source + Send + Sync>) -> Self {
        Self { va, len, perms, backing: Backing::Source { source, offset: 0, at: va, len } }
    }

    /// Device memory at `pa`.
    #[must_use]
    pub const fn device(va: VirtAddr, len: u64, perms: Perms, pa: PhysAddr) -> Self {
        Self { va, len, perms, backing: Backing::Device { pa, at: va } }
    }

    /// `memory` from byte `offset` on, which must be a page's first.
    #[must_use]
    pub fn shared(va: VirtAddr, len: u64, perms: Perms, memory: &SharedMemory, offset: u64) -> Self {
        Self { va, len, perms, backing: Backing::Shared { memory: memory.clone(), offset, at: va } }
    }

    /// A hole that stays one.
    #[must_use]
    pub const fn guard(va: VirtAddr, len: u64) -> Self {
        Self { va, len, perms: Perms::empty(), backing: Backing::Guard }
    }

    /// Last address.
    #[must_use]
    pub const fn last(&self) -> VirtAddr {
        VirtAddr(self.va.0.wrapping_add(self.len.wrapping_sub(1)))
    }

    /// The part of the region in `first..=last`.
    fn part(&self, first: u64, last: u64) -> Option<Self> {
        let (first, last) = (first.max(self.va.0), last.min(self.last().0));
        // Backings say where they appear by address, so a part needs no other change.
        (first <= last).then(|| Self { va: VirtAddr(first), len: last - first + 1, ..self.clone() })
    }

    /// Fills `page`, whose first address is `va`, with what the region begins as.
    pub(super) fn fill(&self, va: VirtAddr, page: &mut [u8]) -> Result<(), VmError> {
        page.fill(0);
        let Backing::Source { source, offset, at, len } = &self.backing else {
            return Ok(());
        };
        // Where the source's bytes begin, seen from the page and from the source.
        let (skip, from) = match va.0.checked_sub(at.0) {
            Some(from) => (0, from),
            None => (at.0 - va.0, 0),
        };
        let room = (page.len() as u64).saturating_sub(skip);
        let count = len.saturating_sub(from).min(room);
        if count == 0 {
            return Ok(());
        }
        let target = page.get_mut(skip as usize..(skip + count) as usize).unwrap_or_default();
        source.read(offset.saturating_add(from), target).map_err(|error| VmError::Source { va, error })
    }
}

/// The regions of one space, by first address; none share a byte.
#[derive(Clone, Debug, Default)]
pub(super) struct Regions {
    map: BTreeMap<u64, Region>,
}

impl Regions {
    /// The region that holds `va`.
    pub(super) fn find(&self, va: VirtAddr) -> Option<&Region> {
        self.map.range(..=va.0).next_back().map(|(_, region)| region).filter(|region| region.last() >= va)
    }

    /// The lowest region with a byte in `first..=last`.
    pub(super) fn conflict(&self, first: u64, last: u64) -> Option<&Region> {
        self.find(VirtAddr(first)).or_else(|| self.map.range(first..=last).next().map(|(_, region)| region))
    }

    pub(super) fn insert(&mut self, region: Region) {
        self.map.insert(region.va.0, region);
    }

    /// Takes out everything in `first..=last`; what sticks out stays. Returns the parts taken.
    pub(super) fn carve(&mut self, first: u64, last: u64) -> Vec<Region> {
        let mut taken = Vec::new();
        while let Some(region) = self.conflict(first, last).cloned() {
            self.map.remove(&region.va.0);
            if let Some(before) = first.checked_sub(1).and_then(|end| region.part(region.va.0, end)) {
                self.insert(before);
            }
            if let Some(after) = last.checked_add(1).and_then(|start| region.part(start, region.last().0)) {
                self.insert(after);
            }
            taken.extend(region.part(first, last));
        }
        taken
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Region> {
        self.map.values()
    }
}
