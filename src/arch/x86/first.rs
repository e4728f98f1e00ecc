//! The first stage, and both stages together: from an access to what the TLB may keep.

use super::fault::{Fault, PageFaultCode, access_code};
use super::mode::Paging;
use super::nested::{GuestTables, Mapped, Request};
use super::pte::{self, Pte};
use super::rights::{Context, Rights};
use super::walk::{Direct, Job, Judge, Marked, Tables};
use super::{Cr4, Efer, Flavor, Mode, X86, memtype};
use crate::access::Access;
use crate::addr::{VirtAddr, low_mask};
use crate::arch::{PteMemory, WalkError};
use crate::radix::{self, Leaf, Stage};
use crate::tlb::TlbEntry;

/// What the first stage found.
pub(super) struct Page {
    base: u64,
    size_bits: u32,
    level: u32,
    pub(super) rights: Rights,
    attr: u16,
    global: bool,
}

/// The first stage's judgement of one access.
#[derive(Clone, Copy)]
pub(super) struct First<'a> {
    pub(super) x86: &'a X86,
    pub(super) context: &'a Context,
    pub(super) access: &'a Access<Flavor>,
    pub(super) va: u64,
}

impl First<'_> {
    /// The page that a usual walk has found, if it allows the access.
    #[inline(always)]
    pub(super) fn page(&self, found: &radix::Page) -> Option<Page> {
        let rights = Rights::of_leaf(found.raw, found.limits);
        if !self.context.first_stage_permits(rights) {
            return None;
        }
        Some(self.of_leaf(found.base, 12, found.raw, 0, rights))
    }

    /// The page at `base` whose leaf `raw` of `level` grants `rights`.
    #[inline(always)]
    fn of_leaf(&self, base: u64, size_bits: u32, raw: u64, level: u32, rights: Rights) -> Page {
        Page {
            base,
            size_bits,
            level,
            rights,
            attr: memtype::first(pte::pat_index(raw, size_bits)),
            global: raw & Pte::GLOBAL.bits() != 0 && self.x86.registers.cr4.contains(Cr4::PGE),
        }
    }

    #[cold]
    fn fault(&self, why: PageFaultCode) -> Fault {
        Fault::Page { code: access_code(self.x86, self.context, self.access) | why, cr2: VirtAddr(self.va) }
    }
}

impl Judge for First<'_> {
    type Granted = Rights;

    fn absent(&self, limits: u64) -> Fault {
        // Only a cached upper table can bring XD here while NXE is clear: the bit is reserved now.
        if !pte::executable(limits) && !self.x86.registers.efer.contains(Efer::NXE) {
            return self.reserved();
        }
        self.fault(PageFaultCode::empty())
    }
    fn reserved(&self) -> Fault {
        self.fault(PageFaultCode::PRESENT | PageFaultCode::RESERVED)
    }
    #[inline(always)]
    fn grants(&self, leaf: &Leaf) -> Option<Rights> {
        let rights = Rights::of_leaf(leaf.raw, leaf.limits);
        self.context.first_stage_permits(rights).then_some(rights)
    }
    fn refusal(&self, leaf: &Leaf) -> Fault {
        let rights = Rights::of_leaf(leaf.raw, leaf.limits);
        self.fault(self.context.refusal(rights, self.x86.registers.efer) | PageFaultCode::PRESENT)
    }
}

