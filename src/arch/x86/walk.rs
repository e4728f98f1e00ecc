//! One stage's walk with its marks: find the leaf, judge it, set the accessed and dirty bits that are due.
//!
//! ```text
//! walk (reads only) -> leaf -> judge -> all marks there? -> done
//!                        |       |             | no
//!                        v       v             v
//!                      fault   fault    walk again, marking: each entry by compare-and-swap, root first,
//!                                       the leaf only if it is still the one that was judged
//! ```
//!
//! Most walks find every mark set and never write. The radix engine does both passes; the second has a source that
//! marks as it reads. Accessed and dirty: SDM Vol. 3A 4.8, APM Vol. 2 5.4.2.

use super::config::AccessedOnFault;
use super::fault::{Fault, PageFaultCode, access_code};
use super::mode::Mode;
use super::nested::{Mapped, Request};
use super::pte::{self, Legacy32, LongMode, Pae, Pte};
use super::rights::{Context, Rights};
use super::{Cr4, Efer, Flavor, Second, X86, memtype};
use crate::access::Access;
use crate::addr::{VirtAddr, low_mask};
use crate::arch::{PteMemory, WalkError};
use crate::radix::{Entry, Format, Leaf, PteRef, PteSource, Stage, Stop, Subtable, walk};
use crate::tlb::TlbEntry;

/// A format whose entries are marked when they are used.
pub(super) trait Marked: Format {
    /// The bit that an entry of `level` gets when a translation uses it; 0 where it gets none. The same bit of the
    /// limits says whether all tables above have theirs.
    fn accessed(&self, level: u32) -> u64;
    /// The bit that a leaf gets when it is written through; 0 where it gets none.
    fn dirty(&self) -> u64;
}

/// Where a walk finds its tables: in physical memory, or behind a second stage.
pub(super) trait Tables: PteSource<Error = WalkError<Fault>> {
    /// Replaces the entry `at`, which reads `old`, by `new`; [`WalkError::Raced`] if it no longer reads so.
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<(), WalkError<Fault>>;
}

/// Tables in physical memory.
pub(super) struct Direct<'a, P>(pub(super) &'a mut P);

impl<P: PteMemory> PteSource for Direct<'_, P> {
    type Error = WalkError<Fault>;

    #[inline]
    fn read(&mut self, at: PteRef) -> Result<u64, Self::Error> {
        self.0.read(at).map_err(WalkError::Bus)
    }
    #[inline]
    fn resume(&mut self, stage: Stage, va: u64) -> Option<Subtable> {
        self.0.resume(stage, va)
    }

    fn recall(&mut self, stage: Stage, va: u64) -> Option<Leaf> {
        self.0.recall(stage, va)
    }

    fn reached(&mut self, stage: Stage, va: u64, leaf: &Leaf) {
        self.0.reached(stage, va, leaf);
    }
    #[inline]
    fn descended(&mut self, stage: Stage, va: u64, table: Subtable) {
        self.0.descended(stage, va, table);
    }
}

impl<P: PteMemory> Tables for Direct<'_, P> {
    #[inline]
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<(), WalkError<Fault>> {
        match self.0.update(at, old, new) {
            Ok(true) => Ok(()),
            Ok(false) => Err(WalkError::Raced),
            Err(error) => Err(WalkError::Bus(error)),
        }
    }
}

/// What a stage makes of the ends of its walks.
pub(super) trait Judge {
    /// The walk met an entry that is not present, under tables that combine to `limits`.
    fn absent(&self, limits: u64) -> Fault;
    /// The walk met a reserved encoding.
    fn reserved(&self) -> Fault;
    /// The walk met a leaf: is the access allowed?
    fn leaf(&self, leaf: &Leaf) -> Result<(), Fault>;
}

/// One stage's walk to be made.
pub(super) struct Job<'a, F> {
    pub(super) format: &'a F,
    pub(super) stage: Stage,
    pub(super) root: u64,
    pub(super) va: u64,
    /// Whether a permitted access sets the dirty bit.
    pub(super) writes: bool,
    pub(super) on_fault: AccessedOnFault,
}

impl<F: Marked> Job<'_, F> {
    /// Finds the leaf, has it judged and marks what is due. The leaf is returned as it stands in memory then.
    #[inline]
    pub(super) fn run<T: Tables>(
        &self,
        tables: &mut T,
        judge: &impl Judge,
    ) -> Result<Leaf, WalkError<Fault>> {
        let fault = match walk(self.format, self.stage, self.root, self.va, tables) {
            Ok(leaf) => match judge.leaf(&leaf) {
                Ok(()) => return self.mark(tables, leaf),
                Err(fault) => fault,
            },
            Err(Stop::Absent { limits, .. }) => judge.absent(limits),
            Err(Stop::Reserved { .. }) => judge.reserved(),
            Err(Stop::Source { error, .. }) => return Err(error),
        };
        if self.on_fault == AccessedOnFault::Tables {
            self.walk_marking(tables, None)?;
        }
        Err(WalkError::Fault(fault))
    }

    #[inline]
    fn mark<T: Tables>(&self, tables: &mut T, leaf: Leaf) -> Result<Leaf, WalkError<Fault>> {
        let accessed = self.format.accessed(leaf.at.level);
        let due = if self.writes { accessed | self.format.dirty() } else { accessed };
        if leaf.raw & due == due && leaf.limits & accessed == accessed {
            return Ok(leaf);
        }
        self.walk_marking(tables, Some((leaf, due)))?.ok_or(WalkError::Raced)
    }

    /// The second pass; `None` where it met no leaf.
    #[cold]
    fn walk_marking<T: Tables>(
        &self,
        tables: &mut T,
        leaf: Option<(Leaf, u64)>,
    ) -> Result<Option<Leaf>, WalkError<Fault>> {
        let mut marking = Marking { format: self.format, tables, leaf };
        match walk(self.format, self.stage, self.root, self.va, &mut marking) {
            Ok(leaf) => Ok(Some(leaf)),
            Err(Stop::Source { error, .. }) => Err(error),
            Err(Stop::Absent { .. } | Stop::Reserved { .. }) => Ok(None),
        }
    }
}

