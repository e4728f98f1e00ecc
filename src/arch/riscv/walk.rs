//! Stage one: "Virtual Address Translation Process" (privileged manual, Sv32 section; the other modes share it).
//!
//! The radix engine does steps 1 to 4 through the format. Here are the canonical check before it, step 5 (rights), step
//! 7 (accessed and dirty bits) and the outcome. Where entries come from is the [`Tables`]'s business: physical memory
//! behind PMP here, guest-physical memory behind the second stage in [`gstage`](super::gstage).

use super::context::{Context, Route};
use super::pmp::{Pmp, PmpAccess, PmpFlags};
use super::pte::{G, Sv, pbmt};
use super::rights::{Need, OPEN, Rights, Use, rights_of};
use super::{Fault, Flavor, Riscv, gstage};
use crate::access::{Access, AccessKind};
use crate::addr::low_mask;
use crate::arch::{FaultClass, PteMemory, WalkError};
use crate::memory::BusError;
use crate::radix::{Encode, Leaf, PteRef, PteSource, Stage, Stop, Subtable, walk};
use crate::tlb::TlbEntry;

/// Why there is no translation, before it gets its exception code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// A page fault.
    Page(FaultClass),
    /// An access fault.
    Access(FaultClass),
    /// A guest-page fault at `gpa`; `implicit` if that was a VS-stage table, with whether it was to be written.
    Guest { gpa: u64, implicit: Option<bool> },
    /// An entry changed between read and update.
    Raced,
}

/// Memory that holds page tables.
pub(super) trait Tables: PteSource<Error = Trouble> {
    /// Replaces the entry at `at` if it still reads `old`; `false` if it does not.
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<bool, Trouble>;
}

/// Tables in physical memory. PMP sees a walk's reads and writes as S-mode's ("Physical Memory Protection and Paging").
pub(super) struct Physical<'a, P> {
    pub(super) memory: &'a mut P,
    /// The protection, where there is any.
    pub(super) pmp: Option<&'a Pmp>,
}

impl<P> Physical<'_, P> {
    #[inline(always)]
    fn check(&self, at: PteRef, need: PmpFlags) -> Result<(), Trouble> {
        match self.pmp {
            Some(pmp) if !pmp.allows(PmpAccess { need, machine: false }, at.addr, u64::from(at.bytes)) => {
                Err(Trouble::Access(FaultClass::Physical))
            }
            _ => Ok(()),
        }
    }
}

fn refused_by_bus(_: BusError) -> Trouble {
    Trouble::Access(FaultClass::Physical)
}

impl<P: PteMemory> PteSource for Physical<'_, P> {
    type Error = Trouble;

    #[inline(always)]
    fn read(&mut self, at: PteRef) -> Result<u64, Trouble> {
        self.check(at, PmpFlags::R)?;
        self.memory.read(at).map_err(refused_by_bus)
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

impl<P: PteMemory> Tables for Physical<'_, P> {
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<bool, Trouble> {
        self.check(at, PmpFlags::R | PmpFlags::W)?;
        self.memory.update(at, old, new).map_err(refused_by_bus)
    }
}

/// A leaf that allows the access, its accessed and dirty bits set.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// First byte of the page.
    pub(super) base: u64,
    pub(super) size_bits: u32,
    pub(super) rights: u32,
    pub(super) pbmt: u16,
    pub(super) global: bool,
    pub(super) level: u32,
}

impl Found {
    /// `leaf`, its rights (marks included) being `rights`.
    #[inline(always)]
    fn of(leaf: &Leaf, rights: u32) -> Self {
        Self {
            base: leaf.base,
            size_bits: leaf.size_bits,
            rights,
            pbmt: pbmt(leaf.raw),
            global: (leaf.raw | leaf.limits) & G != 0,
            level: leaf.at.level,
        }
    }

    /// What a stage that does not translate yields for `address`.
    pub(super) const fn identity(address: u64) -> Self {
        let size_bits = 63;
        let base = address & !low_mask(size_bits);
        Self { base, size_bits, rights: OPEN, pbmt: 0, global: false, level: 0 }
    }

    #[inline]
    pub(super) const fn address(&self, va: u64) -> u64 {
        self.base | va & low_mask(self.size_bits)
    }
}

/// Who asks one stage for what.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) hart: &'a Riscv,
    pub(super) kind: AccessKind,
    pub(super) flavor: Flavor,
    /// Whether `henvcfg` governs the stage, rather than `menvcfg`.
    pub(super) guest: bool,
}

impl<'a> Ask<'a> {
    #[inline]
    pub(super) const fn new(hart: &'a Riscv, access: &Access<Flavor>, guest: bool) -> Self {
        Self { hart, kind: access.kind, flavor: access.flavor, guest }
    }
}

/// Walks one stage and settles rights and marks.
#[inline(always)]
pub(super) fn stage<'a, F: Encode, T: Tables>(
    format: &F,
    which: Stage,
    root: u64,
    va: u64,
    need: Need,
    ask: impl FnOnce() -> Ask<'a>,
    tables: &mut T,
) -> Result<Found, Trouble> {
    if !format.translates(va) {
        return Err(Trouble::Page(FaultClass::Address));
    }
    let leaf = walk(format, which, root, va, tables).map_err(|stop| match stop {
        Stop::Absent { .. } => Trouble::Page(FaultClass::NotMapped),
        Stop::Reserved { .. } => Trouble::Page(FaultClass::Malformed),
        Stop::Source { error, .. } => error,
    })?;
    let mut rights = rights_of(leaf.raw);
    if !need.met_by(rights) {
        // A copy, made here alone: the original stays in registers. So does what the question is made of.
        let found = leaf;
        rights = settle(&ask(), need, &found, tables)?;
    }
    Ok(Found::of(&leaf, rights))
}

