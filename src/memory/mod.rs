//! Guest-physical memory: what lies behind a translated address.
//!
//! [`PhysMemory`] is all that the rest of the crate knows of it. Accesses arrive with final physical addresses and
//! leave as values or as a [`BusError`]; nothing here knows of pages, rights or faults. Every method takes `&self`,
//! so one memory serves any number of harts; a memory shared between threads is `Sync`.

//!
//! [`Ram`] is memory that serves as it is; a [`Bus`] joins RAM, ROM and [`Device`]s into one physical space. Both
//! lend the crate's access filter their bytes as [`HostPage`]s, through any memory of yours that stands between.

mod bus;
mod device;
mod ram;
mod range;

pub use bus::{Bus, Holes, MapError, Region, Reserved, Target};
pub use device::{Device, DeviceError};
pub(crate) use ram::{Counts, MAX_CONTEXT, Through, Windows};
pub use ram::{HOST_PAGE, HitLayout, HostPage, Ram, RamError, Value};
pub use range::PhysRange;

use crate::access::Width;
use crate::addr::PhysAddr;
use core::sync::atomic::{AtomicU64, Ordering};

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
    /// A device that does not take accesses of this width, alignment or kind (page-table entries, atomics, byte
    /// runs), or a misaligned atomic.
    #[error("physical address {pa:#x} does not take this {bytes}-byte access")]
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
    /// The host has no memory left for a page of RAM that was never touched before.
    #[error("the host has no memory for the RAM at physical address {pa:#x}")]
    HostMemory {
        /// First byte of the refused access.
        pa: PhysAddr,
    },
}

/// What a borrowed host page or a checked run is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HostAccess {
    /// Loads only.
    Read,
    /// Loads and stores.
    Write,
}

/// Guest-physical memory.
///
/// Values are little-endian, zero-extended to 64 bits. An access of [`Width`] that is aligned to its width is
/// single-copy atomic; one that is not may be torn. An access that wraps past the top of the space, or that is only
/// partly backed, is refused whole.
///
/// Written in safe code by anyone; the methods with a body may be left alone:
///
/// ```
/// use core::cell::RefCell;
/// use softmmu::access::Width;
/// use softmmu::addr::PhysAddr;
/// use softmmu::memory::{BusError, PhysMemory};
///
/// /// 64 KiB of bytes for one thread.
/// struct Plain(RefCell<Vec<u8>>);
///
/// impl PhysMemory for Plain {
///     fn read(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
///         let mut bytes = [0; 8];
///         self.read_bytes(pa, &mut bytes[..width as usize])?;
///         Ok(u64::from_le_bytes(bytes))
///     }
///     fn write(&self, pa: PhysAddr, width: Width, value: u64) -> Result<(), BusError> {
///         self.write_bytes(pa, &value.to_le_bytes()[..width as usize])
///     }
///     fn compare_exchange(
///         &self, pa: PhysAddr, width: Width, current: u64, new: u64,
///     ) -> Result<Result<(), u64>, BusError> {
///         let found = self.read(pa, width)?;
///         Ok(if found == current { Ok(self.write(pa, width, new)?) } else { Err(found) })
///     }
///     fn read_bytes(&self, pa: PhysAddr, out: &mut [u8]) -> Result<(), BusError> {
///         let bytes = self.0.borrow();
///         let from = bytes.get(pa.0 as usize..).and_then(|bytes| bytes.get(..out.len()));
///         out.copy_from_slice(from.ok_or(BusError::Unmapped { pa })?);
///         Ok(())
///     }
///     fn write_bytes(&self, pa: PhysAddr, data: &[u8]) -> Result<(), BusError> {
///         let mut bytes = self.0.borrow_mut();
///         let to = bytes.get_mut(pa.0 as usize..).and_then(|bytes| bytes.get_mut(..data.len()));
///         to.ok_or(BusError::Unmapped { pa })?.copy_from_slice(data);
///         Ok(())
///     }
///     fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
///         self.read(pa, width)
///     }
/// }
///
/// let memory = Plain(RefCell::new(vec![0; 64 << 10]));
/// memory.write(PhysAddr(0x100), Width::W8, 0x0102_0304_0506_0708)?;
/// assert_eq!(memory.read(PhysAddr(0x104), Width::W2)?, 0x0304);
/// # Ok::<(), BusError>(())
/// ```
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
    /// [`BusError`] when no RAM or ROM answers, or the place is not aligned.
    fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError>;

    /// Whether the run of `len` bytes could be loaded, or stored to, as a whole, with nothing done. What is about to
    /// change two places asks for both first.
    ///
    /// The body given here can only try to read; a memory with read-only parts must say more.
    ///
    /// # Errors
    /// What [`read_bytes`](Self::read_bytes) or [`write_bytes`](Self::write_bytes) would answer.
    fn check_bytes(&self, pa: PhysAddr, len: u64, access: HostAccess) -> Result<(), BusError> {
        let _ = access;
        let mut bytes = [0; 64];
        let mut done = 0;
        while done < len {
            let part = (len - done).min(64);
            let at = pa.checked_add(done).ok_or(BusError::Unmapped { pa })?;
            self.read_bytes(at, &mut bytes[..part as usize])?;
            done += part;
        }
        Ok(())
    }

    /// The 4 KiB host page that holds `pa`, if every access to it of this kind may go straight to its bytes. A memory
    /// that holds its bytes in a [`Ram`] may pass on the RAM's answer; `None` is always right.
    #[inline]
    fn host_page(&self, pa: PhysAddr, access: HostAccess) -> Option<HostPage<'_>> {
        let _ = (pa, access);
        None
    }

    /// A number that changes whenever an earlier answer of [`host_page`](Self::host_page) would no longer be given,
    /// and that differs from that of every other memory which lends pages. An `Mmu` asks around each access that goes
    /// through the memory, so a change that one of them causes is seen by the next; of one that comes from elsewhere a
    /// hart is to be told, by [`memory_mut`](crate::mmu::Mmu::memory_mut).
    #[inline]
    fn generation(&self) -> u64 {
        0
    }
}

/// A number never given out before: no two memories, and no two states of one, share a generation.
fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A pointer to a memory is that memory.
macro_rules! forward {
    ($pointer:ty) => {
        impl<M: PhysMemory + ?Sized> PhysMemory for $pointer {
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
            #[inline]
            fn check_bytes(&self, pa: PhysAddr, len: u64, access: HostAccess) -> Result<(), BusError> {
                (**self).check_bytes(pa, len, access)
            }
            #[inline]
            fn host_page(&self, pa: PhysAddr, access: HostAccess) -> Option<HostPage<'_>> {
                (**self).host_page(pa, access)
            }
            #[inline]
            fn generation(&self) -> u64 {
                (**self).generation()
            }
        }
    };
}

forward!(&M);
forward!(alloc::sync::Arc<M>);
