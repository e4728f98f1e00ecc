//! Nested paging (APM Vol. 2, 15.25): the second stage uses the ordinary formats, as the host's CR4 and EFER at VMRUN
//! select them, from nCR3.
//!
//! Every access counts as a user-mode access here, so U/S must be set and R/W holds whatever CR0.WP says; accesses to
//! the guest's tables count as data writes. A host in PAE mode has its four top entries read from memory on each walk.
//! Guest-mode execute traps and supervisor shadow-stack checks are not modelled.

use super::control::{Cr0, Cr4, Efer};
use super::fault::{EptQualification, Fault, PageFaultCode};
use super::mode::{Mode, Paging};
use super::nested::{Mapped, Request};
use super::pte::{self, LongMode, Pae};
use super::rights::Rights;
use super::walk::{Direct, Job, Judge, Marked};
use super::{Config, X86, memtype};
use crate::addr::GuestAddr;
use crate::arch::{PteMemory, WalkError};
use crate::radix::{Leaf, Stage};

/// The nested paging controls of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Npt {
    /// nCR3.
    pub ncr3: u64,
    /// The host's CR4.
    pub cr4: Cr4,
    /// The host's EFER. LME or LMA selects long mode.
    pub efer: Efer,
    /// The host's PAT.
    pub pat: u64,
}

impl Npt {
    /// The mode of the nested tables.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        let efer = if self.efer.intersects(Efer::LME.union(Efer::LMA)) {
            self.efer.union(Efer::LMA)
        } else {
            self.efer
        };
        Mode::select(Cr0::PG, self.cr4, efer)
    }

    /// The tables, ready to be walked.
    pub(super) fn tables(&self, config: &Config) -> NptTables {
        let nxe = self.efer.contains(Efer::NXE);
        let paging = match Paging::select(self.mode(), config, self.cr4, nxe) {
            Paging::Pae(_) => Paging::PaeInMemory(Pae::in_memory(config, nxe)),
            other => other,
        };
        NptTables { paging, ncr3: self.ncr3, pat: self.pat }
    }
}

/// The tables that nCR3 names, as the host's registers have them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NptTables {
    paging: Paging,
    ncr3: u64,
    pat: u64,
}

impl NptTables {
    /// The format and the root, where they are long mode's of four levels.
    pub(super) const fn four_levels(&self) -> Option<(LongMode, u64)> {
        match self.paging {
            Paging::Long(format @ LongMode { top: 3, .. }) => Some((format, self.ncr3 & pte::ADDRESS)),
            _ => None,
        }
    }

    /// What `rights` are to the request; `None` if they do not suffice.
    #[inline]
    pub(super) fn granted(rights: Rights, request: &Request) -> Option<Rights> {
        let mut need = Rights::USER;
        need.set(Rights::WRITE, request.writes());
        need.set(Rights::EXECUTE, request.kind.contains(EptQualification::FETCH));
        rights.contains(need).then_some(rights)
    }

    /// What the stage answers where the leaf `raw` maps the page at `base` with the rights `found`.
    #[inline]
    pub(super) fn mapped(
        &self,
        base: u64,
        size_bits: u32,
        raw: u64,
        found: Rights,
        request: &Request,
    ) -> Mapped {
        let mut rights = Rights::READ2 | found & Rights::DIRTY;
        rights.set(Rights::WRITE2, found.contains(Rights::WRITE));
        rights.set(Rights::EXECUTE2, found.contains(Rights::EXECUTE));
        // Nobody asks for the memory type of a guest's tables.
        let attr = match request.last {
            Some(_) => memtype::npt(memtype::lookup(self.pat, pte::pat_index(raw, size_bits))),
            None => 0,
        };
        Mapped { base, size_bits, rights, attr }
    }

    pub(super) fn translate<P: PteMemory>(
        &self,
        x86: &X86,
        request: Request,
        memory: &mut P,
    ) -> Result<Mapped, WalkError<Fault>> {
        match self.paging {
            Paging::Off => Err(WalkError::Fault(NestedFault { request }.absent(0))),
            Paging::Legacy32(format) => self.walk(format, 32, 0xffff_f000, x86, request, memory),
            Paging::Pae(format) | Paging::PaeInMemory(format) => {
                self.walk(format, 32, 0xffff_ffe0, x86, request, memory)
            }
            Paging::Long(format) => self.walk(format, format.bits(), pte::ADDRESS, x86, request, memory),
        }
    }

    fn walk<F: Marked, P: PteMemory>(
        &self,
        format: F,
        bits: u32,
        root_mask: u64,
        x86: &X86,
        request: Request,
        memory: &mut P,
    ) -> Result<Mapped, WalkError<Fault>> {
        let judge = NestedFault { request };
        // A guest-physical address wider than the tables can index is not mapped.
        if request.gpa >> bits != 0 {
            return Err(WalkError::Fault(judge.absent(0)));
        }
        let job = Job {
            format,
            stage: Stage::Second,
            root: self.ncr3 & root_mask,
            va: request.gpa,
            writes: request.writes(),
            on_fault: x86.config.accessed_on_fault,
        };
        let (Leaf { base, size_bits, raw, .. }, found) = job.run(&mut Direct(memory), judge)?;
        Ok(self.mapped(base, size_bits, raw, found, &request))
    }
}

/// What NPT makes of the ends of its walks.
#[derive(Clone, Copy)]
struct NestedFault {
    request: Request,
}

impl NestedFault {
    #[cold]
    fn fault(&self, why: PageFaultCode) -> Fault {
        let request = &self.request;
        let mut code = why | PageFaultCode::USER;
        code.set(PageFaultCode::WRITE, request.writes());
        // Unlike #PF, whether or not the host has NX or SMEP on.
        code.set(PageFaultCode::FETCH, request.kind.contains(EptQualification::FETCH));
        code.set(PageFaultCode::SHADOW_STACK, request.shadow_stack);
        let place = if request.last.is_some() { Fault::NPF_FINAL } else { Fault::NPF_TABLE };
        Fault::NestedPage {
            info: u64::from(code.bits()) | place,
            gpa: GuestAddr(request.gpa),
            va: request.va(),
        }
    }
}

impl Judge for NestedFault {
    type Granted = Rights;

    fn absent(&self, _limits: u64) -> Fault {
        self.fault(PageFaultCode::empty())
    }
    fn reserved(&self) -> Fault {
        self.fault(PageFaultCode::PRESENT | PageFaultCode::RESERVED)
    }
    #[inline]
    fn grants(&self, leaf: &Leaf) -> Option<Rights> {
        NptTables::granted(Rights::of_leaf(leaf.raw, leaf.limits), &self.request)
    }
    fn refusal(&self, _leaf: &Leaf) -> Fault {
        self.fault(PageFaultCode::PRESENT)
    }
}
