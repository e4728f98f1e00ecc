//! What an architecture's driver does: turn a case's control state into an [`Mmu`], and its steps into calls.

use softmmu::access::Access;
use softmmu::arch::Arch;
use softmmu::mmu::{AccessError, Mmu};

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
pub fn perform<A: Arch>(
    mmu: &mut Mmu<A, SparseMemory, TestTlb>,
    access: &Access<A::Flavor>,
) -> Result<Outcome, A::Fault> {
    let error = match mmu.translate(access) {
        Ok(translation) => {
            let pa = translation.pa.0;
            if mmu.memory().backs(pa, u64::from(access.len)) {
                return Ok(Outcome::Pa(pa, None));
            }
            let arch = *mmu.arch();
            let context = arch.context(access.kind, access.flavor);
            let error = softmmu::memory::BusError::Unmapped { pa: translation.pa };
            arch.bus_fault(&context, access, error).map_or(AccessError::Bus(error), AccessError::Fault)
        }
        Err(error) => error,
    };
    match error {
        AccessError::Fault(fault) => Err(fault),
        AccessError::Bus(softmmu::memory::BusError::Unmapped { pa }) => Ok(Outcome::Bus(pa.0)),
        AccessError::Bus(error) => panic!("the bus has nothing but RAM and holes, yet: {error}"),
        AccessError::Contended { .. } => panic!("nobody else is there: {error}"),
    }
}
