//! An architecture around any page table: the plainest rules that a machine could have.
//!
//! [`Software`] lets an [`Mmu`](crate::mmu::Mmu) run on whatever a [`Walker`] can search: a radix table of a format
//! described at run time, a hashed table, a user's own. The rules are those of a textbook. Unprivileged code needs
//! [`USER`](Perms::USER) pages, privileged code may use any; a load needs `READ`, a store `WRITE`, a fetch
//! `EXECUTE`, whoever makes it. Addresses are tagged with an ASID. Control writes drop nothing from the TLB: what is
//! stale is fenced by name, or by the [`Flush`](crate::table::Flush) token of the edit.
//!
//! With [`NoTable`] under it there is no walk: the guest refills the TLB itself.

mod refill;

pub use refill::NoTable;

use crate::access::{Access, AccessKind};
use crate::addr::{Asid, VirtAddr, Vmid, low_mask};
use crate::arch::{Arch, FaultClass, GuestFault, Lookup, PteMemory, WalkError};
use crate::memory::BusError;
use crate::radix::{Perms, Stop};
use crate::table::{Mapping, Walker};
use crate::tlb::{Key, Scope, Space, Span, TlbEntry};

/// Who sets accessed and dirty bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Marks {
    /// The walk does, as x86 does.
    #[default]
    Hardware,
    /// The guest does, on a fault at the first use and at the first store.
    Software,
    /// Nobody: the bits mean nothing.
    Ignored,
}

/// Why an access faulted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// Nothing is mapped there.
    Absent,
    /// An entry has a reserved encoding.
    Reserved,
    /// The page does not give the right that the access needs.
    Right,
    /// The page is closed to unprivileged code.
    Privilege,
    /// The accessed bit is clear and software sets it.
    NotAccessed,
    /// The dirty bit is clear, the access stores, and software sets it.
    NotDirty,
    /// The address is none that the table translates.
    Address,
}

/// A fault of a [`Software`] architecture.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[error("{kind:?} at {va:#x} faults at level {level}: {cause:?}")]
pub struct Fault {
    /// The address that the instruction presented.
    pub va: VirtAddr,
    /// What the access was.
    pub kind: AccessKind,
    /// Why it faulted.
    pub cause: Cause,
    /// The level of the entry that stopped the walk (0 for the leafmost, and where there was no walk).
    pub level: u32,
}

impl GuestFault for Fault {
    fn va(&self) -> VirtAddr {
        self.va
    }

    fn class(&self) -> FaultClass {
        match self.cause {
            Cause::Absent => FaultClass::NotMapped,
            Cause::Reserved => FaultClass::Malformed,
            Cause::Address => FaultClass::Address,
            Cause::Right | Cause::Privilege | Cause::NotAccessed | Cause::NotDirty => FaultClass::Protection,
        }
    }
}

/// What decides an access's outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Context {
    enabled: bool,
    user: bool,
    marks: Marks,
    asid: Asid,
}

/// A change of control state. None drops a cached translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control<W> {
    /// Walk this table for this address space from now on.
    Table(W, Asid),
    /// Run unprivileged, or not.
    User(bool),
    /// Translate, or take addresses as physical.
    Enable(bool),
}

/// A fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fence {
    /// Everything.
    All,
    /// One address space, its global pages aside.
    Space(Asid),
    /// One address in one space, global or not.
    Page(VirtAddr, Asid),
    /// Just this, as a [`Flush`](crate::table::Flush) token gives it.
    Scope(Scope),
}

/// An architecture around a [`Walker`]; see the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Software<W> {
    walker: W,
    asid: Asid,
    marks: Marks,
    enabled: bool,
    user: bool,
}

impl<W: Walker> Software<W> {
    /// Translation through `walker`, on, privileged, ASID 0, accessed and dirty bits set by the walk.
    pub fn new(walker: W) -> Self {
        Self { walker, asid: Asid(0), marks: Marks::default(), enabled: true, user: false }
    }

    /// The same with another ASID.
    #[must_use]
    pub fn with_asid(mut self, asid: Asid) -> Self {
        self.asid = asid;
        self
    }

    /// The same with accessed and dirty bits kept by `marks`.
    #[must_use]
    pub fn with_marks(mut self, marks: Marks) -> Self {
        self.marks = marks;
        self
    }

    /// The same, running unprivileged code.
    #[must_use]
    pub fn unprivileged(mut self) -> Self {
        self.user = true;
        self
    }

    /// The table that is walked.
    pub fn walker(&self) -> &W {
        &self.walker
    }

    /// The tag of this address space in a TLB.
    #[must_use]
    pub fn space(&self) -> Space {
        Space::new(0, Vmid(0), self.asid)
    }

    /// What a TLB keeps of a mapping of this space. A guest that refills its TLB itself inserts this.
    #[must_use]
    pub fn entry(&self, page: &Mapping) -> TlbEntry {
        self.entry_at_level(page, 0)
    }

    fn entry_at_level(&self, page: &Mapping, level: u32) -> TlbEntry {
        let mut rights = page.perms | UNTRACKED.difference(self.walker.marks());
        if self.marks == Marks::Ignored {
            rights |= UNTRACKED;
        }
        TlbEntry {
            va: page.va.0,
            pa: page.pa.0,
            gpa: page.pa.0,
            rights: u64::from(rights.bits()),
            space: self.space(),
            global: page.perms.contains(Perms::GLOBAL),
            size_bits: page.size.bits() as u8,
            leaf_bits: page.size.bits() as u8,
            leaf2_bits: 0,
            level: level as u8,
            attr: u16::from(page.perms.contains(Perms::DEVICE)),
        }
    }
}

