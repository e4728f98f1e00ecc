//! RAM: the guest's bytes, in host memory that costs only what is touched.
//!
//! This is the one module of the crate that holds `unsafe` code, because its bytes are shared by threads and found by
//! pointer. [`Ram`] checks an access against its range and turns the address into an offset; the mapping turns the
//! offset into a host pointer (`reserved` on Unix, `chunked` elsewhere); `cells` does the atomic access. A
//! [`HostPage`] is how the MMU's filter borrows a page to skip all of this.
#![expect(unsafe_code, reason = "host pointers and bytes shared by threads; see the module's documentation")]

mod cells;
mod host_page;
mod windows;

#[cfg(not(all(feature = "std", unix, not(miri))))]
mod chunked;
#[cfg(all(feature = "std", unix, not(miri)))]
mod reserved;

#[cfg(test)]
mod tests;

#[cfg(not(all(feature = "std", unix, not(miri))))]
use chunked::Mapping;
#[cfg(all(feature = "std", unix, not(miri)))]
use reserved::Mapping;

pub use host_page::HostPage;
pub(crate) use windows::{Counts, MAX_CONTEXT, Through, Windows};
pub use windows::{HitLayout, Value};

use super::{BusError, HostAccess, PhysMemory, PhysRange, unique};
use crate::access::Width;
use crate::addr::PhysAddr;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::Ordering;

/// The unit in which RAM is made and lent: 4 KiB.
pub const HOST_PAGE: usize = 4096;

/// Why a RAM could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RamError {
    /// No bytes at all.
    #[error("RAM at {base:#x} has no bytes")]
    Empty {
        /// Where it was to begin.
        base: PhysAddr,
    },
    /// Base or size is not a multiple of 4 KiB.
    #[error("RAM at {base:#x} of {size:#x} bytes is not made of whole 4 KiB pages")]
    Misaligned {
        /// Where it was to begin.
        base: PhysAddr,
        /// How many bytes it was to have.
        size: u64,
    },
    /// The last byte would lie past the top of the physical space.
    #[error("RAM at {base:#x} of {size:#x} bytes runs past the top of the physical space")]
    Wraps {
        /// Where it was to begin.
        base: PhysAddr,
        /// How many bytes it was to have.
        size: u64,
    },
    /// The host has no room for it in its address space.
    #[error("the host cannot hold {size:#x} bytes of RAM")]
    HostRefused {
        /// How many bytes it was to have.
        size: u64,
    },
}

/// A range of guest RAM. Zero at first; a page that was never stored to costs the host nothing.
///
/// It is a handle: clones share the bytes, and so do all threads that hold one. Aligned accesses are single-copy
/// atomic (see [`PhysMemory`]).
///
/// ```
/// use softmmu::access::Width;
/// use softmmu::addr::PhysAddr;
/// use softmmu::memory::{PhysMemory, Ram};
///
/// let ram = Ram::new(PhysAddr(0x8000_0000), 64 << 20)?;
/// ram.write(PhysAddr(0x8000_1000), Width::W4, 0x1234_5678)?;
/// assert_eq!(ram.read(PhysAddr(0x8000_1001), Width::W2)?, 0x3456);
/// assert!(ram.read(PhysAddr(0x83ff_fffd), Width::W4).is_err(), "one byte too far");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Ram {
    base: u64,
    /// The size, less the eight bytes of the widest access: so its bound is one compare.
    room: u64,
    /// The mapping's first byte where it has one, kept here to save the hop through `mapping`.
    start: *mut u8,
    mapping: Arc<Mapping>,
    generation: u64,
}

// SAFETY: `start` points into `mapping`, which the value keeps alive; the bytes are touched by atomics only, and the
// mapping's own bookkeeping is atomic or never changes.
unsafe impl Send for Ram {}
// SAFETY: as above.
unsafe impl Sync for Ram {}

impl Ram {
    /// RAM of `size` bytes from `base`, both multiples of 4 KiB, all zero.
    ///
    /// # Errors
    /// [`RamError`]: no bytes, not whole pages, past the top of the space, or more than the host can hold.
    pub fn new(base: PhysAddr, size: u64) -> Result<Self, RamError> {
        if size == 0 {
            return Err(RamError::Empty { base });
        }
        if (base.0 | size) % HOST_PAGE as u64 != 0 {
            return Err(RamError::Misaligned { base, size });
        }
        if PhysRange::new(base, size).is_none() {
            return Err(RamError::Wraps { base, size });
        }
        let mapping = Arc::new(Mapping::new(size)?);
        Ok(Self { base: base.0, room: size - 8, start: mapping.start(), mapping, generation: unique() })
    }

