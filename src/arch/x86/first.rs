//! The first stage, and both stages together: from an access to what the TLB may keep.

use super::fault::{Fault, PageFaultCode, access_code};
use super::mode::Paging;
use super::nested::{Mapped, Request, Second};
use super::pte::{self, Pte};
use super::rights::{Context, Rights};
use super::walk::{Direct, Job, Judge, Marked, Tables};
use super::{Cr4, Efer, Flavor, Mode, X86, memtype};
use crate::access::Access;
use crate::addr::{VirtAddr, low_mask};
use crate::arch::{PteMemory, WalkError};
use crate::radix::{Leaf, Stage};
use crate::tlb::TlbEntry;

/// What the first stage found.
struct Page {
    base: u64,
    size_bits: u32,
    level: u32,
    rights: Rights,
    attr: u16,
    global: bool,
}

/// The first stage's judgement of one access.
struct First<'a> {
    x86: &'a X86,
    context: &'a Context,
    access: &'a Access<Flavor>,
    va: u64,
}

impl First<'_> {
    fn fault(&self, why: PageFaultCode) -> Fault {
        Fault::Page { code: access_code(self.x86, self.context, self.access) | why, cr2: VirtAddr(self.va) }
    }
}

impl Judge for First<'_> {
    type Granted = Rights;

    fn absent(&self, limits: u64) -> Fault {
        // Only a cached upper table can bring XD here while NXE is clear: the bit is reserved now.
        if limits & Pte::NX.bits() != 0 && !self.x86.registers.efer.contains(Efer::NXE) {
            return self.reserved();
        }
        self.fault(PageFaultCode::empty())
    }
    fn reserved(&self) -> Fault {
        self.fault(PageFaultCode::PRESENT | PageFaultCode::RESERVED)
    }
    #[inline]
    fn leaf(&self, leaf: &Leaf) -> Result<Rights, Fault> {
        let rights = Rights::of_leaf(leaf.raw, leaf.limits);
        if self.context.first_stage_permits(rights) {
            return Ok(rights);
        }
        Err(self.fault(self.context.refusal(rights, self.x86.registers.efer) | PageFaultCode::PRESENT))
    }
}

impl First<'_> {
    /// Translates by the mode that the control registers select.
    #[inline]
    fn translate<T: Tables>(&self, tables: &mut T) -> Result<Page, WalkError<Fault>> {
        let root = self.x86.root;
        match &self.x86.paging {
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
                    return Err(WalkError::Fault(self.absent(0)));
                }
                self.paged(format, pdpte & pte::ADDRESS, tables)
            }
            Paging::Long(format) => self.paged(format, root, tables),
        }
    }

    #[inline]
    fn paged<F: Marked, T: Tables>(
        &self,
        format: &F,
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
        let (Leaf { base, size_bits, raw, at, .. }, rights) = job.run(tables, self)?;
        Ok(Page {
            base,
            size_bits,
            level: at.level,
            rights,
            attr: memtype::first(pte::pat_index(raw, size_bits)),
            global: raw & Pte::GLOBAL.bits() != 0 && self.x86.registers.cr4.contains(Cr4::PGE),
        })
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

    #[inline]
    fn alone<P: PteMemory>(&self, memory: &mut P) -> Result<TlbEntry, WalkError<Fault>> {
        let page = self.translate(&mut Direct(memory))?;
        if self.context.mode == Mode::Off {
            // Nothing is cached: one page of the identity is as good as another.
            let pa = self.va & !low_mask(12);
            return Ok(TlbEntry { pa, gpa: pa, leaf_bits: 12, ..self.entry(&page, 12) });
        }
        Ok(TlbEntry { pa: page.base, gpa: page.base, ..self.entry(&page, page.size_bits) })
    }

    #[inline(never)]
    fn nested<P: PteMemory>(&self, second: &Second, memory: &mut P) -> Result<TlbEntry, WalkError<Fault>> {
        let page = self.translate(&mut second.tables(self.x86, Some(self.access.va), memory))?;
        let gpa = page.base | self.va & low_mask(page.size_bits);
        let request = Request::at_last(self.access, gpa, page.rights);
        let Mapped { base, size_bits, rights, attr } = second.translate(self.x86, &request, memory)?;
        let size = page.size_bits.min(size_bits);
        let clean = if rights.contains(Rights::DIRTY) { Rights::empty() } else { Rights::DIRTY };
        let rights = (page.rights - Rights::SECOND).union(rights & Rights::SECOND) - clean;
        Ok(TlbEntry {
            pa: (base | gpa & low_mask(size_bits)) & !low_mask(size),
            gpa: gpa & !low_mask(size),
            rights: rights.bits(),
            // With guest paging off there is no first-stage leaf larger than the page itself.
            leaf_bits: if self.context.mode == Mode::Off { size } else { page.size_bits } as u8,
            leaf2_bits: size_bits as u8,
            attr: page.attr | attr,
            ..self.entry(&page, size)
        })
    }
}

/// Translates `access` through all its stages; see [`Arch::walk`](crate::arch::Arch::walk).
#[inline]
pub(super) fn translate<P: PteMemory>(
    x86: &X86,
    context: &Context,
    access: &Access<Flavor>,
    memory: &mut P,
) -> Result<TlbEntry, WalkError<Fault>> {
    let first = First { x86, context, access, va: super::effective(context.mode, access.va.0) };
    match x86.second() {
        None => first.alone(memory),
        Some(second) => first.nested(second, memory),
    }
}
