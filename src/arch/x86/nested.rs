//! Two stages: a guest's tables lie in guest-physical memory, and a second stage, EPT or NPT, translates that.
//!
//! Every address of a guest's table goes through the second stage before the entry is read, and again, as a write,
//! before its accessed or dirty bit is set; last of all the guest-physical address of the access itself goes through.
//! The second stage marks its own entries each time it is used (SDM Vol. 3C, ch. 29.3; APM Vol. 2, 15.25).

use super::ept::{Ept, EptTables};
use super::fault::{EptQualification, Fault};
use super::npt::{Npt, NptTables};
use super::rights::Rights;
use super::walk::Tables;
use super::{Config, Flavor, X86};
use crate::access::{Access, AccessKind};
use crate::addr::{VirtAddr, Vmid, low_mask};
use crate::arch::{PteMemory, WalkError};
use crate::radix::{Leaf, PteRef, PteSource, Stage, Subtable};

/// The guest that the processor runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guest {
    /// VPID (Intel) or ASID (AMD). 0 means untagged: entry and exit drop what was cached.
    pub vmid: Vmid,
    /// The second stage; `None` where the hypervisor shadows the guest's tables.
    pub second: Option<Second>,
}

/// A second stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Second {
    /// Intel's extended page tables.
    Ept(Ept),
    /// AMD's nested paging: ordinary tables under the host's own CR4 and EFER.
    Npt(Npt),
}

/// What is asked of a second stage.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) gpa: u64,
    /// The linear address that led here; `None` for the PDPTEs that MOV to CR3 loads.
    pub(super) linear: Option<VirtAddr>,
    /// READ, WRITE and FETCH of the qualification, as the second stage is to treat the access.
    pub(super) kind: EptQualification,
    /// The first stage's rights if this is the access itself, `None` if it is one to a guest table.
    pub(super) last: Option<Rights>,
    pub(super) shadow_stack: bool,
}

impl Request {
    /// The access itself, translated to `gpa` by the first stage with `rights`.
    #[inline(always)]
    pub(super) fn at_last(access: &Access<Flavor>, gpa: u64, rights: Rights) -> Self {
        let kind = match access.kind {
            AccessKind::Read => EptQualification::READ,
            AccessKind::Write => EptQualification::WRITE,
            AccessKind::ReadWrite => EptQualification::READ | EptQualification::WRITE,
            AccessKind::Execute => EptQualification::FETCH,
        };
        Self {
            gpa,
            linear: Some(access.va),
            kind,
            last: Some(rights),
            shadow_stack: access.flavor.is_shadow_stack(),
        }
    }

    pub(super) fn writes(&self) -> bool {
        self.kind.contains(EptQualification::WRITE)
    }

    pub(super) fn va(&self) -> VirtAddr {
        self.linear.unwrap_or(VirtAddr(0))
    }
}

/// What a second stage answers.
pub(super) struct Mapped {
    /// First byte of its page.
    pub(super) base: u64,
    pub(super) size_bits: u32,
    /// [`Rights::SECOND`] as far as granted, and [`Rights::DIRTY`] if writes have nothing left to mark.
    pub(super) rights: Rights,
    pub(super) attr: u16,
}

impl Second {
    /// Made ready to be walked.
    pub(super) fn lower(&self, config: &Config) -> Lower {
        match self {
            Self::Ept(ept) => Lower::Ept(ept.tables(config)),
            Self::Npt(npt) => Lower::Npt(npt.tables(config)),
        }
    }
}

/// A second stage, ready to be walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lower {
    Ept(EptTables),
    Npt(NptTables),
}

impl Lower {
    /// Translates a guest-physical address and marks what is due.
    #[inline(never)]
    pub(super) fn translate<P: PteMemory>(
        &self,
        x86: &X86,
        request: Request,
        memory: &mut P,
    ) -> Result<Mapped, WalkError<Fault>> {
        match self {
            Self::Ept(tables) => tables.translate(x86, request, memory),
            Self::Npt(tables) => tables.translate(x86, request, memory),
        }
    }

    /// How a mere read of a guest table counts. NPT takes it for a write (APM 15.25.6); EPT does so while its own
    /// accessed and dirty bits are on, and reports both (SDM 29.3.3.2), but not where MOV to CR3 loads PDPTEs.
    fn table_read(&self, linear: Option<VirtAddr>) -> EptQualification {
        match self {
            Self::Npt(_) => EptQualification::WRITE,
            Self::Ept(tables) if tables.format.marks && linear.is_some() => {
                EptQualification::READ | EptQualification::WRITE
            }
            Self::Ept(_) => EptQualification::READ,
        }
    }
}

/// A guest's tables behind a second stage.
pub(super) struct GuestTables<'a, P> {
    pub(super) lower: &'a Lower,
    pub(super) x86: &'a X86,
    /// The linear address that is translated; `None` where MOV to CR3 loads PDPTEs.
    pub(super) linear: Option<VirtAddr>,
    pub(super) memory: &'a mut P,
}

impl<P: PteMemory> GuestTables<'_, P> {
    fn place(&mut self, at: PteRef, kind: EptQualification) -> Result<PteRef, WalkError<Fault>> {
        let request = Request { gpa: at.addr, linear: self.linear, kind, last: None, shadow_stack: false };
        let mapped = self.lower.translate(self.x86, request, self.memory)?;
        Ok(PteRef { addr: mapped.base | at.addr & low_mask(mapped.size_bits), ..at })
    }
}

impl<P: PteMemory> PteSource for GuestTables<'_, P> {
    type Error = WalkError<Fault>;

    #[inline]
    fn read(&mut self, at: PteRef) -> Result<u64, Self::Error> {
        let place = self.place(at, self.lower.table_read(self.linear))?;
        self.memory.read(place).map_err(WalkError::Bus)
    }
    #[inline]
    fn resume(&mut self, stage: Stage, va: u64) -> Option<Subtable> {
        self.memory.resume(stage, va)
    }

    fn recall(&mut self, stage: Stage, va: u64) -> Option<Leaf> {
        self.memory.recall(stage, va)
    }

    fn reached(&mut self, stage: Stage, va: u64, leaf: &Leaf) {
        self.memory.reached(stage, va, leaf);
    }
    #[inline]
    fn descended(&mut self, stage: Stage, va: u64, table: Subtable) {
        self.memory.descended(stage, va, table);
    }
}

impl<P: PteMemory> Tables for GuestTables<'_, P> {
    #[cold]
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<(), WalkError<Fault>> {
        let place = self.place(at, self.lower.table_read(self.linear) | EptQualification::WRITE)?;
        match self.memory.update(place, old, new) {
            Ok(true) => Ok(()),
            Ok(false) => Err(WalkError::Raced),
            Err(error) => Err(WalkError::Bus(error)),
        }
    }
}