    /// First address.
    #[inline]
    #[must_use]
    pub fn base(&self) -> PhysAddr {
        PhysAddr(self.base)
    }

    /// Size in bytes.
    #[inline]
    #[must_use]
    pub fn size(&self) -> u64 {
        self.room + 8
    }

    /// The addresses it answers to.
    #[must_use]
    pub fn range(&self) -> PhysRange {
        PhysRange::inclusive(self.base, self.base + (self.size() - 1))
    }

    /// The same bytes seen at another address.
    ///
    /// # Errors
    /// [`RamError::Misaligned`] or [`RamError::Wraps`].
    pub fn at(&self, base: PhysAddr) -> Result<Self, RamError> {
        let size = self.size();
        if base.0 % HOST_PAGE as u64 != 0 {
            return Err(RamError::Misaligned { base, size });
        }
        if PhysRange::new(base, size).is_none() {
            return Err(RamError::Wraps { base, size });
        }
        Ok(Self { base: base.0, generation: unique(), ..self.clone() })
    }

    /// Whether all of the `len` bytes at `pa`, at most a page of them, exist.
    #[inline]
    pub(in crate::memory) fn holds(&self, pa: PhysAddr, len: u64) -> bool {
        self.offset(pa, len).is_some()
    }

    /// Where `len` bytes (at most a host page) at `pa` begin, if they all exist.
    #[inline]
    fn offset(&self, pa: PhysAddr, len: u64) -> Option<usize> {
        let offset = pa.0.wrapping_sub(self.base);
        // Not past the last place where so many bytes fit; a RAM is at least a page, so no difference wraps.
        let last = if len <= 8 { self.room + (8 - len) } else { self.size() - len };
        (offset <= last).then_some(offset as usize)
    }

    /// As [`offset`](Self::offset), for runs of any length.
    fn run_offset(&self, pa: PhysAddr, len: usize) -> Option<usize> {
        let offset = pa.0.wrapping_sub(self.base);
        let left = self.size().checked_sub(offset)?;
        (len as u64 <= left).then_some(offset as usize)
    }

    /// The byte at `offset`, which is inside. `None` when the host has no memory for it.
    #[inline]
    fn touch(&self, offset: usize) -> Option<*mut u8> {
        if Mapping::CONTIGUOUS { Some(self.start.wrapping_add(offset)) } else { self.mapping.touch(offset) }
    }

    /// The byte at `offset`, which is inside. `None` where nothing was ever stored.
    #[inline]
    fn peek(&self, offset: usize) -> Option<*mut u8> {
        if Mapping::CONTIGUOUS { Some(self.start.wrapping_add(offset)) } else { self.mapping.peek(offset) }
    }

    /// What keeps the bytes alive.
    #[inline]
    fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    #[inline]
    fn load(&self, pa: PhysAddr, width: Width, ordering: Ordering) -> Result<u64, BusError> {
        let offset = self.offset(pa, width.bytes()).ok_or(BusError::Unmapped { pa })?;
        if offset as u64 & (width.bytes() - 1) != 0 {
            return Ok(self.load_torn(offset, width));
        }
        Ok(self.load_aligned(offset, width, ordering))
    }

    /// Loads at `offset`, a multiple of `width`, of which `width` bytes are inside.
    #[inline]
    fn load_aligned(&self, offset: usize, width: Width, ordering: Ordering) -> u64 {
        self.peek(offset).map_or(0, |at| {
            // SAFETY: `offset` leaves room for `width` bytes inside the mapping, which `self` keeps alive. The
            // mapping is page-aligned (chunk by chunk), so the pointer is as aligned as the offset, and an aligned
            // access cannot leave its chunk. Only `cells` touches the bytes.
            unsafe { cells::load(at, width, ordering) }
        })
    }

    #[cold]
    fn load_torn(&self, offset: usize, width: Width) -> u64 {
        (0..width as usize).rev().fold(0, |value, i| {
            // SAFETY: as in `load`; one byte of those that were checked.
            let byte = self
                .peek(offset + i)
                .map_or(0, |at| unsafe { cells::load(at, Width::W1, Ordering::Relaxed) });
            value << 8 | byte
        })
    }

    #[cold]
    fn store_torn(&self, pa: PhysAddr, offset: usize, width: Width, value: u64) -> Result<(), BusError> {
        // Both ends first: they may lie in two chunks, of which the host may refuse one.
        self.touch(offset + width as usize - 1).ok_or(BusError::HostMemory { pa })?;
        for i in 0..width as usize {
            let at = self.touch(offset + i).ok_or(BusError::HostMemory { pa })?;
            // SAFETY: as in `load`; one byte of those that were checked.
            unsafe { cells::store(at, Width::W1, value >> (8 * i)) };
        }
        Ok(())
    }

