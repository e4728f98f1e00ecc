//! The side-effect-free twins: what an access *would* do.

use super::port::{Looking, Step, Steps};
use super::{AccessError, Mmu, Translation};
use crate::access::{Access, AccessKind};
use crate::addr::{PhysAddr, low_mask};
use crate::arch::{Arch, Lookup};
use crate::memory::PhysMemory;
use crate::tlb::{Side, Tlb, TlbEntry};
use alloc::vec::Vec;

/// A walk, told step by step.
#[derive(Clone, Debug)]
pub struct Explanation<A: Arch> {
    /// The access that was explained.
    pub access: Access<A::Flavor>,
    /// What the TLB holds for it now.
    pub cached: Option<TlbEntry>,
    /// Every table entry that a walk reads, in order, second-stage entries where they are read.
    pub steps: Vec<Step>,
    /// Where the walk leads.
    pub outcome: Result<Translation, AccessError<A::Fault>>,
}

impl<A: Arch, M: PhysMemory, T: Tlb> Mmu<A, M, T> {
    /// What `access` would come to: from the TLB if it holds a translation that serves, else from a walk. Changes
    /// nothing: no TLB state, no counter, no accessed or dirty bit, no device.
    ///
    /// # Errors
    /// The fault that the access would raise.
    pub fn probe(&self, access: &Access<A::Flavor>) -> Result<Translation, AccessError<A::Fault>> {
        let context = self.context(access.kind, access.flavor);
        match self.cached(&context, access)? {
            Some((va, entry)) if self.arch.permits(&context, access, &entry) => {
                self.translated(&context, access, va, entry)
            }
            _ => self.look(&context, access, &mut ()),
        }
    }

    /// Explains what a walk for `access` does, whatever the TLB holds. Changes nothing.
    #[must_use]
    pub fn explain(&self, access: &Access<A::Flavor>) -> Explanation<A> {
        let context = self.context(access.kind, access.flavor);
        let mut steps = Vec::new();
        let outcome = self.look(&context, access, &mut steps);
        let cached = self.cached(&context, access).ok().flatten().map(|(_, entry)| entry);
        Explanation { access: *access, cached, steps, outcome }
    }

    fn cached(
        &self,
        context: &A::Context,
        access: &Access<A::Flavor>,
    ) -> Result<Option<(u64, TlbEntry)>, AccessError<A::Fault>> {
        let side = if access.kind == AccessKind::Execute { Side::Instruction } else { Side::Data };
        Ok(match self.arch.lookup(context, access).map_err(AccessError::Fault)? {
            Lookup::Cached(key) => self.tlb.peek(&key, side).map(|entry| (key.va, entry)),
            Lookup::Bare => None,
        })
    }

    fn look<S: Steps>(
        &self,
        context: &A::Context,
        access: &Access<A::Flavor>,
        steps: &mut S,
    ) -> Result<Translation, AccessError<A::Fault>> {
        let va = match self.arch.lookup(context, access).map_err(AccessError::Fault)? {
            Lookup::Cached(key) => key.va,
            Lookup::Bare => access.va.0,
        };
        let mut port = Looking { memory: &self.memory, steps };
        let entry = self
            .arch
            .walk(context, access, &mut port)
            .map_err(|error| AccessError::from_walk(error, access.va, 1))?;
        self.translated(context, access, va, entry)
    }

    fn translated(
        &self,
        context: &A::Context,
        access: &Access<A::Flavor>,
        va: u64,
        entry: TlbEntry,
    ) -> Result<Translation, AccessError<A::Fault>> {
        let page = low_mask(u32::from(entry.size_bits));
        let pa = PhysAddr(entry.address(va));
        let len = u64::from(access.len).min((page - (va & page)).saturating_add(1));
        self.arch.check_physical(context, access, pa, len).map_err(AccessError::Fault)?;
        Ok(Translation { pa, len, entry })
    }
}
