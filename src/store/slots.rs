//! Which slots are in use, and what each holds: the part that every store shares.

use super::{Slot, StoreError, StoreStats};
use crate::addr::PageSize;
use alloc::vec::Vec;

/// What is known of one slot.
#[derive(Clone, Debug)]
enum State<T> {
    Free,
    /// In use, never written.
    Empty,
    Full(T),
}

/// Slots `0..limit`, of which those ever used are listed. `T` is what the store remembers of a written page.
#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    page: PageSize,
    states: Vec<State<T>>,
    /// Free slots among those listed; the one freed last is used first.
    free: Vec<u64>,
    limit: u64,
    stats: StoreStats,
}

impl<T> Slots<T> {
    pub(super) const fn new(page: PageSize, limit: u64) -> Self {
        let stats =
            StoreStats { pages_read: 0, bytes_read: 0, pages_written: 0, bytes_written: 0, peak_slots: 0 };
        Self { page, states: Vec::new(), free: Vec::new(), limit, stats }
    }

    pub(super) const fn page(&self) -> PageSize {
        self.page
    }

    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) const fn stats(&self) -> StoreStats {
        self.stats
    }

    pub(super) fn used(&self) -> u64 {
        (self.states.len() - self.free.len()) as u64
    }

    pub(super) fn allocate(&mut self) -> Result<Slot, StoreError> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if (self.states.len() as u64) < self.limit => {
                let slot = self.states.len() as u64;
                self.states.try_reserve(1).map_err(|_| StoreError::HostMemory { slot: Slot(slot) })?;
                self.states.push(State::Free);
                slot
            }
            None => return Err(StoreError::Full { capacity: self.limit }),
        };
        *self.state(Slot(slot))? = State::Empty;
        self.stats.peak_slots = self.stats.peak_slots.max(self.used());
        Ok(Slot(slot))
    }

    pub(super) fn free(&mut self, slot: Slot) -> Result<(), StoreError> {
        // The list never grows beyond the slots listed.
        self.in_use(slot)?;
        self.free.try_reserve(1).map_err(|_| StoreError::HostMemory { slot })?;
        *self.state(slot)? = State::Free;
        self.free.push(slot.0);
        Ok(())
    }

    fn state(&mut self, slot: Slot) -> Result<&mut State<T>, StoreError> {
        let index = usize::try_from(slot.0).ok();
        index.and_then(|index| self.states.get_mut(index)).ok_or(StoreError::NotAllocated { slot })
    }

    fn in_use(&mut self, slot: Slot) -> Result<&mut State<T>, StoreError> {
        match self.state(slot)? {
            State::Free => Err(StoreError::NotAllocated { slot }),
            state => Ok(state),
        }
    }

    fn check_length(&self, len: usize) -> Result<(), StoreError> {
        let (wanted, found) = (self.page.bytes(), len as u64);
        if wanted == found { Ok(()) } else { Err(StoreError::Length { wanted, found }) }
    }

    /// Reads a page of `len` bytes through `get`, and counts it.
    pub(super) fn read(
        &mut self,
        slot: Slot,
        len: usize,
        get: impl FnOnce(&T) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.check_length(len)?;
        match self.in_use(slot)? {
            State::Full(kept) => get(kept)?,
            _ => return Err(StoreError::Empty { slot }),
        }
        self.stats.pages_read += 1;
        self.stats.bytes_read += len as u64;
        Ok(())
    }

    /// Writes a page of `len` bytes through `put`, keeps what that says to remember, and counts it. If `put` fails,
    /// what the slot held is not trusted any more.
    pub(super) fn write(
        &mut self,
        slot: Slot,
        len: usize,
        put: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<(), StoreError> {
        self.check_length(len)?;
        let state = self.in_use(slot)?;
        *state = State::Empty;
        *state = State::Full(put()?);
        self.stats.pages_written += 1;
        self.stats.bytes_written += len as u64;
        Ok(())
    }
}
