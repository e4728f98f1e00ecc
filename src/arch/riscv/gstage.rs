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
use super::pte::{Sv, Sv32, Sv39, Sv48, Sv57};
use super::rights::{Need, Use};
use super::walk::{Ask, Found, Physical, Tables, Trouble, entry, plain_address, stage, untranslated};
use super::{Fault, Flavor, Riscv};
use crate::access::{Access, AccessKind};
use crate::arch::{FaultClass, PteMemory, WalkError};
use crate::radix::{Leaf, PteRef, PteSource, Stage, Subtable};
use crate::tlb::TlbEntry;

/// How the G-stage is walked: in a mode known when the walk was compiled, or in whichever is chosen.
trait Lower: Copy {
    /// Translates `gpa`.
    fn find<P: PteMemory>(
        self,
        gpa: u64,
        need: Need,
        ask: Ask<'_>,
        physical: &mut Physical<'_, P>,
    ) -> Result<Found, Trouble>;
}

/// Svx4 of so many levels.
#[derive(Clone, Copy)]
struct Fixed<const LEVELS: u32>;

/// What `hgatp` says.
#[derive(Clone, Copy)]
struct Chosen(Mode);

impl<const LEVELS: u32> Lower for Fixed<LEVELS> {
    /// Steps as for stage one, except that the root is four tables long, that U must be set, and that page faults become
    /// guest-page faults.
    #[inline(always)]
    fn find<P: PteMemory>(
        self,
        gpa: u64,
        need: Need,
        ask: Ask<'_>,
        physical: &mut Physical<'_, P>,
    ) -> Result<Found, Trouble> {
        let format = Sv::<LEVELS, 2>::new(ask.hart.second_rules);
        stage(&format, Stage::Second, ask.hart.hgatp.root, gpa, need, || ask, physical).map_err(|trouble| {
            match trouble {
                // Shadow stacks do not exist here: what stage one would call misuse is a missing right.
                Trouble::Page(_) | Trouble::Access(FaultClass::Protection) => {
                    Trouble::Guest { gpa, implicit: None }
                }
                other => other,
            }
        })
    }
}

impl Lower for Chosen {
    fn find<P: PteMemory>(
        self,
        gpa: u64,
        need: Need,
        ask: Ask<'_>,
        physical: &mut Physical<'_, P>,
    ) -> Result<Found, Trouble> {
        match self.0 {
            Mode::Bare => Ok(Found::identity(gpa)),
            Mode::Sv32 => Fixed::<2>.find(gpa, need, ask, physical),
            Mode::Sv39 => Fixed::<3>.find(gpa, need, ask, physical),
            Mode::Sv48 => Fixed::<4>.find(gpa, need, ask, physical),
            Mode::Sv57 => Fixed::<5>.find(gpa, need, ask, physical),
        }
    }
}

/// VS-stage tables, in guest-physical memory.
struct Nested<'a, P, L> {
    hart: &'a Riscv,
    lower: L,
    physical: Physical<'a, P>,
}

impl<P: PteMemory, L: Lower> Nested<'_, P, L> {
    /// Where an entry is in physical memory, if the G-stage lets it be read, or written.
    #[inline(always)]
    fn place(&mut self, at: PteRef, kind: AccessKind) -> Result<PteRef, Trouble> {
        let write = kind == AccessKind::Write;
        let need = Need::second(if write { Use::Store } else { Use::Load }, false);
        let ask = Ask { hart: self.hart, kind, flavor: Flavor::Normal, guest: false };
        match self.lower.find(at.addr, need, ask, &mut self.physical) {
            Ok(found) => Ok(PteRef { addr: found.address(at.addr), ..at }),
            Err(Trouble::Guest { gpa, .. }) => Err(Trouble::Guest { gpa, implicit: Some(write) }),
            Err(other) => Err(other),
        }
    }
}

impl<P: PteMemory, L: Lower> PteSource for Nested<'_, P, L> {
    type Error = Trouble;

    #[inline(always)]
    fn read(&mut self, at: PteRef) -> Result<u64, Trouble> {
        let place = self.place(at, AccessKind::Read)?;
        self.physical.read(place)
    }

    #[inline]
    fn resume(&mut self, stage: Stage, va: u64) -> Option<Subtable> {
        self.physical.resume(stage, va)
    }

    #[inline]
    fn recall(&mut self, stage: Stage, va: u64) -> Option<Leaf> {
        self.physical.recall(stage, va)
    }

    #[inline]
    fn reached(&mut self, stage: Stage, va: u64, leaf: &Leaf) {
        self.physical.reached(stage, va, leaf);
    }

    #[inline]
    fn descended(&mut self, stage: Stage, va: u64, table: Subtable) {
        self.physical.descended(stage, va, table);
    }
}

impl<P: PteMemory, L: Lower> Tables for Nested<'_, P, L> {
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
        _ => {
            let mut nested = Nested { hart, lower: Chosen(context.second), physical };
            let found = first(hart, context, access, va, &mut nested);
            found.and_then(|found| both(context, access, va, found, &mut nested))
        }
    };
    done.map_err(|trouble| hart.raise(context, access, va, trouble))
}

/// Two stages of so many levels each, without PMP: what a guest mostly runs on.
#[inline(never)]
pub(super) fn double<const LEVELS: u32, P: PteMemory>(
    hart: &Riscv,
    context: &Context,
    access: &Access<Flavor>,
    memory: &mut P,
) -> Result<TlbEntry, WalkError<Fault>> {
    let va = plain_address::<LEVELS>(access);
    let mut nested = Nested { hart, lower: Fixed::<LEVELS>, physical: Physical { memory, pmp: None } };
    let tables = hart.first_stage(true);
    let format = Sv::<LEVELS>::new(tables.rules);
    let need = context.need(access.kind).first_half();
    let ask = || Ask::new(hart, access, true);
    let done = match stage(&format, Stage::First, tables.root, va, need, ask, &mut nested) {
        Ok(found) => both(context, access, va, found, &mut nested),
        Err(trouble) => Err(trouble),
    };
    match done {
        Ok(entry) => Ok(entry),
        Err(trouble) => Err(hart.raise(context, access, va, trouble)),
    }
}

/// The second stage's part, once the first has found its leaf.
#[inline(always)]
fn both<P: PteMemory, L: Lower>(
    context: &Context,
    access: &Access<Flavor>,
    va: u64,
    mut first: Found,
    nested: &mut Nested<'_, P, L>,
) -> Result<TlbEntry, Trouble> {
    first.global &= nested.hart.config.share_guest_globals;
    let need = context.need(access.kind).second_half();
    let ask = Ask::new(nested.hart, access, false);
    let second = nested.lower.find(first.address(va), need, ask, &mut nested.physical)?;
    Ok(entry(context, va, first, Some(second)))
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
    let at = hart.first_stage(context.virt);
    let need = context.need(access.kind).first_half();
    let ask = || Ask::new(hart, access, context.virt);
    match context.first {
        Mode::Bare => Ok(Found::identity(va)),
        Mode::Sv32 => stage(&Sv32::new(at.rules), Stage::First, at.root, va, need, ask, tables),
        Mode::Sv39 => stage(&Sv39::new(at.rules), Stage::First, at.root, va, need, ask, tables),
        Mode::Sv48 => stage(&Sv48::new(at.rules), Stage::First, at.root, va, need, ask, tables),
        Mode::Sv57 => stage(&Sv57::new(at.rules), Stage::First, at.root, va, need, ask, tables),
    }
}
