//! Memory as walks see it: one source that commits accessed and dirty bits, and one that cannot.

use crate::access::Width;
use crate::addr::PhysAddr;
use crate::arch::PteMemory;
use crate::memory::{BusError, PhysMemory};
use crate::radix::{Leaf, PteRef, PteSource, Stage, Subtable};
use crate::tlb::{Space, Tlb};
use alloc::vec::Vec;

/// Memory as an access's own walk uses it: bits are committed, structure caches consulted, reads counted.
pub(super) struct Committing<'a, M, T> {
    pub(super) memory: &'a M,
    pub(super) tlb: &'a mut T,
    pub(super) space: Space,
    /// Counts entries read.
    pub(super) reads: &'a mut u64,
    /// Whether structure caches may answer, and whether one did.
    pub(super) shortcuts: bool,
    pub(super) shortened: bool,
}

impl<'a, M, T> Committing<'a, M, T> {
    #[inline(always)]
    pub(super) fn new(memory: &'a M, tlb: &'a mut T, space: Space, reads: &'a mut u64) -> Self {
        Self { memory, tlb, space, reads, shortcuts: true, shortened: false }
    }
}

impl<M: PhysMemory, T: Tlb> PteSource for Committing<'_, M, T> {
    type Error = BusError;

    #[inline]
    fn read(&mut self, at: PteRef) -> Result<u64, BusError> {
        *self.reads += 1;
        read(self.memory, at)
    }

    #[inline]
    fn resume(&mut self, stage: Stage, va: u64) -> Option<Subtable> {
        let found = if self.shortcuts { self.tlb.walk_resume(self.space, stage, va) } else { None };
        self.shortened |= found.is_some();
        found
    }

    #[inline]
    fn descended(&mut self, stage: Stage, va: u64, table: Subtable) {
        self.tlb.walk_descended(self.space, stage, va, table);
    }

    #[inline]
    fn recall(&mut self, stage: Stage, va: u64) -> Option<Leaf> {
        let found = if self.shortcuts { self.tlb.walk_recall(self.space, stage, va) } else { None };
        self.shortened |= found.is_some();
        found
    }

    #[inline]
    fn reached(&mut self, stage: Stage, va: u64, leaf: &Leaf) {
        self.tlb.walk_reached(self.space, stage, va, leaf);
    }
}

impl<M: PhysMemory, T: Tlb> PteMemory for Committing<'_, M, T> {
    #[inline]
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<bool, BusError> {
        let pa = PhysAddr(at.addr);
        let done = self.memory.compare_exchange(pa, width(at), old, new)?.is_ok();
        if done {
            self.tlb.walk_updated(at, new);
        }
        Ok(done)
    }

    #[inline(always)]
    fn peek(&self, pa: u64) -> Option<u64> {
        if self.tlb.follows_walks() {
            return None;
        }
        self.memory.read_pte(PhysAddr(pa), Width::W8).ok()
    }

    #[inline(always)]
    fn peeked(&mut self, entries: u64) {
        *self.reads += entries;
    }
}

/// Memory as `probe` and `explain` use it: an update succeeds and stores nothing; every read can be kept.
pub(super) struct Looking<'a, M, S> {
    pub(super) memory: &'a M,
    pub(super) steps: &'a mut S,
}

/// One step of a walk, as [`Mmu::explain`](super::Mmu::explain) tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The entry's place; its address is physical, also for a first-stage table behind a second stage.
    pub at: PteRef,
    /// Its raw value, or why it could not be read.
    pub read: Result<u64, BusError>,
    /// The value that the walk stores there (accessed and dirty bits), if it does.
    pub update: Option<u64>,
}

/// Where steps go. The empty type keeps none.
pub(super) trait Steps {
    fn read(&mut self, at: PteRef, read: Result<u64, BusError>);
    fn update(&mut self, at: PteRef, old: u64, new: u64);
}

impl Steps for () {
    #[inline]
    fn read(&mut self, _at: PteRef, _read: Result<u64, BusError>) {}
    #[inline]
    fn update(&mut self, _at: PteRef, _old: u64, _new: u64) {}
}

impl Steps for Vec<Step> {
    fn read(&mut self, at: PteRef, read: Result<u64, BusError>) {
        self.push(Step { at, read, update: None });
    }

    fn update(&mut self, at: PteRef, _old: u64, new: u64) {
        if let Some(step) = self.iter_mut().rev().find(|step| step.at.addr == at.addr) {
            step.update = Some(new);
        }
    }
}

impl<M: PhysMemory, S: Steps> PteSource for Looking<'_, M, S> {
    type Error = BusError;

    #[inline]
    fn read(&mut self, at: PteRef) -> Result<u64, BusError> {
        let read = read(self.memory, at);
        self.steps.read(at, read);
        read
    }
}

impl<M: PhysMemory, S: Steps> PteMemory for Looking<'_, M, S> {
    #[inline]
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<bool, BusError> {
        self.steps.update(at, old, new);
        Ok(true)
    }
}

#[inline]
fn read<M: PhysMemory>(memory: &M, at: PteRef) -> Result<u64, BusError> {
    memory.read_pte(PhysAddr(at.addr), width(at))
}

/// The bus width of an entry; a format that claims an impossible one is read as 8 bytes.
#[inline(always)]
fn width(at: PteRef) -> Width {
    Width::from_bytes(at.bytes).unwrap_or(Width::W8)
}