    /// The pieces of a run that lie in one host page each: offset in the mapping, range in the run.
    fn pieces(offset: usize, len: usize) -> impl Iterator<Item = (usize, core::ops::Range<usize>)> {
        // Where all bytes are in a row, the run is one piece.
        let unit = if Mapping::CONTIGUOUS { usize::MAX } else { HOST_PAGE };
        let mut done = 0;
        core::iter::from_fn(move || {
            let at = offset + done;
            let piece = (unit - at % unit).min(len - done);
            let run = done..done + piece;
            done += piece;
            (piece > 0).then_some((at, run))
        })
    }
}

impl PhysMemory for Ram {
    #[inline]
    fn read(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        self.load(pa, width, Ordering::Relaxed)
    }

    #[inline]
    fn write(&self, pa: PhysAddr, width: Width, value: u64) -> Result<(), BusError> {
        let offset = self.offset(pa, width.bytes()).ok_or(BusError::Unmapped { pa })?;
        if offset as u64 & (width.bytes() - 1) != 0 {
            return self.store_torn(pa, offset, width, value);
        }
        let at = self.touch(offset).ok_or(BusError::HostMemory { pa })?;
        // SAFETY: as in `load`.
        unsafe { cells::store(at, width, value) };
        Ok(())
    }

    #[inline]
    fn compare_exchange(
        &self,
        pa: PhysAddr,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError> {
        let offset = self.offset(pa, width.bytes()).ok_or(BusError::Unmapped { pa })?;
        if offset as u64 & (width.bytes() - 1) != 0 {
            return Err(BusError::Width { pa, bytes: width.bytes() });
        }
        let at = self.touch(offset).ok_or(BusError::HostMemory { pa })?;
        // SAFETY: as in `load`.
        Ok(unsafe { cells::compare_exchange(at, width, current, new) })
    }

    fn read_bytes(&self, pa: PhysAddr, out: &mut [u8]) -> Result<(), BusError> {
        let offset = self.run_offset(pa, out.len()).ok_or(BusError::Unmapped { pa })?;
        for (at, run) in Self::pieces(offset, out.len()) {
            match self.peek(at) {
                // SAFETY: `run_offset` keeps the run inside the mapping, `pieces` keeps a piece inside its chunk.
                Some(at) => unsafe { cells::load_run(at, &mut out[run]) },
                None => out[run].fill(0),
            }
        }
        Ok(())
    }

    fn write_bytes(&self, pa: PhysAddr, data: &[u8]) -> Result<(), BusError> {
        // A host that runs out halfway must not leave half of the run stored.
        self.check_bytes(pa, data.len() as u64, HostAccess::Write)?;
        let offset = self.run_offset(pa, data.len()).ok_or(BusError::Unmapped { pa })?;
        for (at, run) in Self::pieces(offset, data.len()) {
            let at = self.touch(at).ok_or(BusError::HostMemory { pa })?;
            // SAFETY: as in `read_bytes`.
            unsafe { cells::store_run(at, &data[run]) };
        }
        Ok(())
    }

    #[inline]
    fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        let offset = self.offset(pa, width.bytes()).ok_or(BusError::Unmapped { pa })?;
        // Aligned is what the caller promises; an entry that is not would be torn. (Asked of the address, not of the
        // offset, which is as aligned: a walk's addresses are so by their making.)
        if pa.0 & (width.bytes() - 1) != 0 {
            return Err(BusError::Width { pa, bytes: width.bytes() });
        }
        // A walk's reads are ordered by where they go: each address is made of the entry read before.
        Ok(self.load_aligned(offset, width, Ordering::Relaxed))
    }

    fn check_bytes(&self, pa: PhysAddr, len: u64, access: HostAccess) -> Result<(), BusError> {
        let unmapped = BusError::Unmapped { pa };
        let len = usize::try_from(len).map_err(|_| unmapped)?;
        let offset = self.run_offset(pa, len).ok_or(unmapped)?;
        if access == HostAccess::Write && !Mapping::CONTIGUOUS {
            for (at, _) in Self::pieces(offset, len) {
                self.touch(at).ok_or(BusError::HostMemory { pa })?;
            }
        }
        Ok(())
    }

    #[inline]
    fn host_page(&self, pa: PhysAddr, _access: HostAccess) -> Option<HostPage<'_>> {
        HostPage::of(self, pa)
    }

    #[inline]
    fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Debug for Ram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ram").field("range", &format_args!("{}", self.range())).finish_non_exhaustive()
    }
}
