//! [`Arch`] for [`Riscv`]: lookup, rights, walk and the physical check of an access, and the faults in between.

use super::context::{Context, Route, Special};
use super::fault::{Fault, Reported, pseudo_instruction};
use super::pmp::{PmpAccess, PmpFlags};
use super::rights::Use;
use super::walk::{self, Trouble};
use super::{Control, Fence, Flavor, MemoryType, MisalignedAtomics, Privilege, Riscv, fence, straight};
use crate::access::{Access, AccessKind};
use crate::addr::PhysAddr;
use crate::arch::{Arch, FaultClass, Lookup, NestedPage, PteMemory, WalkError};
use crate::memory::BusError;
use crate::tlb::{Key, Scope, TlbEntry};

impl Riscv {
    /// Makes a fault of what went wrong at `va`.
    #[cold]
    pub(super) fn raise(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        va: u64,
        trouble: Trouble,
    ) -> WalkError<Fault> {
        let reported = Reported::of(access.kind, access.flavor);
        WalkError::Fault(match trouble {
            Trouble::Raced => return WalkError::Raced,
            Trouble::Page(class) => Fault::new(reported.page_fault(), va, context.virt, class),
            Trouble::Access(class) => Fault::new(reported.access_fault(), va, context.virt, class),
            Trouble::Guest { gpa, implicit } => {
                let cause = reported.guest_page_fault();
                if self.config.report_guest_address {
                    let tinst = implicit.map_or(0, |write| pseudo_instruction(self.config.xlen, write));
                    Fault::at_guest(cause, va, context.virt, gpa, tinst)
                } else {
                    Fault::new(cause, va, context.virt, FaultClass::SecondStage)
                }
            }
        })
    }

    /// The access fault of an access to `va`.
    #[cold]
    fn access_fault(&self, context: &Context, access: &Access<Flavor>, class: FaultClass) -> Fault {
        let reported = Reported::of(access.kind, access.flavor);
        Fault::new(reported.access_fault(), context.effective(access), context.virt, class)
    }

    /// The fault of an access that must be aligned and is not, if it is not.
    fn misaligned(&self, context: &Context, access: &Access<Flavor>) -> Option<Fault> {
        let va = context.effective(access);
        let size = u64::from(access.len).next_power_of_two();
        let aligned = context.special.contains(Special::ALIGNED) || access.kind == AccessKind::ReadWrite;
        if !aligned || va & (size - 1) == 0 {
            return None;
        }
        // A misaligned shadow stack is fatal: never the exception that asks for emulation (Zicfiss).
        let shadow = access.flavor == Flavor::ShadowStack && access.kind != AccessKind::ReadWrite;
        if shadow || self.config.misaligned_atomics == MisalignedAtomics::AccessFault {
            return Some(self.access_fault(context, access, FaultClass::Address));
        }
        let reported = Reported::of(access.kind, access.flavor);
        Some(Fault::new(reported.misaligned(), va, context.virt, FaultClass::Address))
    }

    /// [`Arch::lookup`] of all but the plain paged access.
    fn lookup_special(&self, context: &Context, access: &Access<Flavor>) -> Result<Lookup, Fault> {
        if !self.config.misaligned_after_translation {
            if let Some(fault) = self.misaligned(context, access) {
                return Err(fault);
            }
        }
        if context.special.contains(Special::REFUSED) {
            return Err(self.access_fault(context, access, FaultClass::Protection));
        }
        if context.special.contains(Special::BARE) {
            return Ok(Lookup::Bare);
        }
        Ok(Lookup::Cached(Key { va: context.effective(access), space: context.space }))
    }

