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
use super::walk::{Ask, Found, Physical, Tables, Trouble, entry, stage};
use super::{Fault, Flavor, Riscv};
use crate::access::Access;
use crate::arch::{FaultClass, PteMemory, WalkError};
use crate::radix::{Leaf, PteRef, PteSource, Stage, Subtable};
use crate::tlb::TlbEntry;

/// Translates `gpa`: steps as for stage one, except that the root is four tables long, that U must be set, and that
/// page faults become guest-page faults.
fn second<P: PteMemory>(
    hart: &Riscv,
    mode: Mode,
    gpa: u64,
    what: Use,
    need: Need,
    physical: &mut Physical<'_, P>,
) -> Result<Found, Trouble> {
    let ask = Ask { what, need, hardware: hart.hardware_marks(false) };
    let (root, rules) = (hart.hgatp.root, hart.second_rules);
    let found = match mode {
        Mode::Bare => Ok(Found::identity(gpa)),
        Mode::Sv32 => stage(&Sv32x4::new(rules), Stage::Second, root, gpa, ask, physical),
        Mode::Sv39 => stage(&Sv39x4::new(rules), Stage::Second, root, gpa, ask, physical),
        Mode::Sv48 => stage(&Sv48x4::new(rules), Stage::Second, root, gpa, ask, physical),
        Mode::Sv57 => stage(&Sv57x4::new(rules), Stage::Second, root, gpa, ask, physical),
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
    /// Where an entry is in physical memory, if the G-stage lets it be used so.
    fn place(&mut self, at: PteRef, what: Use) -> Result<PteRef, Trouble> {
        let need = Need::second(what, false);
        let found =
            second(self.hart, self.mode, at.addr, what, need, &mut self.physical).map_err(|trouble| {
                match trouble {
                    Trouble::Guest { gpa, .. } => Trouble::Guest { gpa, implicit: Some(what == Use::Store) },
                    other => other,
                }
            })?;
        Ok(PteRef { addr: found.address(at.addr), ..at })
    }
}

impl<P: PteMemory> PteSource for Nested<'_, P> {
    type Error = Trouble;

    fn read(&mut self, at: PteRef) -> Result<u64, Trouble> {
        let place = self.place(at, Use::Load)?;
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
        let place = self.place(at, Use::Store)?;
        self.physical.update(place, old, new)
    }
}

/// Both stages, the second of them on.
#[inline(never)]
pub(super) fn translate<P: PteMemory>(
    hart: &Riscv,
    context: &Context,
    access: &Access<Flavor>,
    va: u64,
    memory: &mut P,
) -> Result<TlbEntry, WalkError<Fault>> {
    let physical = Physical { memory, pmp: hart.pmp.is_active().then_some(&hart.pmp) };
    let mut nested = Nested { hart, mode: context.second, physical };
    both(hart, context, access, va, &mut nested).map_err(|trouble| hart.raise(context, access, va, trouble))
}

#[inline]
fn both<P: PteMemory>(
    hart: &Riscv,
    context: &Context,
    access: &Access<Flavor>,
    va: u64,
    nested: &mut Nested<'_, P>,
) -> Result<TlbEntry, Trouble> {
    let (rules, root) = (hart.first_rules(context.virt), hart.first_root(context.virt));
    let ask = hart.first_ask(context, access);
    let mut found1 = match context.first {
        Mode::Bare => Found::identity(va),
        Mode::Sv32 => stage(&Sv32::new(rules), Stage::First, root, va, ask, nested)?,
        Mode::Sv39 => stage(&Sv39::new(rules), Stage::First, root, va, ask, nested)?,
        Mode::Sv48 => stage(&Sv48::new(rules), Stage::First, root, va, ask, nested)?,
        Mode::Sv57 => stage(&Sv57::new(rules), Stage::First, root, va, ask, nested)?,
    };
    found1.global &= hart.config.share_guest_globals;
    let need = context.need(access.kind).second_half();
    let gpa = found1.address(va);
    let found2 = second(hart, context.second, gpa, ask.what, need, &mut nested.physical)?;
    Ok(entry(context, va, found1, Some(found2)))
}
