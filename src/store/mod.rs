//! Where pages go when frames run out.
//!
//! A [`BackingStore`] keeps pages in numbered *slots*: a slot is allocated, written and read as a whole, and freed.
//! [`MemoryStore`] keeps them in host memory, `SwapFile` (with the feature `std`) in a file; [`Faulty`] wraps either
//! and fails on purpose. What a store gives back is exactly what it was given, or an error: never anything else.

mod faulty;
#[cfg(feature = "std")]
mod file;
mod memory;
mod slots;

#[cfg(test)]
mod tests;

pub use faulty::{Faulty, Operation};
#[cfg(feature = "std")]
pub use file::SwapFile;
pub use memory::MemoryStore;

use crate::addr::PageSize;

/// The name of a slot, given out by the store that holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u64);

/// Why a store could not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Every slot is in use.
    #[error("the backing store is full: all {capacity} slots are in use")]
    Full {
        /// How many slots there are.
        capacity: u64,
    },
    /// The slot is not in use.
    #[error("slot {} is not in use: freed twice, or another store's", slot.0)]
    NotAllocated {
        /// The slot named.
        slot: Slot,
    },
    /// The slot was never written (or its last write failed).
    #[error("slot {} holds nothing yet", slot.0)]
    Empty {
        /// The slot named.
        slot: Slot,
    },
    /// The page given is not as long as a slot.
    #[error("a page of {found} bytes does not fit a slot of {wanted}")]
    Length {
        /// The slot's length in bytes.
        wanted: u64,
        /// The page's.
        found: u64,
    },
    /// What stands in the slot is not what was written there.
    #[error("slot {} is damaged: checksum {found:#010x} where {wanted:#010x} was written", slot.0)]
    Damaged {
        /// The slot.
        slot: Slot,
        /// The checksum of what was written.
        wanted: u32,
        /// The checksum of what was read.
        found: u32,
    },
    /// The host has no memory for the page.
    #[error("the host has no memory for slot {}", slot.0)]
    HostMemory {
        /// The slot.
        slot: Slot,
    },
    /// The operating system refused.
    #[cfg(feature = "std")]
    #[error("could not {operation} the swap file: {source}")]
    Io {
        /// What was being done.
        operation: Operation,
        /// What the system said.
        source: std::io::Error,
    },
    /// A store of your own refused, in your own words.
    #[error("could not {operation} the store: {reason}")]
    Refused {
        /// What was being done.
        operation: Operation,
        /// Why not.
        reason: &'static str,
    },
}

/// Keeps pages outside of guest memory.
///
/// A failed operation changes nothing that another could see, with one exception: after a failed
/// [`write`](Self::write) the slot's old content may be gone. Reading it then gives the old page or an error.
///
/// A store of your own:
///
/// ```
/// use softmmu::addr::PageSize;
/// use softmmu::store::{BackingStore, Slot, StoreError};
///
/// /// Pages in a vector, as many as the host holds.
/// #[derive(Default)]
/// struct Pile(Vec<Option<Vec<u8>>>);
///
/// impl Pile {
///     fn slot(&mut self, slot: Slot) -> Result<&mut Option<Vec<u8>>, StoreError> {
///         let page = self.0.get_mut(slot.0 as usize).filter(|page| page.is_some());
///         page.ok_or(StoreError::NotAllocated { slot })
///     }
/// }
///
/// impl BackingStore for Pile {
///     fn slot_size(&self) -> PageSize {
///         PageSize::SIZE_4K
///     }
///     fn allocate(&mut self) -> Result<Slot, StoreError> {
///         self.0.push(Some(vec![0; 4096]));
///         Ok(Slot(self.0.len() as u64 - 1))
///     }
///     fn free(&mut self, slot: Slot) -> Result<(), StoreError> {
///         *self.slot(slot)? = None;
///         Ok(())
///     }
///     fn read(&mut self, slot: Slot, page: &mut [u8]) -> Result<(), StoreError> {
///         let kept = self.slot(slot)?.as_ref().ok_or(StoreError::Empty { slot })?;
///         page.copy_from_slice(kept);
///         Ok(())
///     }
///     fn write(&mut self, slot: Slot, page: &[u8]) -> Result<(), StoreError> {
///         *self.slot(slot)? = Some(page.to_vec());
///         Ok(())
///     }
///     fn capacity(&self) -> u64 {
///         u64::MAX
///     }
///     fn used(&self) -> u64 {
///         self.0.iter().flatten().count() as u64
///     }
/// }
///
/// let mut pile = Pile::default();
/// let slot = pile.allocate()?;
/// pile.write(slot, &[7; 4096])?;
/// let mut page = [0; 4096];
/// pile.read(slot, &mut page)?;
/// assert_eq!(page, [7; 4096]);
/// # Ok::<(), StoreError>(())
/// ```
pub trait BackingStore {
    /// The size of a slot: that of a page.
    fn slot_size(&self) -> PageSize;

    /// Takes a free slot. It holds nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Full`], or whatever stands in the way.
    fn allocate(&mut self) -> Result<Slot, StoreError>;

    /// Gives a slot back; its content is lost.
    ///
    /// # Errors
    /// [`StoreError::NotAllocated`].
    fn free(&mut self, slot: Slot) -> Result<(), StoreError>;

    /// Reads the page in `slot` into `page`, which is one slot long.
    ///
    /// # Errors
    /// [`StoreError`]: not in use, never written, damaged, or I/O; `page` is then unspecified.
    fn read(&mut self, slot: Slot, page: &mut [u8]) -> Result<(), StoreError>;

    /// Writes `page`, which is one slot long, to `slot`.
    ///
    /// # Errors
    /// [`StoreError`]: not in use, or I/O.
    fn write(&mut self, slot: Slot, page: &[u8]) -> Result<(), StoreError>;

    /// How many slots there can be.
    fn capacity(&self) -> u64;

    /// How many slots are in use.
    fn used(&self) -> u64;
}

impl<S: BackingStore + ?Sized> BackingStore for &mut S {
    fn slot_size(&self) -> PageSize {
        (**self).slot_size()
    }
    fn allocate(&mut self) -> Result<Slot, StoreError> {
        (**self).allocate()
    }
    fn free(&mut self, slot: Slot) -> Result<(), StoreError> {
        (**self).free(slot)
    }
    fn read(&mut self, slot: Slot, page: &mut [u8]) -> Result<(), StoreError> {
        (**self).read(slot, page)
    }
    fn write(&mut self, slot: Slot, page: &[u8]) -> Result<(), StoreError> {
        (**self).write(slot, page)
    }
    fn capacity(&self) -> u64 {
        (**self).capacity()
    }
    fn used(&self) -> u64 {
        (**self).used()
    }
}

/// What went through a store.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoreStats {
    /// Pages read back.
    pub pages_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Pages written.
    pub pages_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// The most slots that were ever in use at once.
    pub peak_slots: u64,
}
