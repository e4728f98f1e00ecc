//! A store in host memory.

use super::slots::Slots;
use super::{BackingStore, Slot, StoreError, StoreStats};
use crate::addr::PageSize;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Keeps pages in host memory, up to a limit. Needs no operating system.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    slots: Slots<Box<[u8]>>,
}

impl MemoryStore {
    /// A store of at most `capacity` pages of size `page`. Host memory is taken as pages are written.
    #[must_use]
    pub const fn new(page: PageSize, capacity: u64) -> Self {
        Self { slots: Slots::new(page, capacity) }
    }

    /// What went through it.
    #[must_use]
    pub const fn stats(&self) -> StoreStats {
        self.slots.stats()
    }
}

impl BackingStore for MemoryStore {
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
        self.slots.read(slot, page.len(), |kept| {
            page.copy_from_slice(kept);
            Ok(())
        })
    }

    fn write(&mut self, slot: Slot, page: &[u8]) -> Result<(), StoreError> {
        self.slots.write(slot, page.len(), || {
            let mut kept = Vec::new();
            kept.try_reserve_exact(page.len()).map_err(|_| StoreError::HostMemory { slot })?;
            kept.extend_from_slice(page);
            Ok(kept.into_boxed_slice())
        })
    }

    fn capacity(&self) -> u64 {
        self.slots.limit()
    }

    fn used(&self) -> u64 {
        self.slots.used()
    }
}
