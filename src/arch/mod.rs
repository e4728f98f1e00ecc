//! What an architecture says: its control state, how a walk becomes a translation or a fault, which rights a cached
//! translation gives to whom, and what its fences and control writes drop.
//!
//! An [`Arch`] is a small `Copy` value holding the control registers that matter to translation. It owns no memory
//! and no TLB; the [`Mmu`](crate::mmu::Mmu) asks it and acts.

pub mod aarch64;
pub mod custom;
pub mod riscv;
pub mod software;
pub mod x86;

use crate::access::{Access, AccessKind};
use crate::addr::{PhysAddr, VirtAddr};
use crate::memory::BusError;
use crate::radix::{Entries, PteRef, PteSource};
use crate::tlb::{Key, Scope, TlbEntry};

/// What kind of event a guest fault is, in words that every architecture shares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum FaultClass {
    /// Nothing is mapped there: a kernel may bring the page in.
    NotMapped,
    /// Something is mapped but this access may not be made: a kernel may copy on write.
    Protection,
    /// A table entry has a reserved encoding, or an address in it is too large.
    Malformed,
    /// The address itself is not one the mode can translate (non-canonical), or is misaligned where that matters.
    Address,
    /// Physical memory refused: a bus error or physical memory protection, on the access or on the walk.
    Physical,
    /// The second stage refused: the hypervisor's business.
    SecondStage,
}

/// A fault that the guest's own kernel (or hypervisor) is to see, with the exact architectural codes.
pub trait GuestFault: Copy + core::fmt::Debug + core::fmt::Display {
    /// The address that the architecture reports for it.
    fn va(&self) -> VirtAddr;
    /// What sort of fault it is.
    fn class(&self) -> FaultClass;
}

/// What stands where a cached translation would: how an access is to be looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// Translation is on: look up this key.
    Cached(Key),
    /// Translation is off for this access: nothing is cached, the walk yields the identity.
    Bare,
}

/// Why a walk gave no translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalkError<F> {
    /// The guest's fault.
    Fault(F),
    /// The bus refused a table entry, and the architecture has no fault for that (x86).
    Bus(BusError),
    /// Another hart changed an entry between read and update: walk again.
    Raced,
}

/// Physical memory as a walk may use it: entries are read, and accessed and dirty bits are committed.
///
/// A source that only looks (`probe`, `explain`) answers [`update`](Self::update) without storing anything.
pub trait PteMemory: PteSource<Error = BusError> {
    /// Replaces the entry at the *physical* place `at`, which reads `old`, by `new` in one atomic step.
    /// `Ok(false)` means that another hart changed it meanwhile.
    ///
    /// # Errors
    /// [`BusError`] when the entry cannot be stored to (ROM).
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<bool, BusError>;

    /// The eight bytes at `pa`, an aligned physical place of an entry, read with nobody told: for a walk that may yet be
    /// given up and made in full. `None`, which is always right, where somebody follows walks step by step (a structure
    /// cache, a recorder) or nothing answers.
    #[inline]
    fn peek(&self, pa: u64) -> Option<u64> {
        let _ = pa;
        None
    }

    /// Told that a walk was complete with so many entries peeked at.
    #[inline]
    fn peeked(&mut self, entries: u64) {
        let _ = entries;
    }
}

/// What a plain walk of two stages finds, each in a page of 4 KiB: as much of a [`TlbEntry`] as is not known before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NestedPage {
    /// First byte of the page.
    pub pa: u64,
    /// First byte of the guest-physical page.
    pub gpa: u64,
    /// [`TlbEntry::rights`].
    pub rights: u64,
    /// [`TlbEntry::attr`].
    pub attr: u16,
    /// [`TlbEntry::global`].
    pub global: bool,
}

impl NestedPage {
    /// What there is to know of `entry`.
    #[inline(always)]
    pub(crate) fn of(entry: &TlbEntry) -> Self {
        let &TlbEntry { pa, gpa, rights, attr, global, .. } = entry;
        Self { pa, gpa, rights, attr, global }
    }

    /// The page as what a lookup of `key` should have found.
    #[inline(always)]
    pub(crate) fn entry(&self, key: &Key) -> TlbEntry {
        let &Self { pa, gpa, rights, attr, global } = self;
        TlbEntry {
            va: key.va & !0xfff,
            pa,
            gpa,
            rights,
            space: key.space,
            global,
            size_bits: 12,
            leaf_bits: 12,
            leaf2_bits: 12,
            level: 0,
            attr,
        }
    }
}

/// Tables in physical memory, for a straight walk.
struct Peeking<'a, P>(&'a P);

impl<P> Clone for Peeking<'_, P> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Peeking<'_, P> {}

impl<P: PteMemory> Entries for Peeking<'_, P> {
    #[inline(always)]
    fn read(self, at: u64) -> Option<u64> {
        self.0.peek(at)
    }
}