impl First<'_> {
    /// Translates by the mode that the control registers select.
    #[inline]
    fn translate<T: Tables>(&self, tables: &mut T) -> Result<Page, WalkError<Fault>> {
        let root = self.x86.root;
        match self.x86.paging {
            Paging::Off => {
                Ok(Page { base: 0, size_bits: 32, level: 0, rights: Rights::UNPAGED, attr: 0, global: false })
            }
            Paging::Legacy32(format) => self.paged(format, root, tables),
            Paging::PaeInMemory(format) => self.paged(format, root, tables),
            Paging::Pae(format) => {
                let [pdpte0, pdpte1, pdpte2, pdpte3] = self.x86.pdptes;
                let pdpte = match self.va >> 30 & 3 {
                    0 => pdpte0,
                    1 => pdpte1,
                    2 => pdpte2,
                    _ => pdpte3,
                };
                if pdpte & Pte::PRESENT.bits() == 0 {
                    return Err(WalkError::Fault(self.fault(PageFaultCode::empty())));
                }
                self.paged(format, pdpte & pte::ADDRESS, tables)
            }
            Paging::Long(format) => self.paged(format, root, tables),
        }
    }

    #[inline(always)]
    fn paged<F: Marked, T: Tables>(
        &self,
        format: F,
        root: u64,
        tables: &mut T,
    ) -> Result<Page, WalkError<Fault>> {
        let job = Job {
            format,
            stage: Stage::First,
            root,
            va: self.va,
            writes: self.access.kind.writes(),
            on_fault: self.x86.config.accessed_on_fault,
        };
        let (Leaf { base, size_bits, raw, at, .. }, rights) = job.run(tables, *self)?;
        Ok(self.of_leaf(base, size_bits, raw, at.level, rights))
    }

    /// The entry for `2^size` bytes, but for where they lie.
    #[inline]
    fn entry(&self, page: &Page, size: u32) -> TlbEntry {
        TlbEntry {
            va: self.va & !low_mask(size),
            pa: 0,
            gpa: 0,
            rights: page.rights.bits(),
            space: self.context.space,
            global: page.global,
            size_bits: size as u8,
            leaf_bits: page.size_bits as u8,
            leaf2_bits: 0,
            level: page.level as u8,
            attr: page.attr,
        }
    }

    /// What the TLB keeps of the first stage alone.
    #[inline(always)]
    pub(super) fn single(&self, page: &Page) -> TlbEntry {
        TlbEntry { pa: page.base, gpa: page.base, ..self.entry(page, page.size_bits) }
    }

    /// What the TLB keeps of both stages, the second having mapped `gpa`.
    #[inline]
    pub(super) fn combined(&self, page: &Page, gpa: u64, mapped: &Mapped) -> TlbEntry {
        let &Mapped { base, size_bits, rights, attr } = mapped;
        let size = page.size_bits.min(size_bits);
        let clean = if rights.contains(Rights::DIRTY) { Rights::empty() } else { Rights::DIRTY };
        let rights = (page.rights - Rights::SECOND).union(rights & Rights::SECOND) - clean;
        TlbEntry {
            pa: (base | gpa & low_mask(size_bits)) & !low_mask(size),
            gpa: gpa & !low_mask(size),
            rights: rights.bits(),
            // With guest paging off there is no first-stage leaf larger than the page itself.
            leaf_bits: if self.context.mode == Mode::Off { size } else { page.size_bits } as u8,
            leaf2_bits: size_bits as u8,
            attr: page.attr | attr,
            ..self.entry(page, size)
        }
    }
}

/// Translates `access` through all its stages; see [`Arch::walk`](crate::arch::Arch::walk).
#[inline(never)]
pub(super) fn translate<P: PteMemory>(
    x86: &X86,
    context: &Context,
    access: &Access<Flavor>,
    memory: &mut P,
) -> Result<TlbEntry, WalkError<Fault>> {
    let va = super::effective(context.mode, context.masking.apply(access.va.0));
    let first = First { x86, context, access, va };
    if let Some(lower) = &x86.lower {
        let mut tables = GuestTables { lower, x86, linear: Some(access.va), memory };
        let page = first.translate(&mut tables)?;
        let gpa = page.base | first.va & low_mask(page.size_bits);
        let request = Request::at_last(access, gpa, page.rights);
        let mapped = lower.translate(x86, request, tables.memory)?;
        return Ok(first.combined(&page, gpa, &mapped));
    }
    let page = first.translate(&mut Direct(memory))?;
    if context.mode == Mode::Off {
        // Nothing is cached: one page of the identity is as good as another.
        let pa = first.va & !low_mask(12);
        return Ok(TlbEntry { pa, gpa: pa, leaf_bits: 12, ..first.entry(&page, 12) });
    }
    Ok(first.single(&page))
}