    /// [`Arch::check_physical`] where there is something to check.
    #[cold]
    #[inline(never)]
    fn check_special(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        pa: PhysAddr,
        len: u64,
    ) -> Result<(), Fault> {
        if self.config.misaligned_after_translation {
            if let Some(fault) = self.misaligned(context, access) {
                return Err(fault);
            }
        }
        if !context.special.contains(Special::PMP) {
            return Ok(());
        }
        let need = match Context::usage(access.kind, access.flavor) {
            Use::Fetch => PmpFlags::X,
            // "must grant both execute and read permissions".
            Use::LoadExecutable => PmpFlags::R | PmpFlags::X,
            Use::Load | Use::Manage => PmpFlags::R,
            // Zicfiss: "extended to require read-write permission".
            Use::ShadowLoad | Use::ShadowStore => PmpFlags::R | PmpFlags::W,
            Use::Store if access.kind == AccessKind::ReadWrite => PmpFlags::R | PmpFlags::W,
            Use::Store => PmpFlags::W,
        };
        let machine = context.privilege == Privilege::Machine;
        if self.pmp.allows(PmpAccess { need, machine }, pa.0, len) {
            return Ok(());
        }
        Err(self.access_fault(context, access, FaultClass::Physical))
    }
}

impl Arch for Riscv {
    type Fault = Fault;
    type Flavor = Flavor;
    type Context = Context;
    type Control = Control;
    type Fence = Fence;
    type MemoryType = MemoryType;

    #[inline]
    fn context(&self, kind: AccessKind, flavor: Flavor) -> Context {
        match (kind, flavor) {
            (AccessKind::Execute, _) => self.fetch,
            (_, Flavor::Normal) => self.data,
            _ => Context::new(self, kind, flavor),
        }
    }

    fn lookup(&self, context: &Context, access: &Access<Flavor>) -> Result<Lookup, Fault> {
        match self.lookup_plain(context, access) {
            Some(key) => Ok(Lookup::Cached(key)),
            None => self.lookup_special(context, access),
        }
    }

    #[inline(always)]
    fn lookup_plain(&self, context: &Context, access: &Access<Flavor>) -> Option<Key> {
        // Whether the address is canonical is the walk's to say: no cached translation answers one that is not.
        let plain =
            context.special.difference(Special::LATE).is_empty() && access.kind != AccessKind::ReadWrite;
        plain.then_some(Key { va: access.va.0, space: context.space })
    }

    #[inline]
    fn permits(&self, context: &Context, access: &Access<Flavor>, entry: &TlbEntry) -> bool {
        context.need(access.kind).met_by(entry.rights as u32)
    }

    #[inline]
    fn walk<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Result<TlbEntry, WalkError<Fault>> {
        walk::translate(self, context, access, memory)
    }

    #[inline(always)]
    fn walk_plain<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Option<TlbEntry> {
        match context.route {
            Route::Sv39 => straight::single::<3, P>(self, context, access, memory),
            Route::Sv48 => straight::single::<4, P>(self, context, access, memory),
            Route::Sv57 => straight::single::<5, P>(self, context, access, memory),
            _ => None,
        }
    }

    #[inline]
    fn walk_plain_nested<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Option<NestedPage> {
        match context.route {
            Route::Sv39x4 => straight::double::<3, P>(self, context, access, memory),
            Route::Sv48x4 => straight::double::<4, P>(self, context, access, memory),
            Route::Sv57x4 => straight::double::<5, P>(self, context, access, memory),
            _ => None,
        }
    }

    #[inline]
    fn check_physical(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        pa: PhysAddr,
        len: u64,
    ) -> Result<(), Fault> {
        if !context.special.intersects(Special::LATE) {
            return Ok(());
        }
        let access = *access;
        self.check_special(context, &access, pa, len)
    }

    fn bus_fault(&self, context: &Context, access: &Access<Flavor>, _error: BusError) -> Option<Fault> {
        Some(self.access_fault(context, access, FaultClass::Physical))
    }

    fn control<P: PteMemory>(
        &mut self,
        change: Control,
        _memory: &mut P,
        _drop: &mut dyn FnMut(Scope),
    ) -> Result<(), WalkError<Fault>> {
        self.apply(change);
        Ok(())
    }

    fn fence(&self, fence: Fence, drop: &mut dyn FnMut(Scope)) {
        fence::scopes(self, fence, drop);
    }

    #[inline]
    fn memory_type(&self, entry: &TlbEntry) -> MemoryType {
        MemoryType::from_attr(entry.attr)
    }
}