/// An architecture's address translation, with its control state.
pub trait Arch: Copy {
    /// Its faults.
    type Fault: GuestFault;
    /// What distinguishes an access beyond its kind; the default is the ordinary load, store or fetch.
    type Flavor: Copy + Default + Eq + core::fmt::Debug;
    /// All of the control state that decides where an access of some kind looks and what rights it has. Two equal
    /// contexts give every access the same outcome for the same cached translation.
    type Context: Copy + Eq;
    /// A change of control state: one variant per register or privilege change.
    type Control: Copy;
    /// A fence instruction with its operands.
    type Fence: Copy;
    /// The memory type that a translation yields.
    type MemoryType: Copy + core::fmt::Debug + Eq;

    /// The context of an access of `kind` and `flavor` under the present control state.
    fn context(&self, kind: AccessKind, flavor: Self::Flavor) -> Self::Context;

    /// The context of the part of an access that lies beyond the page where the access begins.
    #[inline]
    fn upper_part(&self, context: &Self::Context) -> Self::Context {
        *context
    }

    /// How `access` is looked up, or the fault that comes before any lookup (non-canonical address, misaligned
    /// atomic).
    ///
    /// # Errors
    /// That fault.
    fn lookup(&self, context: &Self::Context, access: &Access<Self::Flavor>) -> Result<Lookup, Self::Fault>;

    /// What [`lookup`](Self::lookup) says of an ordinary, translated access; `None` leaves it to `lookup`. It is there
    /// for speed, as [`walk_plain`](Self::walk_plain) is.
    #[inline(always)]
    fn lookup_plain(&self, context: &Self::Context, access: &Access<Self::Flavor>) -> Option<Key> {
        match self.lookup(context, access) {
            Ok(Lookup::Cached(key)) => Some(key),
            _ => None,
        }
    }

    /// Whether a cached translation serves `access` as it stands: the rights suffice and no accessed or dirty bit is
    /// due. Where not, the `Mmu` walks again, and the walk decides.
    fn permits(&self, context: &Self::Context, access: &Access<Self::Flavor>, entry: &TlbEntry) -> bool;

    /// Walks for `access`: finds the leaf, checks its rights, commits accessed and dirty bits in the architecture's
    /// order, and yields what the TLB may keep.
    ///
    /// # Errors
    /// The fault in the architecture's priority; a bus error where it has none; a lost race.
    fn walk<P: PteMemory>(
        &self,
        context: &Self::Context,
        access: &Access<Self::Flavor>,
        memory: &mut P,
    ) -> Result<TlbEntry, WalkError<Self::Fault>>;

    /// What [`walk`](Self::walk) would yield, where it would end well and do nothing but read, of what `memory` lets be
    /// [peeked](PteMemory::peek) at. `None` leaves everything to `walk`, which is always right, and so the default.
    ///
    /// It is there for speed: small enough to be inlined into the access itself.
    #[inline(always)]
    fn walk_plain<P: PteMemory>(
        &self,
        context: &Self::Context,
        access: &Access<Self::Flavor>,
        memory: &mut P,
    ) -> Option<TlbEntry> {
        let _ = (context, access, memory);
        None
    }

    /// Likewise for walks that are too long to be inlined, those of two stages, where they find a page of 4 KiB.
    #[inline]
    fn walk_plain_nested<P: PteMemory>(
        &self,
        context: &Self::Context,
        access: &Access<Self::Flavor>,
        memory: &mut P,
    ) -> Option<NestedPage> {
        let _ = (context, access, memory);
        None
    }

    /// Checks the translated physical bytes `pa..pa + len` (physical memory protection), each time they are reached.
    /// Asked with a whole page, it answers whether the page may be reached at every byte.
    ///
    /// # Errors
    /// The architecture's fault for `access`.
    #[inline]
    fn check_physical(
        &self,
        context: &Self::Context,
        access: &Access<Self::Flavor>,
        pa: PhysAddr,
        len: u64,
    ) -> Result<(), Self::Fault> {
        let _ = (context, access, pa, len);
        Ok(())
    }

    /// The fault that the architecture makes of a bus error on the translated access; `None` where it has none and
    /// the embedder is told of the bus error itself.
    fn bus_fault(
        &self,
        context: &Self::Context,
        access: &Access<Self::Flavor>,
        error: BusError,
    ) -> Option<Self::Fault>;

    /// Carries out a control change and says, through `drop`, which cached translations the architecture drops with
    /// it. A change that faults (a bad PDPTE) changes nothing and drops nothing.
    ///
    /// # Errors
    /// The fault that the register write raises.
    fn control<P: PteMemory>(
        &mut self,
        change: Self::Control,
        memory: &mut P,
        drop: &mut dyn FnMut(Scope),
    ) -> Result<(), WalkError<Self::Fault>>;

    /// What a fence instruction drops, told through `drop`.
    fn fence(&self, fence: Self::Fence, drop: &mut dyn FnMut(Scope));

    /// The memory type of a translation.
    fn memory_type(&self, entry: &TlbEntry) -> Self::MemoryType;
}