/// Marks that hold by themselves where nobody keeps them.
const UNTRACKED: Perms = Perms::ACCESSED.union(Perms::DIRTY);

/// The rights that an access needs.
fn rights(kind: AccessKind, user: bool) -> Perms {
    let right = match kind {
        AccessKind::Read => Perms::READ,
        AccessKind::Write => Perms::WRITE,
        AccessKind::ReadWrite => Perms::READ.union(Perms::WRITE),
        AccessKind::Execute => Perms::EXECUTE,
    };
    if user { right | Perms::USER } else { right }
}

/// The marks that an access leaves.
fn marks(kind: AccessKind) -> Perms {
    if kind.writes() { UNTRACKED } else { Perms::ACCESSED }
}

impl<W: Walker> Arch for Software<W> {
    type Fault = Fault;
    type Flavor = ();
    type Context = Context;
    type Control = Control<W>;
    type Fence = Fence;
    /// Whether it is device memory.
    type MemoryType = bool;

    #[inline]
    fn context(&self, _kind: AccessKind, _flavor: ()) -> Context {
        Context { enabled: self.enabled, user: self.user, marks: self.marks, asid: self.asid }
    }

    #[inline]
    fn lookup(&self, context: &Context, access: &Access<()>) -> Result<Lookup, Fault> {
        if !context.enabled {
            return Ok(Lookup::Bare);
        }
        if !self.walker.translates(access.va) {
            return Err(Fault { va: access.va, kind: access.kind, cause: Cause::Address, level: 0 });
        }
        let space = Space::new(0, Vmid(0), context.asid);
        Ok(Lookup::Cached(Key { va: access.va.0, space }))
    }

    #[inline]
    fn permits(&self, context: &Context, access: &Access<()>, entry: &TlbEntry) -> bool {
        let needed = rights(access.kind, context.user) | marks(access.kind);
        u64::from(needed.bits()) & !entry.rights == 0
    }

    fn walk<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<()>,
        memory: &mut P,
    ) -> Result<TlbEntry, WalkError<Fault>> {
        let Access { va, kind, .. } = *access;
        if !context.enabled {
            return Ok(identity(va));
        }
        let fault = |cause, level| WalkError::Fault(Fault { va, kind, cause, level });
        let leaf = self.walker.find(va, memory).map_err(|stop| match stop {
            Stop::Absent { at, .. } => fault(Cause::Absent, at.level),
            Stop::Reserved { at, .. } => fault(Cause::Reserved, at.level),
            Stop::Source { error, .. } => WalkError::Bus(error),
        })?;
        let level = leaf.at.level;
        let mut page = self.walker.mapping(va, &leaf);
        if !page.perms.contains(rights(kind, false)) {
            return Err(fault(Cause::Right, level));
        }
        if context.user && !page.perms.contains(Perms::USER) {
            return Err(fault(Cause::Privilege, level));
        }
        let due = (marks(kind) & self.walker.marks()).difference(page.perms);
        match context.marks {
            Marks::Software if due.contains(Perms::ACCESSED) => return Err(fault(Cause::NotAccessed, level)),
            Marks::Software if !due.is_empty() => return Err(fault(Cause::NotDirty, level)),
            Marks::Hardware if !due.is_empty() => {
                let marked = self.walker.with_perms(&leaf, page.perms | due);
                let new = marked.map_err(|_| fault(Cause::Reserved, level))?;
                if !memory.update(leaf.at, leaf.raw, new).map_err(WalkError::Bus)? {
                    return Err(WalkError::Raced);
                }
                page.perms |= due;
            }
            _ => {}
        }
        Ok(self.entry_at_level(&page, level))
    }

    fn bus_fault(&self, _context: &Context, _access: &Access<()>, _error: BusError) -> Option<Fault> {
        None
    }

    fn control<P: PteMemory>(
        &mut self,
        change: Control<W>,
        _memory: &mut P,
        _drop: &mut dyn FnMut(Scope),
    ) -> Result<(), WalkError<Fault>> {
        match change {
            Control::Table(walker, asid) => (self.walker, self.asid) = (walker, asid),
            Control::User(user) => self.user = user,
            Control::Enable(enabled) => self.enabled = enabled,
        }
        Ok(())
    }

    fn fence(&self, fence: Fence, drop: &mut dyn FnMut(Scope)) {
        let (space, mask) = (|asid| Space::new(0, Vmid(0), asid), Space::ASID | Space::VMID | Space::REGIME);
        drop(match fence {
            Fence::All => Scope::ALL,
            Fence::Space(asid) => {
                Scope { space: space(asid), mask, globals: false, span: Span::All, leaves_only: false }
            }
            Fence::Page(VirtAddr(va), asid) => Scope {
                space: space(asid),
                mask,
                globals: true,
                span: Span::Virtual { first: va, last: va },
                leaves_only: false,
            },
            Fence::Scope(scope) => scope,
        });
    }

    fn memory_type(&self, entry: &TlbEntry) -> bool {
        entry.attr != 0
    }
}

/// The translation of an access made with translation off.
fn identity(va: VirtAddr) -> TlbEntry {
    let base = va.0 & !low_mask(12);
    TlbEntry {
        va: base,
        pa: base,
        gpa: base,
        rights: u64::MAX,
        space: Space::default(),
        global: false,
        size_bits: 12,
        leaf_bits: 12,
        leaf2_bits: 0,
        level: 0,
        attr: 0,
    }
}