/// Where the leaf as it stands does not do: refuses the access, or sets the marks that are due (step 7: by hardware, or
/// by the handler of a page fault) and says what rights there are then.
#[cold]
#[inline(never)]
fn settle<T: Tables>(ask: &Ask<'_>, need: Need, leaf: &Leaf, tables: &mut T) -> Result<u32, Trouble> {
    let rights = rights_of(leaf.raw);
    if !need.allowed_by(rights) {
        return Err(refusal(ask, need, rights));
    }
    if !ask.hart.hardware_marks(ask.guest) {
        return Err(Trouble::Page(FaultClass::Protection));
    }
    let marked = leaf.raw | need.due(rights);
    if !tables.update(leaf.at, leaf.raw, marked)? {
        return Err(Trouble::Raced);
    }
    Ok(rights_of(marked))
}

/// What a leaf that does not allow the access raises: a page fault, but an access fault where a shadow stack is
/// misused (Zicfiss, "Shadow Stack Memory Protection"), the U bit being looked at first.
fn refusal(ask: &Ask<'_>, need: Need, rights: u32) -> Trouble {
    let has = Rights::from_bits_truncate(rights);
    let misused = match Context::usage(ask.kind, ask.flavor) {
        _ if need.refused_by_user_bit(rights) => false,
        Use::Fetch | Use::Store | Use::Manage => has.contains(Rights::SHADOW),
        // Shadow-stack instructions page-fault on read-only pages (copy on write), and are refused all others.
        Use::ShadowLoad | Use::ShadowStore => {
            !has.contains(Rights::SHADOW) && has.intersects(Rights::WRITE | Rights::EXECUTE)
        }
        Use::Load | Use::LoadExecutable => false,
    };
    if misused { Trouble::Access(FaultClass::Protection) } else { Trouble::Page(FaultClass::Protection) }
}

/// Translates an access through both stages as the context has them.
///
/// Nearly every walk has no PMP to ask, and one stage or two alike: each mode gets a function of its own for that, with
/// the same arguments as this one.
#[inline]
pub(super) fn translate<P: PteMemory>(
    hart: &Riscv,
    context: &Context,
    access: &Access<Flavor>,
    memory: &mut P,
) -> Result<TlbEntry, WalkError<Fault>> {
    match context.route {
        Route::Sv39 => single::<3, P>(hart, context, access, memory),
        Route::Sv48 => single::<4, P>(hart, context, access, memory),
        Route::Sv57 => single::<5, P>(hart, context, access, memory),
        Route::Sv32 => single::<2, P>(hart, context, access, memory),
        Route::Sv39x4 => gstage::double::<3, P>(hart, context, access, memory),
        Route::Sv48x4 => gstage::double::<4, P>(hart, context, access, memory),
        Route::Sv57x4 => gstage::double::<5, P>(hart, context, access, memory),
        Route::Sv32x4 => gstage::double::<2, P>(hart, context, access, memory),
        Route::General => gstage::translate(hart, context, access, memory),
    }
}

/// The address of an access that is not masked; on RV32 that is 32 bits.
#[inline(always)]
pub(super) const fn plain_address<const LEVELS: u32>(access: &Access<Flavor>) -> u64 {
    if LEVELS == 2 { access.va.0 & low_mask(32) } else { access.va.0 }
}

/// Stage one alone, without PMP.
#[inline(never)]
fn single<const LEVELS: u32, P: PteMemory>(
    hart: &Riscv,
    context: &Context,
    access: &Access<Flavor>,
    memory: &mut P,
) -> Result<TlbEntry, WalkError<Fault>> {
    let va = plain_address::<LEVELS>(access);
    let tables = hart.first_stage(context.virt);
    let mut physical = Physical { memory, pmp: None };
    let need = context.need(access.kind);
    let ask = || Ask::new(hart, access, context.virt);
    let format = Sv::<LEVELS>::new(tables.rules);
    match stage(&format, Stage::First, tables.root, va, need, ask, &mut physical) {
        Ok(found) => Ok(entry(context, va, found, None)),
        Err(trouble) => Err(hart.raise(context, access, va, trouble)),
    }
}

/// The page at `va` as it is.
pub(super) fn untranslated(context: &Context, va: u64) -> TlbEntry {
    entry(context, va, Found { base: va & !0xfff, size_bits: 12, ..Found::identity(va) }, None)
}

/// What the TLB keeps: both leaves as one translation of the smaller page.
#[inline(always)]
pub(super) fn entry(context: &Context, va: u64, first: Found, second: Option<Found>) -> TlbEntry {
    let gpa = first.address(va);
    let (pa, size_bits, leaf2_bits, rights2, pbmt2) = match second {
        None => (gpa, first.size_bits, 0, 0, 0),
        Some(second) => {
            let size_bits = first.size_bits.min(second.size_bits);
            (second.address(gpa), size_bits, second.size_bits, second.rights, second.pbmt)
        }
    };
    let page = !low_mask(size_bits);
    TlbEntry {
        va: va & page,
        pa: pa & page,
        gpa: gpa & page,
        rights: u64::from(first.rights | rights2 << super::rights::SECOND),
        space: context.space,
        global: first.global,
        size_bits: size_bits as u8,
        leaf_bits: first.size_bits as u8,
        leaf2_bits: leaf2_bits as u8,
        level: first.level as u8,
        // "Svpbmt": a VS-stage type overrides the G-stage's, which overrides the PMAs.
        attr: if first.pbmt != 0 { first.pbmt } else { pbmt2 },
    }
}
