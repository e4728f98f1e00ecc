//! Not written yet.

use crate::case::{AccessStep, Case, FaultMap, Header, InvalidateStep, Outcome};
use crate::keys::{Keys, NotBuilt};
use crate::machine::Machine;
use crate::sparse::SparseMemory;
use crate::tlb::TestTlb;

pub enum Driver {}

impl Machine for Driver {
    const LATITUDE: u64 = 0x60;

    fn new(header: &Header, _case: &Case, _memory: SparseMemory, _tlb: TestTlb) -> Result<Self, NotBuilt> {
        Err(NotBuilt::new(format!("arch {}", header.arch)))
    }

    fn memory(&self) -> &SparseMemory {
        match *self {}
    }

    fn access(&mut self, _step: &AccessStep) -> Result<Outcome, NotBuilt> {
        match *self {}
    }

    fn invalidate(&mut self, _step: &InvalidateStep) -> Result<Option<FaultMap>, NotBuilt> {
        match *self {}
    }

    fn set(&mut self, _ctl: &Keys) -> Result<(), NotBuilt> {
        match *self {}
    }
}
