//! What an architecture's driver does: turn a case's control state into an [`Mmu`], and its steps into calls.

use softmmu::access::{Access, AccessKind};
use softmmu::arch::Arch;
use softmmu::memory::{BusError, PhysMemory};
use softmmu::mmu::{AccessError, Mmu, Value};

use crate::case::{AccessStep, Case, FaultMap, Header, InvalidateStep, Outcome};
use crate::keys::{Keys, NotBuilt};
use crate::sparse::SparseMemory;
use crate::tlb::TestTlb;

/// One hart as a case describes it.
///
/// A driver *takes* every key that it honours (from `case.ctl`, a step's `keys`, a `set`'s keys, `header.machine`); a
/// key left untaken lists the whole corpus as not built. What a driver knows that it cannot do, it answers with
/// [`NotBuilt`], to the same effect: a corpus is never half-judged.
pub trait Machine: Sized {
    /// The accessed and dirty bits of an entry, for words in which the manuals leave them open.
    const LATITUDE: u64;

    /// The machine before the first step.
    fn new(header: &Header, case: &Case, memory: SparseMemory, tlb: TestTlb) -> Result<Self, NotBuilt>;

    /// The case's memory, as it stands now.
    fn memory(&self) -> &SparseMemory;

    /// Makes one access.
    fn access(&mut self, step: &AccessStep) -> Result<Outcome, NotBuilt>;

    /// Carries out one invalidation; the fault that the instruction raises, if it does.
    fn invalidate(&mut self, step: &InvalidateStep) -> Result<Option<FaultMap>, NotBuilt>;

    /// Writes the control registers named, in the order in which the driver finds right.
    fn set(&mut self, ctl: &Keys) -> Result<(), NotBuilt>;
}

/// A fault in the words of a recorded one; flags are 0 and 1.
pub fn fault_map<const N: usize>(parts: [(&str, u64); N]) -> FaultMap {
    parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Makes one access and says where it went: the fault, for the driver to spell out, or the end of the story.
///
/// It is made as a program would make it, by a typed load, store, fetch or atomic (one that stores what it found).
pub fn perform<A: Arch>(
    mmu: &mut Mmu<A, SparseMemory, TestTlb>,
    access: &Access<A::Flavor>,
) -> Result<Outcome, A::Fault> {
    mmu.memory().take_log();
    let made = match access.len {
        1 => typed::<A, u8>(mmu, access),
        2 => typed::<A, u16>(mmu, access),
        4 => typed::<A, u32>(mmu, access),
        _ => typed::<A, u64>(mmu, access),
    };
    match made {
        Ok(()) => match mmu.memory().take_log()[..] {
            [pa] => Ok(Outcome::Pa(pa, None)),
            [pa, second] => Ok(Outcome::Pa(pa, Some(second))),
            ref other => panic!("an access in {} parts", other.len()),
        },
        Err(AccessError::Fault(fault)) => Err(fault),
        Err(AccessError::Bus(BusError::Unmapped { pa })) => Ok(Outcome::Bus(pa.0)),
        Err(error) => panic!("nobody else is there, and nothing but RAM and holes: {error}"),
    }
}

fn typed<A: Arch, V: Value>(
    mmu: &mut Mmu<A, SparseMemory, TestTlb>,
    access: &Access<A::Flavor>,
) -> Result<(), AccessError<A::Fault>> {
    let Access { va, kind, flavor, .. } = *access;
    let ordinary = flavor == A::Flavor::default();
    match kind {
        AccessKind::Read if ordinary => mmu.load::<V>(va).map(drop),
        AccessKind::Read => mmu.load_as::<V>(va, flavor).map(drop),
        AccessKind::Write if ordinary => mmu.store(va, V::from_u64(0)),
        AccessKind::Write => mmu.store_as(va, V::from_u64(0), flavor),
        AccessKind::Execute if ordinary => mmu.fetch::<V>(va).map(drop),
        AccessKind::ReadWrite if ordinary => mmu.rmw(va, |old: V| old).map(drop),
        AccessKind::Execute | AccessKind::ReadWrite => {
            let at = mmu.translate(access)?.pa;
            mmu.memory().read(at, V::WIDTH)?;
            Ok(())
        }
    }
}
