//! Why an access was not made.

use crate::addr::VirtAddr;
use crate::arch::{GuestFault, WalkError};
use crate::memory::BusError;

/// Why an access was not made. Guest memory and registers are as before, but for what the architecture lets a
/// faulting access change (accessed bits).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccessError<F: GuestFault> {
    /// The guest's fault, to be raised in the guest or resolved by its kernel.
    #[error("{0}")]
    Fault(F),
    /// The bus refused, and the architecture has no fault for that.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Other harts kept changing the same word under this access, more often than any real guest does.
    #[error("memory behind {va:#x} changed under every one of {tries} tries")]
    Contended {
        /// The address.
        va: VirtAddr,
        /// How often it was tried.
        tries: u32,
    },
}

impl<F: GuestFault> AccessError<F> {
    pub(super) fn from_walk(error: WalkError<F>, va: VirtAddr, tries: u32) -> Self {
        match error {
            WalkError::Fault(fault) => Self::Fault(fault),
            WalkError::Bus(error) => Self::Bus(error),
            WalkError::Raced => Self::Contended { va, tries },
        }
    }

    /// The guest's fault, where it is one.
    #[must_use]
    pub const fn fault(&self) -> Option<&F> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}
