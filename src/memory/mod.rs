//! Guest-physical memory: what lies behind a translated address.
//!
//! [`PhysMemory`] is all that the rest of the crate knows of it. Accesses arrive with final physical addresses and
//! leave as values or as a [`BusError`]; nothing here knows of pages, rights or faults. Every method takes `&self`,
//! so one memory serves any number of harts; a memory shared between threads is `Sync`.

use crate::access::Width;
use crate::addr::PhysAddr;

/// Why the bus refused an access; carries the physical address that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// Nothing answers there (or the access runs past the end of what does).
    #[error("no memory or device answers at physical address {pa:#x}")]
    Unmapped {
        /// First byte of the refused access.
        pa: PhysAddr,
    },
    /// A store to read-only memory.
    #[error("physical address {pa:#x} is read-only")]
    ReadOnly {
        /// First byte of the refused access.
        pa: PhysAddr,
    },
    /// A device that does not take accesses of this width or alignment, or a page-table access to a device.
    #[error("the device at physical address {pa:#x} does not take a {bytes}-byte access")]
    Width {
        /// First byte of the refused access.
        pa: PhysAddr,
        /// The access's length.
        bytes: u64,
    },
    /// The device answered with an error.
    #[error("the device at physical address {pa:#x} signalled an error")]
    Device {
        /// First byte of the refused access.
        pa: PhysAddr,
    },
}

/// Guest-physical memory.
///
/// Values are little-endian, zero-extended to 64 bits. An access of [`Width`] that is aligned to its width is
/// single-copy atomic; one that is not may be torn. An access that wraps past the top of the space, or that is only
/// partly backed, is refused whole.
pub trait PhysMemory {
    /// Loads `width` bytes at `pa`.
    ///
    /// # Errors
    /// [`BusError`] when nothing answers or the device refuses.
    fn read(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError>;

    /// Stores the low `width` bytes of `value` at `pa`.
    ///
    /// # Errors
    /// [`BusError`] when nothing answers, the memory is read-only or the device refuses; nothing was stored.
    fn write(&self, pa: PhysAddr, width: Width, value: u64) -> Result<(), BusError>;

    /// Stores `new` if the `width` bytes at `pa` (aligned to `width`) are `current`, in one atomic step.
    /// `Ok(Err(found))` says what stood there instead.
    ///
    /// # Errors
    /// [`BusError`] as for [`write`](Self::write); devices refuse.
    fn compare_exchange(
        &self,
        pa: PhysAddr,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError>;

    /// Loads a run of bytes of RAM or ROM. Devices refuse: byte runs have no width of their own.
    ///
    /// # Errors
    /// [`BusError`] when any byte of the run is not memory; `out` is then unspecified.
    fn read_bytes(&self, pa: PhysAddr, out: &mut [u8]) -> Result<(), BusError>;

    /// Stores a run of bytes to RAM.
    ///
    /// # Errors
    /// [`BusError`] when any byte of the run is not writable memory; then nothing was stored.
    fn write_bytes(&self, pa: PhysAddr, data: &[u8]) -> Result<(), BusError>;

    /// Loads a page-table entry of `width`, aligned. Only memory holds tables: a device refuses without being touched.
    ///
    /// # Errors
    /// [`BusError`] when no RAM or ROM answers.
    fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError>;
}

impl<M: PhysMemory + ?Sized> PhysMemory for &M {
    #[inline]
    fn read(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        (**self).read(pa, width)
    }
    #[inline]
    fn write(&self, pa: PhysAddr, width: Width, value: u64) -> Result<(), BusError> {
        (**self).write(pa, width, value)
    }
    #[inline]
    fn compare_exchange(
        &self,
        pa: PhysAddr,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError> {
        (**self).compare_exchange(pa, width, current, new)
    }
    #[inline]
    fn read_bytes(&self, pa: PhysAddr, out: &mut [u8]) -> Result<(), BusError> {
        (**self).read_bytes(pa, out)
    }
    #[inline]
    fn write_bytes(&self, pa: PhysAddr, data: &[u8]) -> Result<(), BusError> {
        (**self).write_bytes(pa, data)
    }
    #[inline]
    fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        (**self).read_pte(pa, width)
    }
}
