//! One hart's port into memory.

use crate::access::Width;
use crate::access::{Access, AccessKind};
use crate::addr::PhysAddr;
use crate::arch::{Arch, GuestFault, Lookup, PteMemory, WalkError};
use crate::memory::{BusError, PhysMemory};
use crate::radix::{PteRef, PteSource};
use crate::tlb::{Side, Tlb, TlbEntry};

/// Why an access was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccessError<F: GuestFault> {
    /// The guest's fault, to be raised in the guest or resolved by its kernel.
    #[error("{0}")]
    Fault(F),
    /// The bus refused, and the architecture has no fault for that.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Other harts kept changing the page tables under this walk, more often than any real guest does.
    #[error("page tables at {va:#x} changed under every one of {tries} walks")]
    Contended {
        /// The address.
        va: crate::addr::VirtAddr,
        /// How often it was tried.
        tries: u32,
    },
}

/// A translated access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// Where the first byte lies.
    pub pa: PhysAddr,
    /// The translation that was used.
    pub entry: TlbEntry,
}

/// One hart's MMU: an architecture's control state, a TLB and a memory.
pub struct Mmu<A: Arch, M: PhysMemory, T: Tlb = ()> {
    arch: A,
    memory: M,
    tlb: T,
}

/// How often a walk that lost a race is begun again.
const MAX_RACES: u32 = 1 << 16;

impl<A: Arch, M: PhysMemory, T: Tlb> Mmu<A, M, T> {
    /// A hart's MMU over `memory`.
    pub fn new(arch: A, memory: M, tlb: T) -> Self {
        Self { arch, memory, tlb }
    }

    /// The control state.
    pub fn arch(&self) -> &A {
        &self.arch
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Changes a control register; drops what the architecture drops with it.
    ///
    /// # Errors
    /// The fault that the write raises; then nothing has changed.
    pub fn control(&mut self, change: A::Control) -> Result<(), AccessError<A::Fault>> {
        let tlb = &mut self.tlb;
        self.arch
            .control(change, &mut Committing(&self.memory), &mut |scope| {
                tlb.invalidate(&scope);
            })
            .map_err(|error| match error {
                WalkError::Fault(fault) => AccessError::Fault(fault),
                WalkError::Bus(error) => AccessError::Bus(error),
                WalkError::Raced => unreachable!("control changes update no entry"),
            })
    }

    /// Executes a fence.
    pub fn fence(&mut self, fence: A::Fence) {
        let tlb = &mut self.tlb;
        self.arch.fence(fence, &mut |scope| {
            tlb.invalidate(&scope);
        });
    }

    /// Translates one access that lies within one page, with all its side effects on TLB and tables.
    ///
    /// # Errors
    /// As for the access itself.
    pub fn translate(&mut self, access: &Access<A::Flavor>) -> Result<Translation, AccessError<A::Fault>> {
        let context = self.arch.context(access.kind, access.flavor);
        let side = if access.kind == AccessKind::Execute { Side::Instruction } else { Side::Data };
        let lookup = self.arch.lookup(&context, access).map_err(AccessError::Fault)?;
        let (va, entry) = match lookup {
            Lookup::Cached(key) => {
                let entry = match self.tlb.lookup(&key, side) {
                    Some(hit) if self.arch.permits(&context, access, &hit.entry) => hit.entry,
                    _ => {
                        let entry = self.walk(&context, access)?;
                        self.tlb.insert(entry, side);
                        entry
                    }
                };
                (key.va, entry)
            }
            Lookup::Bare => (access.va.0, self.walk(&context, access)?),
        };
        let pa = PhysAddr(entry.address(va));
        self.arch.check_physical(&context, access, pa, u64::from(access.len)).map_err(AccessError::Fault)?;
        Ok(Translation { pa, entry })
    }

    fn walk(
        &mut self,
        context: &A::Context,
        access: &Access<A::Flavor>,
    ) -> Result<TlbEntry, AccessError<A::Fault>> {
        for _ in 0..MAX_RACES {
            match self.arch.walk(context, access, &mut Committing(&self.memory)) {
                Ok(entry) => return Ok(entry),
                Err(WalkError::Fault(fault)) => return Err(AccessError::Fault(fault)),
                Err(WalkError::Bus(error)) => return Err(AccessError::Bus(error)),
                Err(WalkError::Raced) => {}
            }
        }
        Err(AccessError::Contended { va: access.va, tries: MAX_RACES })
    }
}

/// Memory as an access's own walk uses it: accessed and dirty bits are stored.
struct Committing<'a, M>(&'a M);

impl<M: PhysMemory> PteSource for Committing<'_, M> {
    type Error = BusError;

    #[inline]
    fn read(&mut self, at: PteRef) -> Result<u64, BusError> {
        self.0.read_pte(PhysAddr(at.addr), pte_width(at))
    }
}

impl<M: PhysMemory> PteMemory for Committing<'_, M> {
    #[inline]
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<bool, BusError> {
        Ok(self.0.compare_exchange(PhysAddr(at.addr), pte_width(at), old, new)?.is_ok())
    }
}

#[inline]
fn pte_width(at: PteRef) -> Width {
    Width::from_bytes(at.bytes).unwrap_or(Width::W8)
}
