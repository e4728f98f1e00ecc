//! Stage two: guest-physical addresses, and VS-stage tables that lie behind them (privileged manual, "Two-Stage Address
//! Translation").
//!
//! [`Nested`] is what makes two stages of one walk: it hands the stage-one walk its entries, translating the place of
//! each through the G-stage first. Where a page of VS-stage tables is refused there, that is a guest-page fault of the
//! *original* access's type, with the address of the entry and a pseudo-instruction.
//!
//! As the machine of the recorded corpora does: entries are read as a load would (A is set in the G-stage leaf; MXR does
//! not apply) and updated as a store would (D is set, W is needed); marks set on the way stay set when the access faults
//! later. The manual asks for no more and no less than this except that it also allows A to be set speculatively.

use super::context::Context;
use super::csr::Mode;
use super::pte::{Sv32, Sv32x4, Sv39, Sv39x4, Sv48, Sv48x4, Sv57, Sv57x4};
use super::rights::{Need, Use};
use super::walk::{Ask, Found, Physical, Tables, Trouble, entry, stage, untranslated};
use super::{Fault, Flavor, Riscv};
use crate::access::{Access, AccessKind};
use crate::addr::VirtAddr;
use crate::arch::{FaultClass, PteMemory, WalkError};
use crate::radix::{Leaf, PteRef, PteSource, Stage, Subtable};
use crate::tlb::TlbEntry;

/// Translates `gpa`: steps as for stage one, except that the root is four tables long, that U must be set, and that
/// page faults become guest-page faults.
fn second<P: PteMemory>(
    mode: Mode,
    gpa: u64,
    need: Need,
    ask: Ask<'_>,
    physical: &mut Physical<'_, P>,
) -> Result<Found, Trouble> {
    let (root, rules) = (ask.hart.hgatp.root, ask.hart.second_rules);
    let found = match mode {
        Mode::Bare => Ok(Found::identity(gpa)),
        Mode::Sv32 => stage(&Sv32x4::new(rules), Stage::Second, root, gpa, need, || ask, physical),
        Mode::Sv39 => stage(&Sv39x4::new(rules), Stage::Second, root, gpa, need, || ask, physical),
        Mode::Sv48 => stage(&Sv48x4::new(rules), Stage::Second, root, gpa, need, || ask, physical),
        Mode::Sv57 => stage(&Sv57x4::new(rules), Stage::Second, root, gpa, need, || ask, physical),
    };
    found.map_err(|trouble| match trouble {
        // Shadow stacks do not exist here: what stage one would call misuse is a missing right.
        Trouble::Page(_) | Trouble::Access(FaultClass::Protection) => Trouble::Guest { gpa, implicit: None },
        other => other,
    })
}

/// VS-stage tables, in guest-physical memory.
struct Nested<'a, P> {
    hart: &'a Riscv,
    mode: Mode,
    physical: Physical<'a, P>,
}

impl<P: PteMemory> Nested<'_, P> {
    /// Where an entry is in physical memory, if the G-stage lets it be read, or written.
    fn place(&mut self, at: PteRef, kind: AccessKind) -> Result<PteRef, Trouble> {
        let write = kind == AccessKind::Write;
        let need = Need::second(if write { Use::Store } else { Use::Load }, false);
        let access = Access { va: VirtAddr(at.addr), len: at.bytes, kind, flavor: Flavor::Normal };
        let ask = Ask { hart: self.hart, access: &access, guest: false };
        match second(self.mode, at.addr, need, ask, &mut self.physical) {
            Ok(found) => Ok(PteRef { addr: found.address(at.addr), ..at }),
            Err(Trouble::Guest { gpa, .. }) => Err(Trouble::Guest { gpa, implicit: Some(write) }),
            Err(other) => Err(other),
        }
    }
}

impl<P: PteMemory> PteSource for Nested<'_, P> {
    type Error = Trouble;

    fn read(&mut self, at: PteRef) -> Result<u64, Trouble> {
        let place = self.place(at, AccessKind::Read)?;
        self.physical.read(place)
    }

    fn resume(&mut self, stage: Stage, va: u64) -> Option<Subtable> {
        self.physical.resume(stage, va)
    }

    fn recall(&mut self, stage: Stage, va: u64) -> Option<Leaf> {
        self.physical.recall(stage, va)
    }

    fn reached(&mut self, stage: Stage, va: u64, leaf: &Leaf) {
        self.physical.reached(stage, va, leaf);
    }

    fn descended(&mut self, stage: Stage, va: u64, table: Subtable) {
        self.physical.descended(stage, va, table);
    }
}

impl<P: PteMemory> Tables for Nested<'_, P> {
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<bool, Trouble> {
        let place = self.place(at, AccessKind::Write)?;
        self.physical.update(place, old, new)
    }
}

/// The general translation: any mode of either stage, physical memory protection in front of all of it.
#[inline(never)]
pub(super) fn translate<P: PteMemory>(
    hart: &Riscv,
    context: &Context,
    access: &Access<Flavor>,
    memory: &mut P,
) -> Result<TlbEntry, WalkError<Fault>> {
    let va = context.effective(access);
    let mut physical = Physical { memory, pmp: hart.pmp.is_active().then_some(&hart.pmp) };
    let done = match (context.first, context.second) {
        (Mode::Bare, Mode::Bare) => Ok(untranslated(context, va)),
        (_, Mode::Bare) => {
            first(hart, context, access, va, &mut physical).map(|found| entry(context, va, found, None))
        }
        _ => both(hart, context, access, va, Nested { hart, mode: context.second, physical }),
    };
    done.map_err(|trouble| hart.raise(context, access, va, trouble))
}

/// Both stages, the second of them on.
fn both<P: PteMemory>(
    hart: &Riscv,
    context: &Context,
    access: &Access<Flavor>,
    va: u64,
    mut nested: Nested<'_, P>,
) -> Result<TlbEntry, Trouble> {
    let mut found1 = first(hart, context, access, va, &mut nested)?;
    found1.global &= hart.config.share_guest_globals;
    let need = context.need(access.kind).second_half();
    let ask = Ask { hart, access, guest: false };
    let found2 = second(context.second, found1.address(va), need, ask, &mut nested.physical)?;
    Ok(entry(context, va, found1, Some(found2)))
}

/// Stage one, wherever its tables are.
#[inline]
fn first<T: Tables>(
    hart: &Riscv,
    context: &Context,
    access: &Access<Flavor>,
    va: u64,
    tables: &mut T,
) -> Result<Found, Trouble> {
    let (rules, root) = (hart.first_stage(context.virt).rules, hart.first_stage(context.virt).root);
    let need = context.need(access.kind).first_half();
    let ask = Ask { hart, access, guest: context.virt };
    match context.first {
        Mode::Bare => Ok(Found::identity(va)),
        Mode::Sv32 => stage(&Sv32::new(rules), Stage::First, root, va, need, || ask, tables),
        Mode::Sv39 => stage(&Sv39::new(rules), Stage::First, root, va, need, || ask, tables),
        Mode::Sv48 => stage(&Sv48::new(rules), Stage::First, root, va, need, || ask, tables),
        Mode::Sv57 => stage(&Sv57::new(rules), Stage::First, root, va, need, || ask, tables),
    }
}