/// Tables that are marked as they are read.
struct Marking<'a, F, T> {
    format: &'a F,
    tables: &'a mut T,
    /// The leaf that was judged, and the bits it is to get. Any other leaf means that the tables have changed since.
    leaf: Option<(Leaf, u64)>,
}

impl<F: Marked, T: Tables> PteSource for Marking<'_, F, T> {
    type Error = WalkError<Fault>;

    fn read(&mut self, at: PteRef) -> Result<u64, Self::Error> {
        let raw = self.tables.read(at)?;
        let due = match (self.format.decode(raw, at.level), &self.leaf) {
            (Entry::Table(_), _) => self.format.accessed(at.level),
            (Entry::Leaf { .. }, Some((leaf, due))) if leaf.at == at && leaf.raw == raw => *due,
            (Entry::Leaf { .. }, Some(_)) => return Err(WalkError::Raced),
            _ => 0,
        };
        if raw & due != due {
            self.tables.update(at, raw, raw | due)?;
        }
        Ok(raw | due)
    }

    // No resuming: the entries above a cached table want their marks too.

    fn descended(&mut self, stage: Stage, va: u64, table: Subtable) {
        self.tables.descended(stage, va, table);
    }
}

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
    fn leaf(&self, leaf: &Leaf) -> Result<(), Fault> {
        let nxe = self.x86.registers.efer.contains(Efer::NXE);
        match self.context.refusal(Rights::of_leaf(leaf.raw, leaf.limits), nxe) {
            None => Ok(()),
            Some(why) => Err(self.fault(why | PageFaultCode::PRESENT)),
        }
    }
}

impl First<'_> {
    /// Translates by the mode that the control registers select.
    #[inline]
    fn translate<T: Tables>(&self, tables: &mut T) -> Result<Page, WalkError<Fault>> {
        let X86 { config, registers, .. } = self.x86;
        let nxe = registers.efer.contains(Efer::NXE);
        let root = registers.cr3 & pte::root_mask(self.context.mode);
        match self.context.mode {
            Mode::Off => {
                Ok(Page { base: 0, size_bits: 32, level: 0, rights: Rights::UNPAGED, attr: 0, global: false })
            }
            Mode::Legacy32 => {
                let format = Legacy32::new(config, registers.cr4.contains(Cr4::PSE));
                self.paged(&format, root, tables)
            }
            Mode::Pae if matches!(self.x86.second(), Some(Second::Npt(_))) => {
                self.paged(&Pae::in_memory(config, nxe), root, tables)
            }
            Mode::Pae => {
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
                self.paged(&Pae::below_registers(config, nxe), pdpte & pte::ADDRESS, tables)
            }
            Mode::Level4 => self.paged(&LongMode::new(config, nxe, false), root, tables),
            Mode::Level5 => self.paged(&LongMode::new(config, nxe, true), root, tables),
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
        let Leaf { base, size_bits, raw, at, limits } = job.run(tables, self)?;
        Ok(Page {
            base,
            size_bits,
            level: at.level,
            rights: Rights::of_leaf(raw, limits),
            attr: memtype::first(pte::pat_index(raw, size_bits)),
            global: raw & Pte::GLOBAL.bits() != 0 && self.x86.registers.cr4.contains(Cr4::PGE),
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
    let va = super::effective(context.mode, access.va.0);
    let first = First { x86, context, access, va };
    let entry = |page: &Page, size: u32| TlbEntry {
        va: va & !low_mask(size),
        pa: 0,
        gpa: 0,
        rights: page.rights.bits(),
        space: context.space,
        global: page.global,
        size_bits: size as u8,
        leaf_bits: page.size_bits as u8,
        leaf2_bits: 0,
        level: page.level as u8,
        attr: page.attr,
    };
    let Some(second) = x86.second() else {
        let page = first.translate(&mut Direct(memory))?;
        // With paging off nothing is cached: one page of the identity is as good as another.
        let size = if context.mode == Mode::Off { 12 } else { page.size_bits };
        let pa = (page.base | va & low_mask(page.size_bits)) & !low_mask(size);
        return Ok(TlbEntry { pa, gpa: pa, leaf_bits: size as u8, ..entry(&page, size) });
    };
    let page = first.translate(&mut second.tables(x86, Some(access.va), memory))?;
    let gpa = page.base | va & low_mask(page.size_bits);
    let request = Request::at_last(access, gpa, page.rights);
    let Mapped { base, size_bits, rights, attr } = second.translate(x86, &request, memory)?;
    let size = page.size_bits.min(size_bits);
    let rights = (page.rights - Rights::SECOND).union(rights & Rights::SECOND)
        - if rights.contains(Rights::DIRTY) { Rights::empty() } else { Rights::DIRTY };
    Ok(TlbEntry {
        pa: (base | gpa & low_mask(size_bits)) & !low_mask(size),
        gpa: gpa & !low_mask(size),
        rights: rights.bits(),
        // With guest paging off there is no first-stage leaf larger than the page itself.
        leaf_bits: if context.mode == Mode::Off { size } else { page.size_bits } as u8,
        leaf2_bits: size_bits as u8,
        attr: page.attr | attr,
        ..entry(&page, size)
    })
}
