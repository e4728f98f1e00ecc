//! A store in a file.
//!
//! Slot `n` is the file's bytes `n * page..(n + 1) * page`. The file holds pages and nothing else; which slots are in
//! use and the checksum of each stay in memory, so a page that the disk changed, lost or put elsewhere is found out
//! when it is read.

use super::slots::Slots;
use super::{BackingStore, Operation, Slot, StoreError, StoreStats};
use crate::addr::PageSize;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Keeps pages in a swap file, up to a size limit.
///
/// ```
/// use softmmu::addr::PageSize;
/// use softmmu::store::{BackingStore, StoreError, SwapFile};
///
/// let mut swap = SwapFile::new(tempfile::tempfile()?, PageSize::SIZE_4K, 8192);
/// let (a, b) = (swap.allocate()?, swap.allocate()?);
/// swap.write(b, &[1; 4096])?;
/// assert!(matches!(swap.allocate(), Err(StoreError::Full { capacity: 2 })));
/// swap.free(a)?;
/// assert_eq!(swap.allocate()?, a);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SwapFile {
    file: File,
    slots: Slots<u32>,
}

impl SwapFile {
    /// Swaps to `file`, opened for reading and writing and used by nobody else. It grows as slots are written, to at
    /// most `limit` bytes (rounded down to whole pages). What stands in it is overwritten.
    #[must_use]
    pub fn new(file: File, page: PageSize, limit: u64) -> Self {
        Self { file, slots: Slots::new(page, limit >> page.bits()) }
    }

    /// Swaps to a file at `path`, created or emptied first. It is not removed afterwards.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: impl AsRef<Path>, page: PageSize, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self::new(file, page, limit))
    }

    /// What went through it.
    #[must_use]
    pub const fn stats(&self) -> StoreStats {
        self.slots.stats()
    }
}

/// Also covers the slot's number: a page of another slot is as wrong as a changed one.
fn checksum(slot: Slot, page: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&slot.0.to_le_bytes());
    hasher.update(page);
    hasher.finalize()
}

#[cfg(unix)]
fn read_at(file: &File, page: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, page, offset)
}

#[cfg(unix)]
fn write_at(file: &File, page: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, page, offset)
}

// Elsewhere the file's own position serves: the store is its only user.
#[cfg(not(unix))]
fn read_at(mut file: &File, page: &mut [u8], offset: u64) -> io::Result<()> {
    use io::{Read, Seek};
    file.seek(io::SeekFrom::Start(offset))?;
    file.read_exact(page)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, page: &[u8], offset: u64) -> io::Result<()> {
    use io::{Seek, Write};
    file.seek(io::SeekFrom::Start(offset))?;
    file.write_all(page)
}

impl BackingStore for SwapFile {
    fn slot_size(&self) -> PageSize {
        self.slots.page()
    }

    fn allocate(&mut self) -> Result<Slot, StoreError> {
        self.slots.allocate()
    }

    fn free(&mut self, slot: Slot) -> Result<(), StoreError> {
        self.slots.free(slot)
    }

    fn read(&mut self, slot: Slot, page: &mut [u8]) -> Result<(), StoreError> {
        // The limit was given in bytes, so no slot's offset is beyond 64 bits.
        let offset = slot.0 << self.slots.page().bits();
        let file = &self.file;
        self.slots.read(slot, page.len(), |&wanted| {
            read_at(file, page, offset)
                .map_err(|source| StoreError::Io { operation: Operation::Read, source })?;
            let found = checksum(slot, page);
            if found == wanted { Ok(()) } else { Err(StoreError::Damaged { slot, wanted, found }) }
        })
    }

    fn write(&mut self, slot: Slot, page: &[u8]) -> Result<(), StoreError> {
        let offset = slot.0 << self.slots.page().bits();
        let file = &self.file;
        self.slots.write(slot, page.len(), || {
            write_at(file, page, offset)
                .map_err(|source| StoreError::Io { operation: Operation::Write, source })?;
            Ok(checksum(slot, page))
        })
    }

    fn capacity(&self) -> u64 {
        self.slots.limit()
    }

    fn used(&self) -> u64 {
        self.slots.used()
    }
}
