//! A store that fails on purpose.

use super::{BackingStore, Slot, StoreError};
use crate::addr::PageSize;
use core::fmt;

/// What a store is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// [`BackingStore::allocate`].
    Allocate,
    /// [`BackingStore::free`].
    Free,
    /// [`BackingStore::read`].
    Read,
    /// [`BackingStore::write`].
    Write,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allocate => "allocate a slot of",
            Self::Free => "free a slot of",
            Self::Read => "read from",
            Self::Write => "write to",
        })
    }
}

/// Another store, some of whose operations fail: those for which a function of yours says so, given the operation and
/// how many came before it. For testing what stands on a store.
///
/// ```
/// use softmmu::addr::PageSize;
/// use softmmu::store::{BackingStore, Faulty, MemoryStore, Operation};
///
/// let inner = MemoryStore::new(PageSize::SIZE_4K, 8);
/// let mut store = Faulty::new(inner, |_, operation| operation == Operation::Write);
/// let slot = store.allocate()?;
/// assert!(store.write(slot, &[0; 4096]).is_err());
/// store.free(slot)?;
/// # Ok::<(), softmmu::store::StoreError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Faulty<S, P> {
    store: S,
    plan: P,
    operations: u64,
}

impl<S: BackingStore, P: FnMut(u64, Operation) -> bool> Faulty<S, P> {
    /// Wraps `store`; `plan` says which operations fail.
    pub fn new(store: S, plan: P) -> Self {
        Self { store, plan, operations: 0 }
    }

    /// How many operations there were, failed ones included.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// The store inside.
    pub fn inner(&self) -> &S {
        &self.store
    }

    fn attempt(&mut self, operation: Operation) -> Result<&mut S, StoreError> {
        let number = self.operations;
        self.operations += 1;
        if (self.plan)(number, operation) {
            return Err(StoreError::Refused { operation, reason: "the store was told to fail here" });
        }
        Ok(&mut self.store)
    }
}

impl<S: BackingStore, P: FnMut(u64, Operation) -> bool> BackingStore for Faulty<S, P> {
    fn slot_size(&self) -> PageSize {
        self.store.slot_size()
    }
    fn allocate(&mut self) -> Result<Slot, StoreError> {
        self.attempt(Operation::Allocate)?.allocate()
    }
    fn free(&mut self, slot: Slot) -> Result<(), StoreError> {
        self.attempt(Operation::Free)?.free(slot)
    }
    fn read(&mut self, slot: Slot, page: &mut [u8]) -> Result<(), StoreError> {
        self.attempt(Operation::Read)?.read(slot, page)
    }
    fn write(&mut self, slot: Slot, page: &[u8]) -> Result<(), StoreError> {
        self.attempt(Operation::Write)?.write(slot, page)
    }
    fn capacity(&self) -> u64 {
        self.store.capacity()
    }
    fn used(&self) -> u64 {
        self.store.used()
    }
}
