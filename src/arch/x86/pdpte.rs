//! The PDPTE registers of PAE paging (SDM Vol. 3A, 4.4.1; APM Vol. 2, 5.2.3).
//!
//! MOV to CR3 (and MOV to CR0 or CR4 that changes certain bits) loads the four entries of the top table into
//! registers, and from then on the registers count, not memory. A reserved bit in a present one is #GP, and nothing
//! has been loaded.

use super::config::Config;
use super::fault::Fault;
use super::mode::Mode;
use super::pte::{self, Pte};
use super::walk::Tables;
use super::{X86, reserved};
use crate::arch::WalkError;
use crate::radix::{PteRef, Stage};

/// Refuses values that a load would refuse.
pub(super) fn check(config: &Config, values: &[u64; 4]) -> Result<(), WalkError<Fault>> {
    let forbidden = reserved::pdpte(config);
    let bad = values.iter().any(|raw| raw & Pte::PRESENT.bits() != 0 && raw & forbidden != 0);
    if bad { Err(WalkError::Fault(Fault::BAD_CONTROL)) } else { Ok(()) }
}

/// Reads the four entries that CR3 names.
pub(super) fn load<T: Tables>(x86: &X86, tables: &mut T) -> Result<[u64; 4], WalkError<Fault>> {
    let base = x86.registers.cr3 & pte::root_mask(Mode::Pae);
    let mut values = [0; 4];
    for (addr, value) in (base..).step_by(8).zip(&mut values) {
        *value = tables.read(PteRef { addr, bytes: 8, level: 2, stage: Stage::First })?;
    }
    check(&x86.config, &values)?;
    Ok(values)
}
